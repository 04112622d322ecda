"""Fonts: which are taken, what they can write, and that no character is drawn that they lack."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("fontTools")
pytest.importorskip("brotli")
pytest.importorskip("cv2")

from fontTools.ttLib import TTFont

from qwenvl.data.synth.documents_fonts import BUNDLED, FontError, FontFace, find_fonts
from qwenvl.data.synth.documents_sheet import Sheet
from qwenvl.data.synth.documents_text import Sentences

BARE = find_fonts(system=False)


def named(word: str) -> FontFace:
    return next(face for face in BARE if word in Path(face.file).name)


def test_a_bare_machine_has_fonts_of_both_languages() -> None:
    assert len(BARE) == len(BUNDLED) == 5
    assert sum("zh" in face.languages for face in BARE) == 3
    assert all("en" in face.languages for face in BARE)


def test_the_licence_lies_beside_the_fonts() -> None:
    for path in BUNDLED:
        texts = [found.read_text(encoding="utf-8") for found in path.parent.glob("*LICENSE*")]
        assert any("SIL OPEN FONT LICENSE" in text and path.name in text for text in texts), path


def test_has_is_the_character_map() -> None:
    """Of a font's own map, every code point; none that is not there."""
    face = named("EBGaramond")
    there = set(TTFont(face.file).getBestCmap())
    for code in range(0x20, 0x3000):
        if not chr(code).isspace():
            assert face.has(chr(code)) == (code in there), hex(code)
    assert not face.has("国") and not face.has("a\U000e0041")


def test_every_sentence_of_the_package_can_be_set_on_a_bare_machine() -> None:
    rng = random.Random(0)
    for language, every in (("en", BARE), ("zh", [face for face in BARE if "zh" in face.languages])):
        for _ in range(300):
            for text in (
                *Sentences().sentences(rng, language, 2),
                Sentences().heading(rng, language),
                *Sentences().pair(rng, language),
            ):
                assert any(face.has(text) for face in every), text


def test_a_character_that_the_face_lacks_sends_the_text_to_another_or_away() -> None:
    kai, full = named("Kai"), named("NotoSansSC")
    dropped: Counter[str] = Counter()
    page = Sheet(random.Random(1), Sentences(), "zh", [kai], [full, kai], 400, 400, 12, dropped)
    assert not kai.has("肥鹅") and full.has("肥鹅")
    assert page.fit(["肥鹅在这里。"], kai) == ("肥鹅在这里。", full)
    assert page.fit(["这是我的国家。", "肥鹅在这里。"], kai) == ("这是我的国家。", kai)
    assert page.fit(["𰻞𰻞面。"], kai)[0] == ""
    assert sum(dropped.values()) == 2


def test_symbols_and_broken_files_are_passed_over(tmp_path: Path) -> None:
    latin = next(path for path in BUNDLED if "ComicNeue" in path.name)
    for name, change in (("signs", "Comic Symbol"), ("panose", "")):
        font = TTFont(latin)
        font.flavor = None
        if change:
            font["name"].setName(change, 4, 3, 1, 0x409)
        else:
            font["OS/2"].panose.bFamilyType = 5
        font.save(tmp_path / f"{name}.ttf")
    (tmp_path / "cut.ttf").write_bytes(latin.read_bytes()[:500])
    (tmp_path / "text.otf").write_text("no font")
    with pytest.raises(FontError, match="holds no font"):
        find_fonts([tmp_path], system=False)
    font = TTFont(latin)
    font.flavor = None
    font["name"].setName("Mine", 1, 3, 1, 0x409)
    font.save(tmp_path / "own.ttf")
    assert [Path(face.file).name for face in find_fonts([tmp_path], system=False)].count("own.ttf") == 1


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FontError, match="no such folder of fonts"):
        find_fonts([tmp_path / "nowhere"])
