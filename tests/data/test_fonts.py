"""The bundled font: it draws what the world and its labels need."""

from __future__ import annotations

from qwenvl.assets import FONT_PATH, font
from qwenvl.data.synth.scenes_world import CHINESE_WORDS, COLOURS, SHAPES


def test_the_font_is_small_and_licensed() -> None:
    assert FONT_PATH.stat().st_size < 1_500_000
    assert "SIL OPEN FONT LICENSE" in FONT_PATH.with_name("NotoSansSC-Bold-subset.LICENSE.txt").read_text()


def test_every_character_is_drawn_and_not_as_a_box() -> None:
    words = (
        "".join(CHINESE_WORDS)
        + "".join(c for c, _ in COLOURS.values())
        + "".join(SHAPES.values())
        + "红色的星星在哪里？。，“”"
    )
    nothing = bytes(font(24).getmask("\U000fffff"))
    drawn = {character: bytes(font(24, words).getmask(character)) for character in words}
    assert all(mask and mask != nothing for mask in drawn.values())
    assert len(set(drawn.values())) > 0.95 * len(drawn)


def test_sizes_are_kept_and_never_zero() -> None:
    assert font(20) is font(20)
    assert font(0).size == 1
    assert font(12, "\U0001f600 a rare sign does no harm 龘").size == 12
