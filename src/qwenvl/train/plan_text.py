"""A plan as tables for people, for terminals of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

from qwenvl.train.flops import FLOP_PARTS
from qwenvl.train.memory import Memory
from qwenvl.train.plan import Plan, StagePlan

_ITEMS = ("weights", "gradients", "states", "activations", "logits", "buffers")


def plan_text(plan: Plan) -> str:
    """The whole plan."""
    return "\n".join([*_head(plan), "", *_work(plan), "", *_memory(plan), "", *_time(plan), *_end(plan)])


def _head(plan: Plan) -> Iterator[str]:
    wish = plan.wish
    device = f"{wish.device.name} ({wish.device.memory / 1e9:.0f} GB, {wish.device.peak / 1e12:.4g} TFLOP/s)"
    yield f"{plan.recipe.name} on {wish.gpus} × {device}, at {100 * wish.mfu:.0f} % of the peak"
    yield ""
    yield _row("", [*FLOP_PARTS, "total"], 11)
    yield _row(
        "parameters",
        [_count(plan.parameters[part]) for part in FLOP_PARTS] + [_count(sum(plan.parameters.values()))],
        11,
    )
    for stage in plan.stages:
        numbers = [_count(stage.trains[part]) for part in FLOP_PARTS] + [_count(sum(stage.trains.values()))]
        yield _row(f"{stage.stage.name} trains", numbers, 11)


def _work(plan: Plan) -> Iterator[str]:
    for planned in plan.stages:
        stage, row = planned.stage, planned.work
        some = f", {row.pictures} picture{'s' * (row.pictures != 1)} ({stage.image_size} px)" if row.pictures else ""
        rows = f"{stage.rows * stage.accumulation:,} rows of {stage.sequence} tokens{some}"
        yield f"{_label(stage.name, 16)}{stage.steps:,} steps × {rows}"


def _memory(plan: Plan) -> Iterator[str]:
    yield _row("GB of each GPU", ["weights", "grads", "states", "activ.", "logits", "buffers", "total"], 8)
    for planned in plan.stages:
        memory: Memory = planned.memory
        numbers = [getattr(memory, item) for item in _ITEMS] + [memory.total]
        yield _row(planned.stage.name, [_giga(number) for number in numbers], 8) + ("" if planned.fits else " !")


def _time(plan: Plan) -> Iterator[str]:
    price = plan.wish.price
    yield _row("", ["FLOP/step", *FLOP_PARTS, "s/step", "GPU-h"], 9)
    for planned in plan.stages:
        total = max(1.0, planned.flops.model)
        shares = [f"{100 * planned.flops.parts[part].model / total:.0f} %" for part in FLOP_PARTS]
        numbers = [_scaled(total), *shares, _short(planned.seconds), _hours(planned, plan)]
        yield _row(planned.stage.name, numbers, 9)
    seconds = sum(planned.all_seconds for planned in plan.stages)
    hours = seconds * plan.wish.gpus / 3600
    cost = "" if price is None else f", costs {_money(hours * price)} at {price:g} an hour"
    yield ""
    yield f"All stages: {_duration(seconds)}, {_short(hours)} GPU-hours{cost}"


def _end(plan: Plan) -> Iterator[str]:
    for problem in plan.problems:
        yield f"! {problem}"
    for planned in plan.stages:
        if not planned.fits:
            has, needs = plan.wish.device.memory / 1e9, planned.memory.total / 1e9
            yield f"! {planned.stage.name} takes {needs:.0f} GB of {has:.0f}: {planned.advice}"


def _row(name: str, cells: list[str], width: int) -> str:
    # two columns are left for a mark behind the row
    room = 78 - width * len(cells)
    return _label(name, room) + "".join(f"{cell:>{width}}" for cell in cells)


def _label(name: str, room: int) -> str:
    return f"{name if len(name) < room else name[: room - 2] + '…':{room}}"


def _count(number: int) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.2f}{letter}"
    return str(number) if number else "–"


def _scaled(number: float) -> str:
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.0f}"


def _giga(size: float) -> str:
    return f"{size / 1e9:.1f}" if size >= 5e7 else f"{size / 1e9:.3f}" if size >= 5e5 else "–"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}" if number >= 0.001 else "0.000"


def _money(amount: float) -> str:
    return f"{amount:,.0f}" if amount >= 100 else f"{amount:.2f}"


def _hours(planned: StagePlan, plan: Plan) -> str:
    return _short(planned.all_seconds * plan.wish.gpus / 3600)


def _duration(seconds: float) -> str:
    for size, word in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {word}"
    return f"{seconds:.3g} seconds"
