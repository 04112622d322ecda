"""What an error says to the person at the terminal, and the exit code that it gives."""

from __future__ import annotations

import sys
import traceback

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

_EXTRAS = {
    **dict.fromkeys(("sklearn", "pyarrow", "scipy", "fsspec", "duckdb"), "data"),
    **dict.fromkeys(("dashscope", "tiktoken"), "tokenizer"),
    "matplotlib": "train",
    "peft": "finetune",
    "bitsandbytes": "qlora",
    "torchao": "quantize",
    "ray": "ray",
    "vllm": "vllm",
    "openai": "llm",
    "playwright": "html",
    **dict.fromkeys(("cv2", "fontTools"), "documents"),
    "pypdfium2": "pdf",
    "fastwarc": "warc",
    **dict.fromkeys(("tensorboard", "wandb"), "logging"),
    **dict.fromkeys(("fastapi", "starlette", "uvicorn", "h11", "pydantic", "prometheus_client", "llguidance"), "serve"),
}


class UsageError(ValueError):
    """What was asked for can't be done; the message says what to do instead."""


def explain(error: Exception, debug: bool) -> int:
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
    package = (error.name or "").split(".")[0]
    extra = _EXTRAS.get(package)
    how = f'pip install "qwenvl[{extra}]"' if extra else f"pip install {package}"
    return f"this needs the package {package}, which is not installed: {how}"
