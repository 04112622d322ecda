"""Similarity of pictures and captions by a CLIP that transformers or open_clip loads, in batches, on CPU or GPU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from PIL import Image as PILImage

from qwenvl.typed import ConfigError

OPEN_CLIP = "open_clip:"
_LONGEST = 77  # tokens, as CLIP was trained


class Clip(ABC):
    """A loaded model. `similarity` gives the cosine of each picture and its caption, −1 to 1."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)

    @torch.inference_mode()
    def similarity(self, pictures: Sequence[PILImage.Image], captions: Sequence[str]) -> list[float]:
        """One number a pair, in one batch. Captions longer than the model's context are cut."""
        # half of a surrogate pair is no text to a tokenizer
        texts = [caption.encode("utf-8", "replace").decode("utf-8") for caption in captions]
        seen, read = self._encode(pictures, texts)
        return torch.nn.functional.cosine_similarity(seen.float(), read.float()).tolist()

    @abstractmethod
    def _encode(self, pictures: Sequence[PILImage.Image], texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings of pictures and texts, each (pairs, dimensions)."""


class _Transformers(Clip):
    """CLIP, Chinese-CLIP, SigLIP and their like: what gives image and text features."""

    def __init__(self, name: str, device: str) -> None:
        from transformers import AutoModel, AutoProcessor

        super().__init__(device)
        self.model: Any = AutoModel.from_pretrained(name)
        if not (hasattr(self.model, "get_image_features") and hasattr(self.model, "get_text_features")):
            raise ValueError(f"a {type(self.model).__name__} has no image and text features, as a CLIP has")
        self.processor: Any = AutoProcessor.from_pretrained(name)
        self.model.to(self.device).eval()
        positions = getattr(self.model.config.text_config, "max_position_embeddings", _LONGEST)
        self.longest = min(positions, _LONGEST)

    def _encode(self, pictures: Sequence[PILImage.Image], texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        # always padded to the same length: SigLIP was trained so, and a pair's score does not hang on its neighbours
        words = self.processor.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=self.longest, return_tensors="pt"
        )
        pixels = self.processor.image_processor(list(pictures), return_tensors="pt")
        seen = self.model.get_image_features(pixel_values=pixels["pixel_values"].to(self.device))
        read = self.model.get_text_features(**words.to(self.device))
        return _pooled(seen), _pooled(read)


class _OpenClip(Clip):
    """A model of the open_clip package: its architecture and its weights, "ViT-B-32/laion2b_s34b_b79k"."""

    def __init__(self, name: str, device: str) -> None:
        import open_clip  # type: ignore[import-untyped]

        super().__init__(device)
        architecture, _, weights = name.partition("/")
        if not weights:
            raise ValueError("expected open_clip:ARCHITECTURE/WEIGHTS, such as open_clip:ViT-B-32/laion2b_s34b_b79k")
        model, _, self.prepare = open_clip.create_model_and_transforms(architecture, pretrained=weights)
        self.model: Any = model.to(self.device).eval()
        self.tokenize = open_clip.get_tokenizer(architecture)

    def _encode(self, pictures: Sequence[PILImage.Image], texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = torch.stack([self.prepare(picture) for picture in pictures]).to(self.device)
        return self.model.encode_image(pixels), self.model.encode_text(self.tokenize(list(texts)).to(self.device))


def _pooled(found: Any) -> torch.Tensor:
    return found if isinstance(found, torch.Tensor) else found.pooler_output


@cache
def load_clip(name: str, device: str) -> Clip:
    """The model `name`, loaded once in a process: a folder or a name of the Hub, or "open_clip:ARCHITECTURE/WEIGHTS".

    `device` is a device of torch, or "auto": the GPU where there is one. Raises ConfigError where it does not load,
    or ModuleNotFoundError where open_clip is asked for and not installed.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if name.startswith(OPEN_CLIP):
            return _OpenClip(name.removeprefix(OPEN_CLIP), device)
        return _Transformers(name, device)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # whatever a loader raises for what is no model, no network, no such device
        raise ConfigError(f"clip_score.model: {name!r} can not be loaded on {device} ({error})") from error
