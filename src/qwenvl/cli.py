"""The `qwenvl` command: every verb is a thin function over a library call, every user's error one clear message."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from qwenvl import __version__

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


class UsageError(ValueError):
    """What was asked for can't be done; the message says what to do instead."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; gives the exit code: 0, 2 for what the user can mend, 130 after Ctrl-C, 1 for a fault of the
    program.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # Chinese answers must not fail on a terminal set to ASCII
            stream.reconfigure(errors="replace")
    options = _parse(arguments)
    try:
        options.verb(options)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return OK  # the reader of our output (such as `head`) has seen enough
    except Exception as error:
        return _explain(error, options.debug)
    return OK


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Like `parse_args`, but `key=value` may also stand after options, where argparse no longer expects it."""
    top = parser()
    options, rest = top.parse_known_args(arguments)
    if rest and hasattr(options, "overrides") and not any(text.startswith("-") for text in rest):
        options.overrides += rest
    elif rest:
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    return options


def _explain(error: Exception, debug: bool) -> int:
    """One message for people, or with `debug` the whole trace; gives the exit code."""
    if debug:
        traceback.print_exception(error)
    if type(error).__name__ == "Interrupted" and type(error).__module__.startswith("qwenvl."):
        print(f"\n{error}", file=sys.stderr)
        return INTERRUPTED
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("qwenvl"):
        print(f"qwenvl: {_missing(error)}", file=sys.stderr)
        return USAGE
    ours = type(error).__module__.startswith("qwenvl")
    if ours or isinstance(error, ValueError | OSError | ImportError):
        print(f"qwenvl: {_message(error)}", file=sys.stderr)
        return USAGE
    print(
        f"qwenvl: unexpected {type(error).__name__}: {error}\nThis is a fault of the program; --debug shows where.",
        file=sys.stderr,
    )
    return FAILED


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror.lower()}"
    return str(error) or type(error).__name__


def _missing(error: ModuleNotFoundError) -> str:
    extras = {
        **dict.fromkeys(("sklearn", "pyarrow", "scipy"), "data"),
        **dict.fromkeys(("dashscope", "tiktoken"), "tokenizer"),
        "matplotlib": "train",
        "peft": "finetune",
        "bitsandbytes": "qlora",
        "torchao": "quantize",
    }  # fmt: skip
    package = (error.name or "").split(".")[0]
    extra = extras.get(package)
    how = f'pip install "qwenvl[{extra}]"' if extra else f"pip install {package}"
    return f"this needs the package {package}, which is not installed: {how}"


def parser() -> argparse.ArgumentParser:
    """The command line, all verbs."""
    top = argparse.ArgumentParser(prog="qwenvl", description="Qwen-VL: train, look at, evaluate and talk to it.")
    top.add_argument("--version", action="version", version=f"qwenvl {__version__}")
    verbs = top.add_subparsers(title="verbs", metavar="VERB", required=True)

    def verb(
        name: str, run: Callable[[argparse.Namespace], None], text: str, within: object = verbs
    ) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = within.add_parser(name, help=text, description=text)  # type: ignore[attr-defined]
        made.add_argument("--debug", action="store_true", help="show the whole trace of an error")
        made.set_defaults(verb=run)
        return made

    p = verb("quickstart", quickstart, "train a nano model from nothing, evaluate it, write the report (minutes)")
    p.add_argument("--out", type=Path, default=Path("runs/quickstart"), help="folder of the run (default: %(default)s)")
    p.add_argument("--fresh", action="store_true", help="start over instead of continuing what is there")

    p = verb("train", train, "train a recipe, on its own corpus or on your data; continues what was interrupted")
    p.add_argument("recipe", help="a packaged recipe such as nano, or a YAML file")
    p.add_argument("overrides", nargs="*", metavar="key=value", help="change a key, such as stages.stage1.lr=3e-4")
    p.add_argument("--data", action="append", default=[], metavar="FILE", help="your data (repeatable)")
    _image_root(p)
    p.add_argument("--out", type=Path, help="folder of the run (default: runs/<recipe>)")
    p.add_argument("--strict", action="store_true", help="stop at the first bad row instead of skipping it")
    p.add_argument("--fresh", action="store_true", help="start over instead of continuing what is there")

    p = verb("init", init, "join a trained vision tower and a trained decoder with a fresh adapter, to be trained")
    p.add_argument(
        "--vision", type=Path, required=True, metavar="PATH",
        help="an OpenCLIP checkpoint (file or folder), or a folder with a tower of transformers (SigLIP, DINO, …)",
    )  # fmt: skip
    p.add_argument(
        "--language", type=Path, required=True, metavar="DIR",
        help="a released Qwen-7B, or a folder with a causal decoder of transformers (Qwen3, Llama, SmolLM, …)",
    )  # fmt: skip
    p.add_argument("out", type=Path, help="folder of the new model")
    p.add_argument("--image-size", type=_positive, help="side of pictures in pixels (OpenCLIP: 448, others: their own)")
    p.add_argument("--queries", type=_positive, default=256, help="slots of a picture (default: %(default)s)")
    p.add_argument("--dtype", choices=("float32", "bfloat16"), help="type of the weights (default: the decoder's)")
    p.add_argument("--seed", type=int, default=0, help="of the adapter's random start")

    p = verb("merge", merge, "join what a LoRA run learnt with the model that it started from: one whole folder")
    p.add_argument("run", type=Path, metavar="RUN", help="the run's folder, or that of the additions (RUN/model)")
    p.add_argument("out", type=Path, metavar="OUT", help="folder of the whole model; must be empty or absent")
    p.add_argument("--base", metavar="DIR", help="the model that was trained, where it no longer is where it was")

    p = verb("quantize", quantize, "write a model with its linear layers' weights in 8 or 4 bits")
    p.add_argument("model", metavar="MODEL", help="a checkpoint folder, or nano")
    p.add_argument("out", type=Path, metavar="OUT", help="folder of the quantised model; must be empty or absent")
    p.add_argument("--bits", type=int, default=8, help="8 (default) or 4")
    p.add_argument("--vision", action="store_true", help="the vision tower too, not the decoder alone")

    p = verb("eval", evaluate, "score a model on held-out scenes")
    _model(p)
    p.add_argument("--count", type=_positive, default=400, help="how many scenes (default: %(default)s)")
    p.add_argument("--split", choices=("test", "val", "train"), default="test")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--batch-size", type=_positive, default=64)
    p.add_argument("--out", type=Path, help="also write metrics.json and report.html into this folder")

    p = verb("chat", chat, "talk to a model about pictures; without PROMPT an interactive session")
    p.add_argument("prompt", nargs="?", metavar="PROMPT", help="one question; without it a session begins")
    _model(p)
    p.add_argument("--image", type=Path, action="append", default=[], metavar="PATH", help="a picture (repeatable)")
    p.add_argument("--draw", type=Path, metavar="PATH", help="write the picture with the answer's boxes drawn")
    p.add_argument("--raw", action="store_true", help="print the answer with its tags, as generated")
    p.add_argument("--system", help="other words for the system turn")
    p.add_argument("--max-new-tokens", type=_positive, default=256)
    p.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default)")

    p = verb("inspect", inspect, "show what training sees: supervised text in blue, boxes drawn from the tokens")
    p.add_argument("source", help="a data file, a folder of shards, or scenes:train?seed=0&count=100")
    _image_root(p)
    p.add_argument("--task", action="append", default=[], help="only this task (repeatable)")
    p.add_argument("--count", type=_positive, default=8, help="how many samples, or packed rows (default: %(default)s)")
    p.add_argument("--packed", action="store_true", help="show packed rows instead of single samples")
    p.add_argument("--sequence", type=_positive, default=512, help="tokens of a packed row (default: %(default)s)")
    p.add_argument("--html", type=Path, metavar="PATH", help="write a page with pictures instead of text")
    p.add_argument("--model", metavar="DIR", help="use this model's tokenizer and number of image slots")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--strict", action="store_true", help="stop at the first bad row instead of skipping it")

    p = verb("convert", convert, "bring a checkpoint from the released form to ours or back, and check each tensor")
    p.add_argument("source", metavar="SRC", help="a checkpoint folder, or a name on the Hugging Face Hub")
    p.add_argument("out", type=Path, metavar="OUT", help="the folder to make")
    p.add_argument("--to", choices=("native", "released"), help="the form (default: the one that SRC is not in)")
    p.add_argument("--max-shard-size", default="5GB", metavar="SIZE", help="of a weight file (default: %(default)s)")

    data = verbs.add_parser("data", help="make data").add_subparsers(title="verbs", metavar="VERB", required=True)
    p = verb("make-scenes", make_scenes, "write scenes of the nano world as shards", data)
    p.add_argument("out", type=Path, help="folder of the shards")
    p.add_argument("--count", type=_positive, default=1000, help="how many scenes (default: %(default)s)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--split", choices=("train", "val", "test"), default="train")
    p.add_argument("--size", type=_positive, default=96, help="pixels a side (default: %(default)s)")
    return top


def quickstart(options: argparse.Namespace) -> None:
    """`qwenvl quickstart`."""
    from qwenvl.quickstart import quickstart as run

    run(options.out, options.fresh)


def train(options: argparse.Namespace) -> None:
    """`qwenvl train`."""
    from qwenvl.config import load_recipe

    recipe = load_recipe(options.recipe, options.overrides)
    for path in options.data:
        if not path.startswith("scenes:") and not Path(path).exists():
            raise UsageError(f"--data {path}: there is no such file")
    if options.image_root and not options.image_root.is_dir():
        raise UsageError(f"--image-root {options.image_root}: no such folder")
    if options.image_root and not options.data:
        raise UsageError("--image-root says where the pictures of your data lie: name the data with --data FILE")
    from qwenvl.train.run import train as run

    out = options.out or Path("runs") / recipe.name
    model = run(recipe, out, options.data, strict=options.strict, fresh=options.fresh, image_root=options.image_root)
    print(f"\nThe model is in {model}. Talk to it:\n  qwenvl chat --model {model} --image PICTURE")


def merge(options: argparse.Namespace) -> None:
    """`qwenvl merge`."""
    from qwenvl.model.merge import merge as run

    base = run(options.run, options.out, options.base)
    print(f"Merged into {base}: the whole model is in {options.out}. Talk to it:\n  qwenvl chat --model {options.out}")


def quantize(options: argparse.Namespace) -> None:
    """`qwenvl quantize`."""
    from qwenvl.model.quantize import write_quantized

    done, left = write_quantized(options.model, options.out, options.bits, options.vision)
    note = f" ({left} others have no shape for it and stay)" if left else ""
    print(f"{options.out}: {done} layers in {options.bits} bits{note}, the rest in bfloat16. Talk to it:")
    print(f"  qwenvl chat --model {options.out}")


def evaluate(options: argparse.Namespace) -> None:
    """`qwenvl eval`."""
    from qwenvl.model.load import load

    loaded = load(options.model, options.device)
    from qwenvl.evaluate.run import evaluate_scenes, table

    found = evaluate_scenes(
        loaded.model, loaded.tokenizer, options.count, options.split, options.seed, batch_size=options.batch_size
    )
    print(table(found.scores))
    if options.out:
        from qwenvl.evaluate.report import write_report

        found.write(options.out / "metrics.json")
        print(f"\nwrote {options.out / 'metrics.json'} and {write_report(options.out, found, model=loaded.folder)}")


def chat(options: argparse.Namespace) -> None:
    """`qwenvl chat`."""
    if options.draw and options.prompt is None:
        raise UsageError("--draw needs a PROMPT; in a session type /draw PATH after an answer")
    if options.draw and not options.image:
        raise UsageError("--draw needs a picture to draw on: --image PATH")
    from qwenvl.data.images import load_image

    # Pictures are checked before the model is loaded, which takes longer.
    pictures = [load_image(path, name=str(path), verify=True) for path in options.image]
    from qwenvl.serve import Chat, Generation, load
    from qwenvl.serve.session import Session, draw_to

    loaded = load(options.model, options.device)
    settings = Generation(options.max_new_tokens, options.temperature)
    talk = Chat(
        loaded.model, loaded.tokenizer, options=settings, **({"system": options.system} if options.system else {})
    )
    if options.prompt is None:
        _line_editing()
        Session(talk, pictures).run()
        return
    if options.raw:
        print(talk.ask(options.prompt, pictures).raw)
    else:
        Session(talk, pictures).ask(options.prompt)
    if options.draw:
        draw_to(talk.reply, options.draw)
        print(f"wrote {options.draw}")


def init(options: argparse.Namespace) -> None:
    """`qwenvl init`."""
    import torch

    from qwenvl.model.init import init as run
    from qwenvl.train.stages import PARTS, trainable_counts

    dtype = getattr(torch, options.dtype) if options.dtype else None
    model = run(options.vision, options.language, options.out, options.image_size, options.queries, dtype, options.seed)
    counts = trainable_counts(model)
    print(f"wrote {options.out}: " + ", ".join(f"{part} {counts[part]:,}" for part in PARTS) + " parameters")
    print(f"the adapter is untrained: qwenvl train finetune init={options.out} --data FILE")


def inspect(options: argparse.Namespace) -> None:
    """`qwenvl inspect`."""
    from qwenvl.data.preview import packed_rows, samples_of, tokenizer_for
    from qwenvl.data.sources import BadRows, open_source
    from qwenvl.tasks import TASKS
    from qwenvl.text.inspect import to_html, to_terminal
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
    if options.packed:
        records = open_source(source, options.strict, image_root=options.image_root)
        examples, found = packed_rows(records, tasks, tokenizer, slots, options.sequence, options.count, options.seed)
        if not examples:
            raise UsageError(f"no sample fits a row of {options.sequence} tokens: choose a longer --sequence")
        counts |= found
    else:
        examples = [render(sample, tokenizer, slots) for sample in samples]
    if options.html:
        counts["rows skipped"] = bad.count
        options.html.write_text(to_html(examples, tokenizer, f"{options.source}: {origin}", counts), encoding="utf-8")
        print(f"wrote {options.html}: {len(examples)} {'rows' if options.packed else 'samples'}")
        return
    for example in examples:
        print(to_terminal(example, tokenizer, color=sys.stdout.isatty()))
    print("; ".join([origin, *(f"{name} {value}" for name, value in counts.items())]))
    if bad.count:
        print(f"{bad.count} rows skipped", file=sys.stderr)


def convert(options: argparse.Namespace) -> None:
    """`qwenvl convert`."""
    from qwenvl.hub import local_folder
    from qwenvl.model.convert.conversion import convert as run

    done = run(local_folder(options.source), options.out, options.to, options.max_shard_size)
    print(
        f"wrote {done.folder} in the {done.form} form\n"
        f"read back: {done.tensors} tensors, {done.size:,} bytes, each equal to its source byte for byte"
    )


def make_scenes(options: argparse.Namespace) -> None:
    """`qwenvl data make-scenes`."""
    from qwenvl.data.corpus import make_scenes as run

    run(options.out, options.count, options.size, options.seed, options.split)
    print(f"wrote {options.count} scenes to {options.out}")


def _model(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--model",
        default="nano",
        metavar="DIR",
        help="a checkpoint folder, nano (default), or a name on the Hugging Face Hub",
    )
    p.add_argument("--device", default="cpu", help="cpu (default), cuda, mps, …")


def _image_root(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--image-root", type=Path, metavar="DIR", help="where the data's pictures lie (default: the data file's folder)"
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, not {text!r}")
    return int(text)


def _line_editing() -> None:
    """Arrow keys and history at the prompt, where the system has readline."""
    try:
        import readline  # noqa: F401
    except ImportError:
        return
