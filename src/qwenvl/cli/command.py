"""The command line: all verbs, and running one."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from qwenvl import __version__
from qwenvl.cli import chat, convert, data, evaluate, init, inspect, merge, quantize, quickstart, serve, synth, train
from qwenvl.cli.errors import INTERRUPTED, OK, explain

# In the order of the help text.
VERBS = (quickstart, train, init, merge, quantize, evaluate, chat, serve, inspect, convert, data, synth)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; gives the exit code: 0, 2 for what the user can mend, 130 after Ctrl-C, 1 for a fault of the
    program.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # Chinese answers must not fail on a terminal set to ASCII
            stream.reconfigure(errors="replace")
    # where torchao is installed, transformers imports it, and it complains of kernels for other machines
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
    options = _parse(arguments)
    try:
        options.verb(options)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return OK  # the reader of our output (such as `head`) has seen enough
    except Exception as error:
        return explain(error, options.debug)
    return OK


def parser() -> argparse.ArgumentParser:
    """The command line, all verbs."""
    top = argparse.ArgumentParser(prog="qwenvl", description="Qwen-VL: train, look at, evaluate and talk to it.")
    top.add_argument("--version", action="version", version=f"qwenvl {__version__}")
    verbs = top.add_subparsers(title="verbs", metavar="VERB", required=True)
    for module in VERBS:
        module.add(verbs)
    return top


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Like `parse_args`, but `key=value` may also stand after options, where argparse no longer expects it."""
    top = parser()
    options, rest = top.parse_known_args(arguments)
    if rest and hasattr(options, "overrides") and not any(text.startswith("-") for text in rest):
        options.overrides += rest
    elif rest:
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    return options
