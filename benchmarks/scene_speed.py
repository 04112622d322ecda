"""How fast scenes with all annotations are made, and their pictures decoded, on one core."""

from __future__ import annotations

import time

from qwenvl.data.images import encode, load_image
from qwenvl.data.synth.scenes import scene_record

COUNT = 1000


def main() -> None:
    """Print scenes and pictures per second of processor time, cold (masks are drawn) and warm (masks are there)."""
    for name, seed in (("cold", 0), ("warm", 1), ("warm", 2)):
        begun = time.process_time()
        records = [scene_record(seed, index, "train") for index in range(COUNT)]
        print(f"{name}: {COUNT / (time.process_time() - begun):,.0f} scenes a core-second with all annotations")
    pictures = [load_image(encode(record.images[0])) for record in records]
    begun = time.process_time()
    for picture in pictures:
        picture.pil()
    print(f"decode: {COUNT / (time.process_time() - begun):,.0f} pictures of 96 px a core-second")


if __name__ == "__main__":
    main()
