"""The exact and the quick way from pictures to pixel values: how fast, and how far apart.

    python benchmarks/preprocess.py [--images FOLDER] [--count 16] [--size 448] [--repeats 5] [--threads 2]

Pictures are JPEGs of 640 × 480 and of 4000 × 3000 pixels, made of waves, edges, lettering and noise, or those of a
folder. Each way starts from the encoded bytes; the two take turns. The difference is in levels of 0…255 after the
resize.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PILImage
from PIL import ImageDraw

from qwenvl.data.images import load_image
from qwenvl.model.pixels import CLIP_STD, pixel_values
from qwenvl.sample import Image


def made_up(width: int, height: int, seed: int) -> Image:
    """A JPEG with smooth parts, fine waves, hard edges, letters and noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = [127 + 90 * np.sin(x / random.uniform(2, 60) + y / random.uniform(2, 60)) for _ in range(3)]
    pixels = np.stack(waves, -1) + random.normal(0, 8, (height, width, 3))
    picture = PILImage.fromarray(pixels.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(40):
        left, top = random.uniform(0, width), random.uniform(0, height)
        draw.rectangle(
            (left, top, left + width / 12, top + height / 30), fill=tuple(random.integers(0, 256, 3).tolist())
        )
        draw.text((left, top), "Qwen-VL 448", fill="white", font_size=height / 30)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return load_image(buffer.getvalue())


def compare(name: str, images: list[Image], size: int, repeats: int) -> None:
    """Print both ways' median time a picture, their ratio, and the difference of what they give."""
    times: dict[bool, list[float]] = {False: [], True: []}
    for repeat in range(repeats + 1):
        for fast in (False, True) if repeat % 2 else (True, False):
            begin = time.perf_counter()
            pixel_values(images, size, fast)
            if repeat:  # the first warms up
                times[fast].append(time.perf_counter() - begin)
    exact, fast = (1000 * statistics.median(times[way]) / len(images) for way in (False, True))
    levels = (pixel_values(images, size, True) - pixel_values(images, size)).abs()
    levels = levels.mul_(torch.tensor(CLIP_STD)[:, None, None] * 255).flatten()
    print(f"{name}: exact {exact:.1f} ms, quick {fast:.1f} ms a picture, {exact / fast:.2f} times as fast")
    rare = levels.sort().values[int(0.999 * (len(levels) - 1))]
    print(f"  difference: mean {levels.mean():.3f}, 99.9 % below {rare:.1f}, largest {levels.max():.0f} levels")


def main() -> None:
    """Compare the two ways on each kind of picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="a folder of pictures, in place of made-up ones")
    parser.add_argument("--count", type=int, default=16, help="made-up pictures of each kind (default: %(default)s)")
    parser.add_argument("--size", type=int, default=448, help="the model's square (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each way (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch (default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.images:
        files = sorted(path for path in options.images.iterdir() if path.is_file())
        compare(str(options.images), [load_image(path) for path in files], options.size, options.repeats)
        return
    small = [made_up(640, 480, seed) for seed in range(options.count)]
    compare("640 × 480", small, options.size, options.repeats)
    large = [made_up(4000, 3000, seed) for seed in range(max(options.count // 8, 2))]
    compare("4000 × 3000", large, options.size, options.repeats)


if __name__ == "__main__":
    main()
