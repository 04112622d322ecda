"""Files that come with the package: the font, and where it is from (NotoSansSC-Bold-subset.LICENSE.txt)."""

from qwenvl.assets.fonts import FONT_PATH, font

__all__ = ["FONT_PATH", "font"]
