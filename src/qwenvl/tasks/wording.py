"""The words of the tasks' prompts: the paper's, or paraphrases from a file.

The file is YAML, task → language → forms; what it does not name keeps the paper's words. Of several forms each sample
draws one, so give the paper's among them where it shall occur:

    caption:
      en: ["Generate the caption in English: ", "Describe the picture: "]
      zh: ["用中文生成图片描述："]
    vqa: {en: [" {} Answer: ", " Question: {} Answer: "]}      # {} is the question
    grounded_caption: {en: ["This{} is ", "The thing{} is "]}  # {} is the box; the words behind it are supervised
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qwenvl.sample import Language, Task
from qwenvl.typed import ConfigError, from_dict, nearest, read_yaml

_MARKED: frozenset[Task] = frozenset({"vqa", "grounded_caption"})
"""Tasks whose forms have a place for something, written {}."""

WORDED: tuple[Task, ...] = ("caption", "vqa", "grounding", "grounded_caption", "ocr")
"""Tasks that have words of their own. Referring is a phrase alone, text a document, dialogue its turns."""

_FORMS = 1000
_LETTERS = 500


@dataclass(frozen=True)
class Wording:
    """Paraphrases of the prompts: task → language → forms. Without any the words are the paper's."""

    forms: Mapping[Task, Mapping[Language, tuple[str, ...]]] = field(default_factory=dict)

    def form(self, task: Task, language: Language, exact: str, rng: random.Random) -> str:
        """A form of `rng`'s choice, or `exact` where there are none; one alone draws nothing."""
        found = self.forms.get(task, {}).get(language, ())
        return rng.choice(found) if len(found) > 1 else found[0] if found else exact

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {task: {lang: list(forms) for lang, forms in of.items()} for task, of in self.forms.items()}


EXACT = Wording()
"""The paper's words (appendix B)."""


def load_wording(path: Path) -> Wording:
    """Read a file of paraphrases. Raises ConfigError naming the task, language and form that can not be used."""
    try:
        data = read_yaml(path)
    except OSError as error:
        raise ConfigError(f"wording {path}: can not be read ({error.strerror or error})") from None
    return wording_of(data, path.name)


def wording_of(data: Mapping[str, Any], where: str) -> Wording:
    """The wording whose `plain` this is. Raises ConfigError."""
    for task in data:
        if task not in WORDED:
            known = ", ".join(WORDED)
            raise ConfigError(
                f"{where}: {task!r} has no words of its own{nearest(str(task), WORDED)}; those are {known}"
            )
    forms = from_dict(dict[Task, dict[Language, tuple[str, ...]]], dict(data), where)
    for task, languages in forms.items():
        for language, texts in languages.items():
            _check(task, texts, f"{where}: {task}.{language}")
    return Wording(forms)


def _check(task: Task, texts: tuple[str, ...], where: str) -> None:
    if not 0 < len(texts) <= _FORMS:
        raise ConfigError(f"{where}: expected 1 to {_FORMS} forms, found {len(texts)}")
    marks = 1 if task in _MARKED else 0
    for text in texts:
        if not text.strip() or len(text) > _LETTERS:
            raise ConfigError(f"{where}: a form has 1 to {_LETTERS} characters, not {text[:60]!r}")
        if text.count("{}") != marks:
            what = "the place of the question" if task == "vqa" else "the place of the box"
            need = f"exactly one {{}}, {what}," if marks else "no {}"
            raise ConfigError(f"{where}: a form has {need} unlike {text!r}")
