"""What stands before the model: pictures to normalised pixels, text with `<img></img>` to ids with image slots."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor
from transformers import BatchFeature

from qwenvl.data.images import load_image
from qwenvl.hub import hub_options, local_folder
from qwenvl.model.configuration import QwenVLConfig
from qwenvl.model.convert.tokenizer_files import check_tokenizer
from qwenvl.sample import Image, Part, Region, Sample, Text
from qwenvl.text.markup import RegionSpan, TextSpan, format_spans, parse, to_regions
from qwenvl.text.render import render
from qwenvl.text.tokenizer import QwenTokenizer

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Mean of red, green and blue in 0…1, as published with CLIP."""

CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Standard deviation of red, green and blue in 0…1, as published with CLIP."""

_PICTURE = re.compile(r"<img>.*?</img>", re.DOTALL)
_FILE = "processor_config.json"


def resized(image: Image | PILImage.Image, size: int) -> PILImage.Image:
    """The picture as RGB, upright, squashed to `size` by `size` pixels (bicubic; the aspect ratio is not kept)."""
    upright = (image if isinstance(image, Image) else Image(image, image.width, image.height)).pil()
    return upright.resize((size, size), PILImage.Resampling.BICUBIC)


def pixel_values(images: Iterable[Image | PILImage.Image], size: int) -> Tensor:
    """Pictures → (N, 3, size, size) float32: resized, in 0…1, less the mean, over the deviation.

    Raises OSError for bytes that are no picture.
    """
    pixels = [np.asarray(resized(image, size)) for image in images]
    if not pixels:
        return torch.empty(0, 3, size, size)
    return normalise(torch.from_numpy(np.stack(pixels)))


def normalise(pixels: Tensor) -> Tensor:
    """(N, S, S, 3) bytes → (N, 3, S, S) float32 with CLIP's mean and standard deviation."""
    mean, std = (torch.tensor(values, device=pixels.device) for values in (CLIP_MEAN, CLIP_STD))
    return pixels.float().div_(255).sub_(mean).div_(std).permute(0, 3, 1, 2).contiguous()


class QwenVLProcessor:
    """Text and pictures to the model's inputs; a thin hand on the renderer, which decides every id."""

    def __init__(self, tokenizer: QwenTokenizer, config: QwenVLConfig) -> None:
        """`config` says the side that pictures are resized to and how many slots each takes."""
        self.tokenizer = tokenizer
        self.image_size: int = config.vision_config.image_size
        self.num_queries: int = config.num_queries

    def __call__(
        self,
        text: str | Sequence[str],
        images: Any = None,
        return_tensors: str | None = "pt",
    ) -> BatchFeature:
        """Texts, in which each `<img></img>` stands for the next of `images`, as one left-padded batch.

        Gives `input_ids` and `attention_mask` (B, L) and, with pictures, `pixel_values` (N, 3, S, S). What stands
        between `<img>` and `</img>` is not read; well-formed `<ref>`, `<box>` and `<quad>` are understood; everything
        else is plain text and cannot become a control token. Pictures may be paths, bytes, PIL, arrays or "data:"
        strings. Raises ValueError when their number differs from that of the placeholders.
        """
        if return_tensors not in (None, "pt"):
            raise ValueError(f'return_tensors is "pt" or None, not {return_tensors!r}.')
        texts = [text] if isinstance(text, str) else list(text)
        if images is None:
            images = []
        pictures = [_picture(image) for image in (images if isinstance(images, list | tuple) else [images])]
        wanted = sum(len(_PICTURE.findall(line)) for line in texts)
        if wanted != len(pictures):
            raise ValueError(
                f"The text has {wanted} <img></img> placeholders, but {len(pictures)} pictures were passed; "
                "they must be as many, in the same order."
            )
        rows, taken = [], 0
        for line in texts:
            count = len(_PICTURE.findall(line))
            sample = Sample(_parts(line, pictures[taken : taken + count]), "text")
            rows.append(render(sample, self.tokenizer, self.num_queries).ids)
            taken += count
        length = max((len(row) for row in rows), default=0)
        pad = self.tokenizer.eos_id
        data: dict[str, Any] = {
            "input_ids": [[pad] * (length - len(row)) + row for row in rows],
            "attention_mask": [[0] * (length - len(row)) + [1] * len(row) for row in rows],
        }
        if return_tensors == "pt":
            data = {key: torch.tensor(value, dtype=torch.long) for key, value in data.items()}
        if pictures:
            data["pixel_values"] = pixel_values(pictures, self.image_size)
        return BatchFeature(data)

    def decode(self, ids: Sequence[int] | Tensor, skip_special_tokens: bool = False) -> str:
        """The text of ids; pictures come back as `<img></img>`."""
        numbers = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        return self.tokenizer.decode(numbers, skip_special=skip_special_tokens)

    def batch_decode(self, rows: Iterable[Sequence[int] | Tensor], skip_special_tokens: bool = False) -> list[str]:
        """`decode` for each row."""
        return [self.decode(row, skip_special_tokens) for row in rows]

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """Write the tokenizer's files and `processor_config.json`."""
        folder = Path(save_directory)
        self.tokenizer.save(folder)
        settings = {
            "processor_class": type(self).__name__,
            "image_size": self.image_size,
            "num_queries": self.num_queries,
            "image_mean": CLIP_MEAN,
            "image_std": CLIP_STD,
        }
        (folder / _FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> QwenVLProcessor:
        """From a folder, or a name on the Hugging Face Hub, whose small files are then **downloaded**.

        Reads `processor_config.json`, or else the model's `config.json`, and the tokenizer's files. Raises OSError or
        ValueError, naming the file.
        """
        folder = local_folder(pretrained_model_name_or_path, weights=False, **hub_options(kwargs))
        tokenizer = QwenTokenizer.load(folder)
        path = folder / _FILE
        if not path.is_file():
            config = QwenVLConfig.from_pretrained(folder)
            if not (folder / "tokenizer.json").is_file():
                # A tokenizer.json cut short does not read; a qwen.tiktoken does.
                check_tokenizer(tokenizer, config, folder)
            return cls(tokenizer, config)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            size, queries = int(found["image_size"]), int(found["num_queries"])
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{path}: expected JSON with image_size and num_queries, whole numbers ({error})."
            ) from error
        processor = cls.__new__(cls)
        processor.tokenizer, processor.image_size, processor.num_queries = tokenizer, size, queries
        return processor


def _picture(image: Any) -> Image:
    """Anything that `load_image` takes, and strings as paths: here the caller names files, not a text."""
    if isinstance(image, Image):
        return image
    if isinstance(image, str) and not image.startswith("data:"):
        image = Path(image)
    return load_image(image)


def _parts(text: str, pictures: Sequence[Image]) -> tuple[Part, ...]:
    """A text with placeholders as parts; boxes and quads refer to the last picture before them."""
    parts: list[Part] = []
    pieces = _PICTURE.split(text)
    for shown, piece in enumerate(pieces):
        spans = parse(piece)
        if format_spans(spans) != piece:
            # Not well formed: words, to the letter.
            spans = [TextSpan(piece)]
        for span in spans:
            if isinstance(span, RegionSpan) and (span.boxes or span.quads):
                if not shown:
                    raise ValueError(f"A box or quad stands before any picture in {text[:80]!r}.")
                image = pictures[shown - 1]
                parts += to_regions(format_spans([span]), image.width, image.height, shown - 1)
            elif isinstance(span, RegionSpan):
                parts.append(Region(span.phrase))
            elif isinstance(span, TextSpan) and span.text:
                parts.append(Text(span.text))
        if shown < len(pictures):
            parts.append(pictures[shown])
    return tuple(parts)
