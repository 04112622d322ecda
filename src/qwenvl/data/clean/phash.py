"""A perceptual hash: 64 bits that stay nearly the same when a picture is scaled, recompressed or slightly retouched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as PILImage

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 32
"""The picture is squashed to this many pixels a side first."""

FLAT = 8
"""Grey levels: a squashed picture whose brightest and darkest pixel are no further apart shows nothing to compare."""

_WAVES = 12  # the first 64 waves by rising frequency lie among the 12 × 12 slowest


def phash(picture: PILImage.Image) -> int | None:
    """64 bits, one for each of the slowest waves of the picture (DCT-II of 32 × 32 grey, without the mean brightness):
    whether it is stronger than their median. None for a flat picture, whose bits would be noise.

    Two such hashes of different pictures differ in 32 bits on average, those of copies in a few. The arithmetic is
    exact (whole numbers), so the hash does not hang on the machine's vector instructions. `picture` is of any size;
    the engine gives `Pair.grey`, and hashes of other reductions of a picture may differ by a few bits from that one's.
    """
    grey = picture if picture.mode == "L" else picture.convert("L")
    small = np.asarray(grey.resize((SIDE, SIDE), PILImage.Resampling.BILINEAR))
    if int(small.max()) - int(small.min()) <= FLAT:
        return None
    waves = (_DCT @ small @ _DCT.T).ravel()[_ORDER]
    bits = waves > np.partition(waves, 31)[31]
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _dct() -> NDArray[np.float64]:
    """The slowest rows of the DCT-II as whole numbers, held in floats: products of them are exact up to 2^53."""
    wave, place = np.mgrid[0:_WAVES, 0:SIDE]
    return np.rint(4096 * np.cos(np.pi * wave * (2 * place + 1) / (2 * SIDE)))


def _order() -> NDArray[np.intp]:
    """Positions in the 12 × 12 of the 64 slowest waves but the mean, by rising frequency."""
    down, across = np.divmod(np.arange(_WAVES * _WAVES), _WAVES)
    return np.lexsort((across, down + across))[1:65]


_DCT = _dct()
_ORDER = _order()
