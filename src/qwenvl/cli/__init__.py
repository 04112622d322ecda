"""The `qwenvl` command: a module a verb, each a thin function over a library call, every user's error one clear
message. A verb's module imports what it needs when it runs, so that `qwenvl --help` stays fast.
"""

from qwenvl.cli.command import main

__all__ = ["main"]
