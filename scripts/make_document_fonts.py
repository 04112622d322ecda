"""Make the small fonts that documents are set in on a bare machine: subsets of fonts under the OFL 1.1, as WOFF2.

Needs Debian's packages and fonttools:

    apt-get install fonts-noto-cjk fonts-lxgw-wenkai fonts-ebgaramond fonts-comic-neue
    pip install 'qwenvl[documents]'
    python scripts/make_document_fonts.py /usr/share/fonts src/qwenvl/assets/fonts

The Chinese ones have the characters of the sentences that come with the package, and no more. The licence of LXGW
WenKai reserves its name, so its subset has another one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTCollection, TTFont

from qwenvl.data.synth.documents_fonts import COMMON_HANZI

WORDS = Path(__file__).parents[1] / "src" / "qwenvl" / "assets" / "document_words.yaml"
SERIF = "Noto Serif CJK SC"
FONTS = {
    # file: (target, whether it is Chinese, the name that its subset gets)
    "NotoSerifCJK-Regular.ttc": ("NotoSerifSC-subset.woff2", True, None),
    "LXGWWenKai-Regular.ttf": ("KaiSC-subset.woff2", True, "Subset Kai SC"),
    "EBGaramond12-Regular.otf": ("EBGaramond-subset.woff2", False, None),
    "ComicNeue-Regular.otf": ("ComicNeue-subset.woff2", False, None),
}


def characters(chinese: bool) -> str:
    """ASCII, Latin-1 and common punctuation; for Chinese ones also all that the package's sentences have."""
    latin = "".join(map(chr, [*range(0x20, 0x7F), *range(0xA0, 0x100)])) + "–—‘’“”…•·€"
    if not chinese:
        return latin
    words = WORDS.read_text(encoding="utf-8") + COMMON_HANZI
    return latin + words + "，。、；：？！（）《》〈〉「」『』【】—…〇一二三四五六七八九十￥"


def face_of(path: Path) -> TTFont:
    """The font, or of a collection the simplified Chinese face."""
    if path.suffix != ".ttc":
        return TTFont(path)
    [face] = [f for f in TTCollection(path, lazy=True).fonts if str(f["name"].getDebugName(1)) == SERIF]
    return face


def rename(face: TTFont, name: str) -> None:
    """Another family name, in all places where the old one stands."""
    for record in list(face["name"].names):
        if record.nameID in (1, 3, 4, 6, 16, 17, 18, 21):
            face["name"].removeNames(nameID=record.nameID)
    for number, text in {1: name, 2: "Regular", 3: name, 4: name, 6: name.replace(" ", "")}.items():
        face["name"].setName(text, number, 3, 1, 0x409)


def main(source: Path, target: Path) -> None:
    """Write all subsets of the fonts below the folder `source` into `target`."""
    target.mkdir(parents=True, exist_ok=True)
    for name, (file, chinese, renamed) in FONTS.items():
        face = face_of(next(source.rglob(name)))
        options = subset.Options()
        options.layout_features = ["kern"]
        options.hinting = False
        options.name_IDs = [0, 1, 2, 3, 4, 5, 6, 13, 14]
        options.drop_tables += ["vmtx", "vhea", "VORG", "BASE", "DSIG", "FFTM", "GSUB"]
        worker = subset.Subsetter(options)
        worker.populate(text=characters(chinese))
        worker.subset(face)
        if renamed:
            rename(face, renamed)
        face.flavor = "woff2"
        face.save(target / file)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
