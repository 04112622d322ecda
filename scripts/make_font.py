"""Make the bundled font: a subset of Noto Sans CJK SC (OFL 1.1) with Latin and the 3,755 common characters of GB 2312.

Needs Debian's package and fonttools:

    apt-get install fonts-noto-cjk && pip install fonttools
    python scripts/make_font.py /usr/share/fonts/opentype/noto/NotoSansCJK-Bold.ttc
    src/qwenvl/assets/NotoSansSC-Bold-subset.otf

The characters come from the codec `gb2312` of Python (level 1 is rows 16 to 55), so no list of them is kept here.
"""

from __future__ import annotations

import sys

from fontTools import subset
from fontTools.ttLib import TTCollection, TTFont

SIMPLIFIED_CHINESE = "Noto Sans CJK SC"


def characters() -> str:
    """ASCII, Latin-1, common punctuation and arrows, full-width forms, and level 1 of GB 2312."""
    latin = "".join(map(chr, [*range(0x20, 0x7F), *range(0xA0, 0x100)]))
    signs = "–—‘’“”…•·×→←↑↓✓" + "".join(map(chr, [*range(0x3000, 0x3018), *range(0xFF01, 0xFF5F)])) + "￥￠"
    hanzi = "".join(
        bytes([0xA0 + row, 0xA0 + cell]).decode("gb2312", "ignore") for row in range(16, 56) for cell in range(1, 95)
    )
    return latin + signs + hanzi


def main(source: str, target: str) -> None:
    """Write the subset of the font collection `source` to `target`."""
    collection = TTCollection(source, lazy=True)
    faces: list[TTFont] = list(collection.fonts)
    [face] = [f for f in faces if str(f["name"].getDebugName(1)).startswith(SIMPLIFIED_CHINESE)]
    options = subset.Options()
    options.layout_features = ["kern"]
    options.hinting = False
    options.desubroutinize = False
    options.name_IDs = [0, 1, 2, 3, 4, 5, 6, 13, 14]
    options.drop_tables += ["vmtx", "vhea", "VORG", "BASE", "DSIG"]
    worker = subset.Subsetter(options)
    worker.populate(text=characters())
    worker.subset(face)
    face.save(target)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
