"""What a recipe would take, before it starts: parameters, memory of each GPU, operations, time and cost.

Nothing is computed or allocated: the model stands on torch's "meta" device. `qwenvl.train.plan_text` shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from qwenvl.config import CheckpointingSpec, ParallelSpec, Recipe, Stage
from qwenvl.model.configuration import QwenVLConfig
from qwenvl.model.load import resolve
from qwenvl.model.lora import add_lora
from qwenvl.model.names import HEAD, PARTS, part_of
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.text.vocabulary import SPECIAL_TOKENS
from qwenvl.train.build import build_config
from qwenvl.train.flops import FLOP_PARTS, FlopPart, Flops, StepFlops, Work, packed_work
from qwenvl.train.memory import Layout, Memory, memory_of
from qwenvl.train.peaks import Device
from qwenvl.train.shard import check_shardable
from qwenvl.train.stages import freeze
from qwenvl.typed import ConfigError

QWEN_TOKENS = 151_643
"""Ordinary tokens of the released vocabulary: what a plan assumes where `qwen.tiktoken` does not lie yet."""

_STATES = {"adamw_bf16": 4, "adamw_8bit": 2.03}
"""Bytes of AdamW's two averages, where they are not float32; 8 bits have a scale for each 256 numbers beside them."""


@dataclass(frozen=True)
class Wish:
    """What a run is planned on: so many GPUs of a kind, `mfu` of whose peak is reached, `price` each per hour.

    `pictures` a row; None: as many as fill half of it with their slots.
    """

    gpus: int
    device: Device
    mfu: float = 0.4
    price: float | None = None
    pictures: float | None = None


@dataclass(frozen=True)
class StagePlan:
    """One stage: its memory on a GPU, operations of a step on all of them, seconds; `advice` where it does not fit.

    `trains` counts the parameters that do, by part. `work` is one row's.
    """

    stage: Stage
    trains: dict[FlopPart, int]
    work: Work
    memory: Memory
    flops: Flops
    seconds: float
    fits: bool
    advice: str

    @property
    def all_seconds(self) -> float:
        """The whole stage's."""
        return self.seconds * self.stage.steps


@dataclass(frozen=True)
class Plan:
    """All stages; `parameters` by part, `problems` that keep the run from starting as it is."""

    recipe: Recipe
    wish: Wish
    parameters: dict[FlopPart, int]
    stages: list[StagePlan]
    problems: list[str]


def plan(recipe: Recipe, wish: Wish) -> Plan:
    """Plan every stage of `recipe`. Raises ConfigError for a recipe that can't be read or built."""
    model = meta_model(recipe)
    problems = []
    try:
        check_shardable(recipe, wish.gpus)
    except ConfigError as error:
        problems.append(str(error))
    if recipe.init is not None and not _is_there(recipe.init):
        problems.append(f"init {recipe.init} is not there yet: this is planned for the published model's sizes")
    if recipe.parallel is None and wish.gpus > 1:
        problems.append("without 'parallel' each GPU holds the whole model; parallel={} shares it between them")
    stages = [_plan_stage(model, recipe, stage, wish) for stage in recipe.stages]
    return Plan(recipe, wish, counts(model), stages, problems)


def meta_model(recipe: Recipe) -> QwenVLForConditionalGeneration:
    """The recipe's model without weights. Raises ConfigError."""
    if recipe.init is not None:
        there = _is_there(recipe.init)
        config = QwenVLConfig.from_pretrained(resolve(recipe.init, weights=False)) if there else QwenVLConfig()
    else:
        config = build_config(recipe.model_spec, QwenTokenizer.train_small([], 256))
        config.text_config.vocab_size = _vocabulary(recipe)
    with torch.device("meta"):
        model = QwenVLForConditionalGeneration(config)
        if recipe.lora is not None:
            add_lora(model, recipe.lora, "")
    return model


def _is_there(init: str) -> bool:
    """Whether a checkpoint can be asked for its sizes: that of a stage before may still have to be trained."""
    return Path(init).exists() or len(Path(init).parts) < 3


def _vocabulary(recipe: Recipe) -> int:
    spec = recipe.tokenizer
    path = Path(spec.path) if spec is not None and spec.path is not None else None
    if path is not None and path.is_dir():
        return QwenTokenizer.load(path).vocab_size
    if path is not None and path.is_file():
        return sum(bool(line.strip()) for line in path.open("rb")) + len(SPECIAL_TOKENS)
    size = spec.vocab_size if spec is not None and spec.vocab_size is not None else QWEN_TOKENS
    return size + len(SPECIAL_TOKENS)


def counts(model: QwenVLForConditionalGeneration, training: bool = False) -> dict[FlopPart, int]:
    """Parameters by part, the language head by itself; with `training` those that train."""
    found: dict[FlopPart, int] = dict.fromkeys(FLOP_PARTS, 0)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad or not training:
            found["head" if name.startswith(HEAD) else part_of(name)] += parameter.numel()
    return found


def row_work(model: QwenVLForConditionalGeneration, stage: Stage, pictures: float | None) -> Work:
    """A full row as it is assumed to be: its pictures and the words between them, all of these supervised."""
    queries = model.config.num_queries
    shown = any(share.pictures for share in stage.tasks.values())
    some = max(1, round(stage.sequence / 2 / queries) if pictures is None else round(pictures)) if shown else 0
    documents = max(1, some) if stage.isolate else 1
    patches = (stage.image_size // int(model.config.vision_config.patch_size)) ** 2
    words = max(0, stage.sequence - some * (queries + 2))
    work = packed_work(documents, stage.sequence, words, some, patches)
    return replace(work, tokens=0, pairs=0, supervised=0) if stage.objective == "regions" else work


def times(work: Work, rows: float) -> Work:
    """`rows` rows like that in one forward pass."""
    return Work(
        round(work.tokens * rows),
        round(work.pairs * rows),
        round(work.supervised * rows),
        round(work.pictures * rows),
        work.patches,
    )


def layout_of(recipe: Recipe, stage: Stage, gpus: int) -> Layout:
    """How the recipe's keys lay a stage on the GPUs."""
    compute = 4 if recipe.precision == "float32" else 2
    spec = recipe.parallel
    layout = Layout(compute=compute)
    if spec is None and recipe.init is not None:
        learns = {part for one in recipe.stages for part in one.trains}
        layout = replace(layout, still=frozenset(PARTS) - learns)
    if recipe.lora is not None:
        # the base keeps the type that it was saved in; in 4 bits there is a scale for each 64 numbers beside them
        layout = replace(layout, frozen=0.52 if recipe.lora.quantize else float(compute))
    if spec is not None:
        layout = replace(layout, shard=max(1, gpus // spec.replicate), offload=spec.cpu_offload)
    kept = stage.checkpointing
    return replace(
        layout,
        state=_STATES.get(stage.optimizer, 8),
        checkpoint={"vision": kept.vision, "decoder": kept.decoder},
    )


def _plan_stage(model: QwenVLForConditionalGeneration, recipe: Recipe, stage: Stage, wish: Wish) -> StagePlan:
    freeze(model, stage.trains, stage.vision_last)
    row = row_work(model, stage, wish.pictures)
    layout = layout_of(recipe, stage, wish.gpus)
    again: dict[FlopPart, float] = {part: float(kept == "full") for part, kept in (layout.checkpoint or {}).items()}
    flops = StepFlops(model, again).of(times(row, stage.rows * stage.accumulation))
    memory = _memory(model, recipe, stage, wish)
    fits = memory.total <= wish.device.memory
    return StagePlan(
        stage=stage,
        trains=counts(model, training=True),
        work=row,
        memory=memory,
        flops=flops,
        seconds=flops.model / (wish.mfu * wish.gpus * wish.device.peak),
        fits=fits,
        advice="" if fits else _advice(model, recipe, stage, wish),
    )


def _memory(model: QwenVLForConditionalGeneration, recipe: Recipe, stage: Stage, wish: Wish) -> Memory:
    # ranks that share the decoder's products read the same rows
    readers = wish.gpus // (recipe.parallel.tensor if recipe.parallel is not None else 1)
    rows = max(1, -(-stage.rows // max(1, readers)))
    layout = layout_of(recipe, stage, wish.gpus)
    return memory_of(model, stage, layout, times(row_work(model, stage, wish.pictures), rows))


_Change = tuple[str, Recipe, Stage, int]


def _changes(recipe: Recipe, stage: Stage, gpus: int) -> Iterator[Callable[[Recipe, Stage, int], _Change | None]]:
    """What may help, the cheapest first: each takes what the ones before have made, and gives None where it can't."""
    where = f"stages.{stage.name}"

    def share(recipe: Recipe, stage: Stage, gpus: int) -> _Change | None:
        if recipe.parallel is not None or recipe.lora is not None or gpus == 1:
            return None
        return "parallel={}", replace(recipe, parallel=ParallelSpec()), stage, gpus

    def again(recipe: Recipe, stage: Stage, gpus: int) -> _Change | None:
        full = CheckpointingSpec("full", "full")
        if stage.checkpointing == full:
            return None
        keys = f"{where}.checkpointing.vision=full {where}.checkpointing.decoder=full"
        return keys, recipe, replace(stage, checkpointing=full), gpus

    def moments(recipe: Recipe, stage: Stage, gpus: int) -> _Change | None:
        if stage.optimizer != "adamw":
            return None
        return f"{where}.optimizer=adamw_bf16", recipe, replace(stage, optimizer="adamw_bf16"), gpus

    def fewer(recipe: Recipe, stage: Stage, gpus: int) -> _Change | None:
        if stage.rows <= gpus:
            return None
        factor = stage.rows // gpus
        less = replace(stage, rows=stage.rows // factor, accumulation=stage.accumulation * factor)
        return f"{where}.rows={less.rows} {where}.accumulation={less.accumulation}", recipe, less, gpus

    def offload(recipe: Recipe, stage: Stage, gpus: int) -> _Change | None:
        spec = recipe.parallel
        if spec is None or spec.cpu_offload:
            return None
        return (
            "parallel.cpu_offload=true (slow)",
            replace(recipe, parallel=replace(spec, cpu_offload=True)),
            stage,
            gpus,
        )

    yield from (share, again, fewer, moments, offload)


def _advice(model: QwenVLForConditionalGeneration, recipe: Recipe, stage: Stage, wish: Wish) -> str:
    """The keys that make a stage fit; else the number of GPUs that does."""
    said: list[str] = []
    became = (recipe, stage, wish.gpus)
    for change in _changes(recipe, stage, wish.gpus):
        made = change(*became)
        if made is None:
            continue
        before = _memory(model, became[0], became[1], wish).total
        after = _memory(model, made[1], made[2], wish).total
        if after > before * 0.98:
            continue
        became = made[1:]
        said.append(made[0])
        if after <= wish.device.memory:
            return f"fits with {' '.join(said)}"
    shared = replace(became[0], parallel=became[0].parallel or ParallelSpec())
    for power in range(1, 11):
        more = replace(wish, gpus=wish.gpus * 2**power)
        if recipe.lora is None and _memory(model, shared, became[1], more).total <= wish.device.memory:
            return f"fits on {more.gpus} GPUs" + (f" with {' '.join(said)}" if said else "")
    return "fits with no key of the recipe: a smaller model, shorter rows or larger GPUs would help"
