"""The `qwenvl` command: a module a verb, each a thin function over a library call, every user's error one clear
message. A verb's module imports what it needs when it runs, so that `qwenvl --help` stays fast.
"""

from qwenvl.cli.command import main
from qwenvl.cli.errors import FAILED, INTERRUPTED, OK, USAGE

__all__ = ["FAILED", "INTERRUPTED", "OK", "USAGE", "main"]
