"""Stanford's tokenizer and METEOR by their own Java programs, from pycocoevalcap, to compare with papers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from qwenvl.evaluate.metrics.corpus import CorpusScore, Predictions, References, paired
from qwenvl.evaluate.metrics.ptb import REMOVED

SECONDS = 600
"""How long one call may take."""


class JavaError(RuntimeError):
    """Java or pycocoevalcap is missing, or the program failed; the message says what to do."""


def ptb_tokenize_all(texts: Sequence[str]) -> list[list[str]]:
    """Stanford's tokens of all texts, lower-cased, without the marks that COCO's evaluation removes.

    Raises JavaError.
    """
    jar = _jar("tokenizer/stanford-corenlp-3.4.1.jar")
    command = ["-cp", jar.name, "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    lines = _java(command, jar.parent, "".join(" ".join(text.split()) + "\n" for text in texts)).split("\n")
    if len(lines) < len(texts):
        raise JavaError(f"the tokenizer gave {len(lines)} lines for {len(texts)} texts")
    return [[token for token in line.split() if token not in REMOVED] for line in lines[: len(texts)]]


def meteor(predictions: Predictions, references: References) -> CorpusScore:
    """METEOR 1.5 in English, as COCO's evaluation calls it, on Stanford's tokens. `each` are the captions' own.

    Raises JavaError, and ValueError as `paired` says.
    """
    items = paired(predictions, references, lambda text: [text])
    texts = [text for said, true in items for text in (said[0], *(one[0] for one in true))]
    tokens = iter(" ".join(found) for found in ptb_tokenize_all(texts))
    jar = _jar("meteor/meteor-1.5.jar")
    lines = []
    for said, true in items:
        hypothesis, *rest = (next(tokens).replace("|||", "").replace("  ", " ") for _ in range(len(said) + len(true)))
        lines.append(" ||| ".join(("SCORE", " ||| ".join(rest), hypothesis)))
    command = ["-Xmx2G", "-jar", jar.name, "-", "-", "-stdio", "-l", "en", "-norm"]
    counts = [line for line in _java(command, jar.parent, "\n".join(lines) + "\n").split("\n") if line]
    if len(counts) != len(items):
        raise JavaError(f"METEOR gave {len(counts)} lines for {len(items)} captions")
    scores = _java(command, jar.parent, "EVAL ||| " + " ||| ".join(counts) + "\n").split()
    if len(scores) != len(items) + 1:
        raise JavaError(f"METEOR gave {len(scores)} scores for {len(items)} captions and their whole")
    return CorpusScore(float(scores[-1]), [float(score) for score in scores[:-1]])


def _jar(name: str) -> Path:
    spec = find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations:
        raise JavaError('pycocoevalcap, which brings the Java programs, is missing: pip install "qwenvl[captions]"')
    path = Path(spec.submodule_search_locations[0]) / name
    if not path.is_file():
        raise JavaError(f"{path} is missing: pycocoevalcap is incomplete, install it again")
    return path


def _java(arguments: Sequence[str], folder: Path, text: str) -> str:
    program = shutil.which("java")
    if program is None:
        raise JavaError("there is no java on this machine: install a Java runtime (default-jre-headless on Debian)")
    try:
        done = subprocess.run(
            [program, *arguments], cwd=folder, input=text.encode(), capture_output=True, timeout=SECONDS, check=True
        )
    except subprocess.TimeoutExpired as error:
        raise JavaError(f"java took longer than {SECONDS} seconds") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip().splitlines()
        raise JavaError(f"java failed: {said[-1] if said else error}") from error
    return done.stdout.decode("utf-8", "replace")
