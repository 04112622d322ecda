"""What the verbs' parsers share: registering one, and options that several have."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from qwenvl.model.load import Loaded

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""Where parsers of verbs are registered: those of `qwenvl`, or of a group."""


def verb(verbs: Verbs, name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
    """The parser of a new verb, which `run` will do; `text` is its help."""
    made = verbs.add_parser(name, help=text, description=text)
    made.add_argument("--debug", action="store_true", help="show the whole trace of an error")
    made.set_defaults(verb=run)
    return made


def group(verbs: Verbs, name: str, text: str) -> Verbs:
    """A verb that has verbs of its own, such as `data`."""
    return verbs.add_parser(name, help=text, description=text).add_subparsers(
        title="verbs", metavar="VERB", required=True
    )


def model_options(p: argparse.ArgumentParser) -> None:
    """--model, --device and --dtype."""
    p.add_argument(
        "--model",
        default="nano",
        metavar="DIR",
        help="a checkpoint folder, nano (default), or a name on the Hugging Face Hub",
    )
    p.add_argument("--device", default="cpu", help="cpu (default), cuda, mps, …")
    p.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="what to compute in (default: float32 on a CPU, elsewhere the checkpoint's own)",
    )


def load_model(options: argparse.Namespace) -> Loaded:
    """The model that `model_options` asked for, ready to answer; on a CPU its layers are laid out for decoding."""
    import torch

    from qwenvl.model.load import load
    from qwenvl.model.packed_linear import prepare_for_cpu

    loaded = load(options.model, options.device, getattr(torch, options.dtype) if options.dtype else None)
    prepare_for_cpu(loaded.model)
    return loaded


def image_root_option(p: argparse.ArgumentParser) -> None:
    """--image-root."""
    p.add_argument(
        "--image-root", type=Path, metavar="DIR", help="where the data's pictures lie (default: the data file's folder)"
    )


def engine_options(p: argparse.ArgumentParser) -> None:
    """--workers, --engine, --ray-address, --memory and --fresh."""
    p.add_argument("--workers", type=positive, help="processes, or with ray units at a time (default: the cores)")
    p.add_argument("--engine", choices=("pool", "ray"), default="pool", help="this machine (default), or a Ray cluster")
    p.add_argument("--ray-address", metavar="ADDRESS", help="the cluster: auto, host:port, ray://…")
    p.add_argument(
        "--memory", type=positive, default=192, metavar="MIB", help="for rules on the whole set (default: %(default)s)"
    )
    p.add_argument("--fresh", action="store_true", help="start over instead of continuing what is there")


def positive(text: str) -> int:
    """The type of an option that counts something."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, not {text!r}")
    return int(text)
