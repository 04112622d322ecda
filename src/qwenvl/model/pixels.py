"""Pictures to the numbers that the ViT reads: squashed, in 0…1, less CLIP's mean, over CLIP's deviation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor
from torch.nn import functional
from transformers import BatchFeature

from qwenvl.data.images import load_image, reduced, squashed
from qwenvl.sample import Image

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Mean of red, green and blue in 0…1, as published with CLIP."""

CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Standard deviation of red, green and blue in 0…1, as published with CLIP."""

_CACHED = 1 << 18


def pixel_values(images: Iterable[Image | PILImage.Image], size: int, fast: bool = False) -> Tensor:
    """Pictures → (N, 3, size, size) float32: resized, in 0…1, less the mean, over the deviation.

    Equal to the reference's pre-processing (PIL's bicubic squash) to 1e-6. With `fast`, torch's antialiased bicubic on
    bytes resizes pictures of one size together, and large JPEGs are decoded at a fraction of their size (at least twice
    `size`). In levels of 0…255 that differs from the exact way by 0.004 on average and 2 at most where the whole
    picture is decoded, by 0.8 on average and 13 at most for noisy JPEGs of 12 million pixels at 448
    (benchmarks/preprocess.py). Raises ImageError for bytes that are no picture.
    """
    if fast:
        return normalise(_resized_fast([reduced(image, size) for image in images], size))
    pixels = [np.asarray(squashed(image, size)) for image in images]
    return normalise(torch.from_numpy(np.stack(pixels)) if pixels else torch.empty(0, size, size, 3, dtype=torch.uint8))


def _resized_fast(pictures: list[PILImage.Image], size: int) -> Tensor:
    """RGB pictures → (N, size, size, 3) bytes, those of one size at once."""
    out = torch.empty(len(pictures), size, size, 3, dtype=torch.uint8)
    groups: dict[tuple[int, int], list[int]] = {}
    for index, picture in enumerate(pictures):
        groups.setdefault(picture.size, []).append(index)
    for group in groups.values():
        batch = torch.from_numpy(np.stack([np.asarray(pictures[index]) for index in group])).permute(0, 3, 1, 2)
        resized = functional.interpolate(batch, (size, size), mode="bicubic", antialias=True, align_corners=False)
        out[group] = resized.permute(0, 2, 3, 1)
    return out


def normalise(pixels: Tensor) -> Tensor:
    """(N, S, S, 3) bytes → (N, 3, S, S) float32 with CLIP's mean and standard deviation."""
    mean, std = (torch.tensor(values, device=pixels.device)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    if pixels.device.type != "cpu":
        return pixels.permute(0, 3, 1, 2).contiguous().float().div_(255).sub_(mean).div_(std)
    count, height, width, _ = pixels.shape
    # numpy takes large pages from the system, which is half of the work; then as much at once as the cache holds
    out = torch.from_numpy(np.empty((count, 3, height, width), np.float32))
    together = max(1, _CACHED // max(1, 3 * height * width))
    for some, place in zip(pixels.split(together), out.split(together), strict=True):
        place.copy_(some.permute(0, 3, 1, 2)).div_(255).sub_(mean).div_(std)
    return out


def as_pictures(images: Any) -> list[Image]:
    """One picture or several, in any form; strings are paths, because here the caller names files, not a text.

    A list of lists, one for each text, is taken as `transformers` gives it.
    """
    if images is None:
        return []
    if not isinstance(images, list | tuple):
        return [load_image(images, paths=True)]
    return [picture for image in images for picture in as_pictures(image)]


class QwenVLImageProcessor:
    """The pictures' half of the processor, where `transformers` and engines built on it look for one."""

    model_input_names: ClassVar[list[str]] = ["pixel_values"]
    image_mean, image_std = CLIP_MEAN, CLIP_STD

    def __init__(self, side: int) -> None:
        """`side` is that of the model's square, in pixels."""
        self.size = {"height": side, "width": side}

    def __call__(self, images: Any, fast: bool = False) -> BatchFeature:
        """`pixel_values` (N, 3, S, S) of a picture or a list of them, in any form that `load_image` takes."""
        return BatchFeature({"pixel_values": pixel_values(as_pictures(images), self.size["height"], fast)})
