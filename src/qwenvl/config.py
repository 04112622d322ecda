"""A training recipe: everything that decides a run, typed, from a YAML file and dotted overrides."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from qwenvl.sample import Task
from qwenvl.typed import ConfigError, find_recipe, from_dict, read_yaml

Trainable = Literal["vision", "adapter", "decoder"]


@dataclass(frozen=True)
class VisionSpec:
    """The ViT. `layers`, `width`, `heads`, `mlp` as in DESIGN's bigG row; sizes in pixels."""

    patch_size: int = 14
    width: int = 1664
    layers: int = 48
    heads: int = 16
    mlp: int = 8192
    position_grid: int = 16


@dataclass(frozen=True)
class AdapterSpec:
    """The position-aware cross-attention adapter. `init` "local" starts each query at its own place in the picture."""

    queries: int = 256
    heads: int = 32
    init: Literal["normal", "local"] = "normal"


@dataclass(frozen=True)
class DecoderSpec:
    """The language model (Qwen-7B's form)."""

    width: int = 4096
    layers: int = 32
    heads: int = 32
    mlp: int = 11008
    tie: bool = False


@dataclass(frozen=True)
class ModelSpec:
    """The whole model; `image_size` is the side of the square picture, in pixels, at which it ends its training.

    `initializer_range` is the standard deviation of random weights: 0.02 as published; narrow models about 1/√width.
    """

    image_size: int = 448
    initializer_range: float = 0.02
    vision: VisionSpec = field(default_factory=VisionSpec)
    adapter: AdapterSpec = field(default_factory=AdapterSpec)
    decoder: DecoderSpec = field(default_factory=DecoderSpec)


@dataclass(frozen=True)
class TokenizerSpec:
    """`vocab_size` trains a small byte-level BPE on the corpus; `path` reads `qwen.tiktoken` or a saved folder."""

    vocab_size: int | None = None
    path: str | None = None


@dataclass(frozen=True)
class CorpusSpec:
    """The scenes of the nano world: how many are made, how large (pixels a side), from which seed."""

    scenes: int = 20_000
    size: int = 96
    seed: int = 0


@dataclass(frozen=True)
class TaskShare:
    """How a task is drawn: the share of records that give it, and how many of its samples share one picture then.

    `pictures` false leaves the pictures out: text-only training on the task's words and form.
    """

    share: float = 1.0
    questions: int = 1
    pictures: bool = True


Kept = Literal["none", "selective", "full"]


@dataclass(frozen=True)
class CheckpointingSpec:
    """What each tower's blocks compute again in the backward pass instead of keeping it: the same gradients.

    "full": everything but a block's input, for about a third more time. "selective": all but the results of matrix
    products and attention, for little more time; the towers' norms, activations and additions are most of what is kept.
    """

    vision: Kept = "none"
    decoder: Kept = "none"


@dataclass(frozen=True)
class Stage:
    """One row of the table of stages (paper, appendix table 8; DESIGN §7).

    `objective` "next_token" is the paper's; "regions" trains ViT and adapter on what stands where
    (`qwenvl.train.regions`). `sequence` tokens a row, `rows` rows a micro-batch, `accumulation` micro-batches a
    step. `optimizer` "muon" takes the hidden matrices to Muon (at `matrix_lr`) and the rest to AdamW (at `lr`);
    "adamw_bf16" and "adamw_8bit" keep AdamW's two moments in 4 and about 2 bytes a parameter instead of 8.
    `vision_last` lets of the ViT only its last so many blocks learn, and what follows them.
    `isolate` keeps packed samples from seeing each other. `checkpointing` computes activations again instead of keeping
    them.
    """

    name: str
    trains: tuple[Trainable, ...]
    tasks: dict[Task, TaskShare]
    steps: int
    objective: Literal["next_token", "regions"] = "next_token"
    image_size: int = 448
    sequence: int = 2048
    rows: int = 8
    accumulation: int = 1
    isolate: bool = False
    optimizer: Literal["adamw", "adamw_bf16", "adamw_8bit", "muon"] = "adamw"
    lr: float = 1e-5
    min_lr: float = 1e-6
    matrix_lr: float = 0.02
    warmup: int = 0
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: float = 0.05
    clip: float = 1.0
    layer_decay: float = 1.0
    vision_last: int | None = None
    checkpointing: CheckpointingSpec = field(default_factory=CheckpointingSpec)


@dataclass(frozen=True)
class LoraSpec:
    """Low-rank additions to frozen linear layers (Hu et al. 2021, "LoRA"): W x + (alpha / rank) B A x.

    `targets` name the layers: a part ("decoder") or a part and the end of a layer's name ("decoder.qkv_proj"); see
    `qwenvl.model.names`. `dropout` is that of x on its way to A. `quantize` "nf4" keeps the decoder's frozen layers in
    4 bits (Dettmers et al. 2023, "QLoRA").
    """

    targets: tuple[str, ...]
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    quantize: Literal["nf4"] | None = None


@dataclass(frozen=True)
class EvaluationSpec:
    """What is asked of the model: `scenes` held-out scenes, or the records of `data` (files as for --data).

    With `every` also while it trains, after so many steps, about `during` of them; `samples` of the answers are drawn.
    """

    scenes: int = 400
    data: tuple[str, ...] = ()
    every: int = 0
    during: int = 64
    samples: int = 4


@dataclass(frozen=True)
class ParallelSpec:
    """How the processes that torchrun started share the model (`qwenvl.train.shard`): weights, gradients, states.

    `shard` of them share one copy (by default all), and `replicate` such copies learn side by side. `cpu_offload`
    keeps on the CPU what does not compute just now. `tensor` neighbours share the decoder's matrix products
    (`qwenvl.train.tensor`) and see the same rows.
    """

    shard: int | None = None
    replicate: int = 1
    tensor: int = 1
    cpu_offload: bool = False


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run, but the user's own data and the folder it is written to.

    `init` is a checkpoint to go on from (a folder, or "nano" for the one that ships); its sizes and its tokenizer are
    taken then, and `model` and `tokenizer` must be left out. With `lora`, its weights stay as they are and what a stage
    trains are the low-rank additions of the parts it names. `ranks` processes train together and share the cores.
    `parallel` shards the model over the processes of torchrun, which come in place of `ranks`; without it each of them
    holds all of it. `compile` hands each block to torch.compile, which brings nothing on a CPU. `wording` is
    a file of paraphrases of the prompts (`qwenvl.tasks.wording`). `log` sends the numbers of `metrics.jsonl` elsewhere
    too. `keep` checkpoints stay on disk. `spikes` says what a loss that jumps does (`qwenvl.train.guards`).
    """

    name: str
    stages: tuple[Stage, ...]
    model: ModelSpec | None = None
    tokenizer: TokenizerSpec | None = None
    corpus: CorpusSpec | None = None
    init: str | None = None
    lora: LoraSpec | None = None
    wording: str | None = None
    seed: int = 0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    ranks: int = 1
    parallel: ParallelSpec | None = None
    compile: bool = False
    log_every: int = 10
    log: tuple[Literal["tensorboard", "wandb"], ...] = ()
    save_every: int = 200
    keep: int = 2
    spikes: Literal["off", "warn", "skip", "stop"] = "warn"
    evaluation: EvaluationSpec = field(default_factory=EvaluationSpec)

    @property
    def model_spec(self) -> ModelSpec:
        """The sizes of a model that starts from nothing. Raises ConfigError where the recipe has `init`."""
        if self.model is None:
            raise ConfigError(f"recipe {self.name!r} takes its model's sizes from 'init'")
        return self.model


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by its packaged name ("nano") or its path, then apply `key.sub=value` overrides.

    A list entry is addressed by its `name` or its index: `stages.stage1.lr=3e-4`. Raises ConfigError.
    """
    path = find_recipe(str(name_or_path))
    return _checked(from_dict(Recipe, read_yaml(path, overrides), path.name), path.name)


def _checked(recipe: Recipe, where: str) -> Recipe:
    if (recipe.init is None) == (recipe.model is None and recipe.tokenizer is None):
        raise ConfigError(
            f"{where}: give either 'model' and 'tokenizer' (to start from nothing) or 'init' (a checkpoint)"
        )
    if recipe.init is None and (recipe.model is None or recipe.tokenizer is None):
        raise ConfigError(f"{where}: the key {'model' if recipe.model is None else 'tokenizer'!r} is missing")
    if not recipe.stages:
        raise ConfigError(f"{where}: 'stages' is empty; a run needs at least one")
    for stage in recipe.stages:
        _check_vision_last(recipe, stage, f"{where}: stage {stage.name!r}")
    if recipe.lora is not None:
        _check_lora(recipe, recipe.lora, where)
    return recipe


def _check_vision_last(recipe: Recipe, stage: Stage, where: str) -> None:
    last = stage.vision_last
    if last is None:
        return
    if "vision" not in stage.trains:
        raise ConfigError(f"{where}: vision_last is about the ViT, and 'trains' has no vision: add it")
    most = recipe.model.vision.layers if recipe.model is not None else last
    if not 1 <= last <= most:
        raise ConfigError(f"{where}: vision_last: expected 1 to {max(1, most)}, blocks of the ViT; found {last}")


def _check_lora(recipe: Recipe, lora: LoraSpec, where: str) -> None:
    if recipe.init is None:
        raise ConfigError(f"{where}: 'lora' adds to a trained model: name it with 'init' instead of 'model'")
    if not lora.targets:
        parts = ", ".join(typing.get_args(Trainable))
        raise ConfigError(f"{where}.lora.targets: empty; name layers like decoder.qkv_proj, or parts ({parts})")
    if lora.rank < 1:
        raise ConfigError(f"{where}.lora.rank: expected 1 or more, found {lora.rank}")
    if not 0.0 <= lora.dropout < 1.0:
        raise ConfigError(f"{where}.lora.dropout: expected 0 or more and less than 1, found {lora.dropout}")
    parts_with = {target.partition(".")[0] for target in lora.targets}
    for stage in recipe.stages:
        if stage.optimizer == "muon":
            raise ConfigError(f"{where}: stage {stage.name!r}: muon is for whole matrices; with 'lora' take adamw")
        without = [part for part in stage.trains if part not in parts_with]
        if without:
            raise ConfigError(
                f"{where}: stage {stage.name!r} trains {without[0]}, but lora.targets names no layer of it; with "
                f"'lora' a part trains through its additions only: add a target such as {without[0]}, or take "
                f"{without[0]} out of 'trains'"
            )
    idle = sorted(parts_with - {part for stage in recipe.stages for part in stage.trains})
    if idle:
        raise ConfigError(
            f"{where}.lora.targets names layers of {idle[0]}, which no stage trains: add {idle[0]} to a stage's "
            "'trains', or take the targets out"
        )
