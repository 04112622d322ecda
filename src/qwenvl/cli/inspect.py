"""`qwenvl inspect`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from qwenvl.cli.errors import UsageError
from qwenvl.cli.options import Verbs, image_root_option, positive, verb

if TYPE_CHECKING:
    from qwenvl.text.render import Example
    from qwenvl.text.tokenizer import QwenTokenizer


def add(verbs: Verbs) -> None:
    """Register the verb."""
    p = verb(verbs, "inspect", run, "show what training sees: supervised text in blue, boxes drawn from the tokens")
    p.add_argument(
        "source", help="a data file, a folder of shards, scenes:train?seed=0&count=100, or a batch.npz that a run kept"
    )
    image_root_option(p)
    p.add_argument("--task", action="append", default=[], help="only this task (repeatable)")
    p.add_argument("--count", type=positive, default=8, help="how many samples, or packed rows (default: %(default)s)")
    p.add_argument("--packed", action="store_true", help="show packed rows instead of single samples")
    p.add_argument("--sequence", type=positive, default=512, help="tokens of a packed row (default: %(default)s)")
    p.add_argument("--html", type=Path, metavar="PATH", help="write a page with pictures instead of text")
    p.add_argument("--model", metavar="DIR", help="use this model's tokenizer and number of image slots")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--strict", action="store_true", help="stop at the first bad row instead of skipping it")


def run(options: argparse.Namespace) -> None:
    """`qwenvl inspect`."""
    if options.source.endswith(".npz"):
        _kept(options)
        return
    from qwenvl.data.preview import packed_rows, samples_of, tokenizer_for
    from qwenvl.data.sources import BadRows, open_source
    from qwenvl.tasks import TASKS
    from qwenvl.text.render import render

    unknown = [task for task in options.task if task not in TASKS]
    if unknown:
        raise UsageError(f"--task {unknown[0]}: there is no such task; there are {', '.join(TASKS)}")
    tasks = [task for task in TASKS if not options.task or task in options.task]
    folder = None
    if options.model:
        from qwenvl.model.load import resolve

        folder = resolve(options.model, weights=False)
    bad = BadRows(show=lambda message: print(message, file=sys.stderr))
    source = "scenes:train" if options.source == "scenes" else options.source
    records = open_source(source, options.strict, bad, options.image_root)
    samples = samples_of(records, tasks, options.count, options.seed)
    if not samples:
        raise UsageError(f"{options.source}: its records give no sample for the tasks {', '.join(tasks)}")
    tokenizer, slots, origin = tokenizer_for(folder, samples)
    counts: dict[str, int | float | str] = {}
    kind = "rows" if options.packed else "samples"
    if options.packed:
        records = open_source(source, options.strict, image_root=options.image_root)
        examples, found = packed_rows(records, tasks, tokenizer, slots, options.sequence, options.count, options.seed)
        if not examples:
            raise UsageError(f"no sample fits a row of {options.sequence} tokens: choose a longer --sequence")
        counts |= found
    else:
        examples = [render(sample, tokenizer, slots) for sample in samples]
    counts |= {"rows skipped": bad.count} if options.html else {}
    _show(options, examples, tokenizer, kind, origin, counts)
    if bad.count and not options.html:
        print(f"{bad.count} rows skipped", file=sys.stderr)


def _kept(options: argparse.Namespace) -> None:
    """A batch that made a run's loss jump (`qwenvl.train.kept_batch`)."""
    from qwenvl.model.load import resolve
    from qwenvl.text.tokenizer import QwenTokenizer
    from qwenvl.train.kept_batch import examples_of

    path = Path(options.source)
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file")
    beside = path.parent / "tokenizer"
    model = options.model or _began_with(path.parent)
    if options.model is None and beside.is_dir():
        folder = beside
    elif model is None:
        raise UsageError(f"{path}: name the model that was trained with --model DIR, for its tokenizer")
    else:
        folder = resolve(model, weights=False)
    tokenizer = QwenTokenizer.load(folder)
    examples = examples_of(path, tokenizer)[: options.count]
    _show(options, examples, tokenizer, "rows", f"tokens of {folder}", {})


def _began_with(run: Path) -> str | None:
    """The checkpoint that the run in a folder began with."""
    from qwenvl.config import load_recipe

    recipe = run / "recipe.yaml"
    return load_recipe(recipe).init if recipe.is_file() else None


def _show(
    options: argparse.Namespace,
    examples: list[Example],
    tokenizer: QwenTokenizer,
    kind: str,
    origin: str,
    counts: dict[str, int | float | str],
) -> None:
    from qwenvl.text.inspect import to_html, to_terminal

    if options.html:
        options.html.write_text(to_html(examples, tokenizer, f"{options.source}: {origin}", counts), encoding="utf-8")
        print(f"wrote {options.html}: {len(examples)} {kind}")
        return
    for example in examples:
        print(to_terminal(example, tokenizer, color=sys.stdout.isatty()))
    print("; ".join([origin, *(f"{name} {value}" for name, value in counts.items())]))
