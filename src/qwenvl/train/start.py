"""A run's model as it begins: built or read, and with `parallel` spread over the ranks without ever being whole there.

A sharded model is made without memory (PyTorch's meta device), cut, and filled: from a checkpoint each rank reads
tensor by tensor and keeps its own parts; random weights are made whole by rank 0 alone, so that they are those of a run
of one process with the same seed, and handed on tensor by tensor. A model with low-rank additions or another project's
parts is whole on each rank before it is cut.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import GenerationConfig

from qwenvl.config import Recipe
from qwenvl.model.configuration import QwenVLTextConfig, QwenVLVisionConfig
from qwenvl.model.convert.checkpoint import check_tensors, open_checkpoint, read_config
from qwenvl.model.convert.tokenizer_files import check_tokenizer, read_tokenizer
from qwenvl.model.load import resolve
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.train.build import build_model, check_packing, load_extras, start_from
from qwenvl.train.compiled import compile_blocks
from qwenvl.train.shard import shard_model
from qwenvl.train.tensor import by_rank, tensor_ranks
from qwenvl.typed import ConfigError

Source = Callable[[str], Tensor]
"""A whole weight by its name."""


def begin(
    recipe: Recipe, tokenizer_folder: Path, precision: torch.dtype
) -> tuple[QwenVLForConditionalGeneration, QwenTokenizer]:
    """The recipe's model on this rank's device, sharded where the recipe says so, and its tokenizer.

    Random weights are those of torch's current seed. Raises ConfigError for a checkpoint that can't be read, or a
    decoder that can't be trained or split.
    """
    load_extras(recipe)
    folder = None if recipe.init is None else resolve(recipe.init)
    if recipe.parallel is not None and recipe.lora is None and (folder is None or _is_native(folder)):
        if folder is None:
            tokenizer = QwenTokenizer.load(tokenizer_folder)
            model = _sharded_random(recipe, tokenizer, precision)
        else:
            model, tokenizer = _sharded_checkpoint(recipe, folder, precision)
    else:
        model, tokenizer = whole_model(recipe, tokenizer_folder, precision)
        check_packing(model, recipe.stages)
        if torch.cuda.is_available():
            model.cuda()
        if recipe.parallel is not None:
            shard_model(model, recipe.parallel, precision)
    if recipe.compile:
        compile_blocks(model)
    return model, tokenizer


def whole_model(
    recipe: Recipe, tokenizer_folder: Path, precision: torch.dtype
) -> tuple[QwenVLForConditionalGeneration, QwenTokenizer]:
    """The recipe's model as it begins, whole and on the CPU, and its tokenizer. Raises ConfigError."""
    if recipe.init is not None:
        learns = {part for stage in recipe.stages for part in stage.trains}
        return start_from(recipe.init, recipe.lora, precision, learns)
    tokenizer = QwenTokenizer.load(tokenizer_folder)
    return build_model(recipe.model_spec, tokenizer), tokenizer


def _is_native(folder: Path) -> bool:
    """Whether all parts are this project's own: another's may hold buffers that are in no file."""
    config = read_config(folder)
    return isinstance(config.text_config, QwenVLTextConfig) and isinstance(config.vision_config, QwenVLVisionConfig)


def _sharded_random(recipe: Recipe, tokenizer: QwenTokenizer, precision: torch.dtype) -> QwenVLForConditionalGeneration:
    whole = build_model(recipe.model_spec, tokenizer) if dist.get_rank() == 0 else None
    with torch.device("meta"):
        model = build_model(recipe.model_spec, tokenizer)
    held = None if whole is None else dict(whole.state_dict())
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}

    def from_first(name: str) -> Tensor:
        tensor = torch.empty(shapes[name]) if held is None else held[name]
        tensor = tensor.cuda() if torch.cuda.is_available() else tensor
        dist.broadcast(tensor, 0)
        return tensor

    _spread(model, recipe, precision, from_first)
    return model


def _sharded_checkpoint(
    recipe: Recipe, folder: Path, precision: torch.dtype
) -> tuple[QwenVLForConditionalGeneration, QwenTokenizer]:
    try:
        checkpoint, config, tokenizer = open_checkpoint(folder), read_config(folder), read_tokenizer(folder)
        check_tensors(checkpoint, config)
        check_tokenizer(tokenizer, config, folder)
    except (OSError, ValueError) as error:
        raise ConfigError(f"init: {folder} can't be loaded as a checkpoint: {error}") from None
    with torch.device("meta"):
        model = QwenVLForConditionalGeneration(config).float()
    path = folder / "generation_config.json"
    if path.is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    model.config.name_or_path = str(recipe.init)
    tensors = checkpoint.native()
    _spread(model, recipe, precision, lambda name: tensors[name].read())
    return model, tokenizer


def _spread(model: QwenVLForConditionalGeneration, recipe: Recipe, precision: torch.dtype, whole: Source) -> None:
    """Shard a model without memory and fill each rank's part of it."""
    assert recipe.parallel is not None
    shard_model(model, recipe.parallel, precision)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to_empty(device="cpu" if recipe.parallel.cpu_offload else device)
    ranks = tensor_ranks(model)
    for name, parameter in model.named_parameters():
        _fill(parameter, by_rank(name, whole(name), ranks))
    for name, _ in list(model.named_buffers()):
        # not offloaded with the parameters: they stay where the computing is
        owner, _, last = name.rpartition(".")
        setattr(model.get_submodule(owner), last, whole(name).to(device, torch.float32))


@torch.no_grad()
def _fill(parameter: nn.Parameter, whole: Tensor) -> None:
    """Put this rank's part of a whole weight into its place."""
    assert isinstance(parameter, DTensor), "fully_shard leaves no other"
    mesh, part = parameter.device_mesh, whole
    # the last dimension of the mesh, which the model was split over first, cuts first
    for dimension, placement in reversed(list(enumerate(parameter.placements))):
        axis = getattr(placement, "dim", None)
        if axis is None:
            continue
        pieces = part.chunk(mesh.size(dimension), axis)
        place = mesh.get_local_rank(dimension)
        # a weight with fewer rows than ranks leaves the last ones nothing
        part = pieces[place] if place < len(pieces) else part.narrow(axis, 0, 0)
    parameter.to_local().copy_(part)
