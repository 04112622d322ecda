"""What the tests of `qwenvl.text` share: reference outputs, the released vocabulary where installed, a small one."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from qwenvl.text.tokenizer import QwenTokenizer

GOLDEN = Path(__file__).parent.parent / "golden"

CORPUS = [
    "Generate the caption in English with grounding: a big red star left of a small blue circle.",
    "OCR with grounding: It is managed",
    "Where is the green square? Answer: the top left corner",
    "图中是一只狗。框出图中的格子衬衫 红色的大星星在左上角",
    "(661,612),(833,812) (120,555),(265,770) (568,121),(625,131),(624,182),(567,172)",
    "system user assistant Picture 1: You are a helpful assistant.\n",
]


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    """The reference tokenizer's ids, contexts and labels."""
    return json.loads((GOLDEN / "tokenizer.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def list_golden() -> list[dict[str, Any]]:
    """The reference's list form."""
    return json.loads((GOLDEN / "list_format.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def vocabulary_file() -> Path:
    """The released `qwen.tiktoken`."""
    spec = find_spec("dashscope")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip('needs Qwen\'s vocabulary, which the package dashscope carries: pip install "qwenvl[tokenizer]"')
    return Path(spec.submodule_search_locations[0]) / "resources" / "qwen.tiktoken"


@pytest.fixture(scope="session")
def qwen(vocabulary_file: Path) -> QwenTokenizer:
    """The released vocabulary of 151,643 ids."""
    return QwenTokenizer.from_dashscope()


@pytest.fixture(scope="session")
def corpus() -> list[str]:
    """A few texts of the kinds that tasks make."""
    return CORPUS


@pytest.fixture(scope="session")
def small() -> QwenTokenizer:
    """A vocabulary of a few hundred ids."""
    return QwenTokenizer.train_small(CORPUS * 3, 512)


@pytest.fixture(scope="session")
def fill_slots() -> Callable[[list[int], QwenTokenizer], list[int]]:
    """Ids of the reference in our form: it writes a path's bytes and slots between <img> and </img>, we only slots."""

    def fill(ids: list[int], tokenizer: QwenTokenizer) -> list[int]:
        out, inside = [], False
        for number in ids:
            if number in (tokenizer.img_start_id, tokenizer.img_end_id):
                inside = number == tokenizer.img_start_id
                out.append(number)
            else:
                out.append(tokenizer.image_slot_id if inside else number)
        return out

    return fill
