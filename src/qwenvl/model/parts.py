"""The places of vision tower and decoder: the native classes, or any of transformers' own that the configuration names.

A foreign part is wrapped so that it takes and gives what the native one does; nothing else in the project knows the
difference. `qwenvl.model.init` joins trained parts into a folder.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPast

from qwenvl.model.configuration import QwenVLConfig, QwenVLTextConfig, QwenVLVisionConfig
from qwenvl.model.language import QwenVLTextModel
from qwenvl.model.pixels import CLIP_MEAN, CLIP_STD
from qwenvl.model.vision import VisionTransformer

# What transformers asks a model's parts about themselves.
_TOLD = ("_no_split_modules", "_skip_keys_device_placement", "_keep_in_fp32_modules", "_keep_in_fp32_modules_strict")


def build_tower(config: QwenVLConfig) -> VisionTransformer | ForeignTower:
    """The vision tower that `config.vision_config` describes, with random weights."""
    if isinstance(config.vision_config, QwenVLVisionConfig):
        return VisionTransformer(config.vision_config)
    return ForeignTower(config.vision_config, config.tower_mean, config.tower_std)


def build_decoder(config: QwenVLConfig) -> QwenVLTextModel | ForeignDecoder:
    """The decoder without its head that `config.text_config` describes, with random weights."""
    if isinstance(config.text_config, QwenVLTextConfig):
        return QwenVLTextModel(config.text_config)
    return ForeignDecoder(config.text_config)


def build_head(text: PreTrainedConfig) -> nn.Linear:
    """The language head of a decoder, with random weights: linear, and where it says so scaled and capped."""
    cap, scale = getattr(text, "final_logit_softcapping", None), getattr(text, "logit_scale", None)
    scale = scale or 1 / (getattr(text, "logits_scaling", None) or 1)
    if cap is None and scale == 1:
        return nn.Linear(text.hidden_size, text.vocab_size, bias=False)
    return ScaledHead(text.hidden_size, text.vocab_size, scale, cap)


def plain(config: PreTrainedConfig) -> PreTrainedConfig:
    """A tower's configuration, changed in place: without what only its own training had."""
    # SigLIP's pooling head, whose output is not used; DINOv3's play with positions, which the boxes need as they are
    unwanted = {"vision_use_head": False} | dict.fromkeys(
        ("pos_embed_shift", "pos_embed_jitter", "pos_embed_rescale"), None
    )
    for name, value in unwanted.items():
        if hasattr(config, name):
            setattr(config, name, value)
    return config


def embedding_name(model: PreTrainedModel) -> str:
    """Where in `model` its token embeddings stand: every decoder has its own name for them."""
    embeddings = model.get_input_embeddings()
    return next(name for name, module in model.named_modules() if module is embeddings)


class _Foreign(nn.Module):
    """A model of transformers in the place of a native part."""

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__()
        self.model = AutoModel.from_config(config, trust_remote_code=False)
        for name in _TOLD:
            setattr(self, name, getattr(self.model, name, None))

    @property
    def config(self) -> PreTrainedConfig:
        """The part's own configuration."""
        return self.model.config


class ForeignTower(_Foreign):
    """A vision transformer of transformers (SigLIP, SigLIP 2, CLIP, DINOv2, DINOv3 …) with the native tower's manners.

    Class and register tokens stand before the patches and are left out. Pictures come normalised by CLIP's mean and
    deviation, whatever the tower, so that images are prepared in one way everywhere; `mean` and `std` are the tower's.
    """

    def __init__(
        self, config: PreTrainedConfig, mean: list[float] | None = None, std: list[float] | None = None
    ) -> None:
        super().__init__(plain(config))
        self.mean, self.std = mean or list(CLIP_MEAN), std or list(CLIP_STD)
        taken = inspect.signature(self.model.forward).parameters
        self._takes_patches = "spatial_shapes" in taken
        self._resizes = "interpolate_pos_encoding" in taken

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutput:
        """`pixel_values` (N, 3, S, S), normalised as CLIP's → `last_hidden_state` (N, (S / patch)², width), row by row.

        Raises ValueError when S is no multiple of the patch, or the tower does not give one vector per patch.
        """
        patch, side = int(self.config.patch_size), pixel_values.shape[-1]
        if pixel_values.shape[-2] != side or side % patch:
            height = pixel_values.shape[-2]
            raise ValueError(f"Pictures must be square with a side that is a multiple of {patch}; got {height}x{side}.")
        grid = side // patch
        pixels = self._normalised(pixel_values).to(self.model.dtype)
        if self._takes_patches:
            output = self.model(**cut(pixels, patch, grid))
        elif self._resizes and side != self.config.image_size:
            output = self.model(pixels, interpolate_pos_encoding=True)
        else:
            output = self.model(pixels)
        features = output.last_hidden_state
        if features.dim() != 3 or features.shape[1] < grid * grid:
            raise ValueError(
                f"The vision tower {self.config.model_type} gives features {tuple(features.shape[1:])} for "
                f"{grid}x{grid} patches; expected one vector per patch."
            )
        return BaseModelOutput(last_hidden_state=features[:, -grid * grid :])

    def _normalised(self, pixel_values: Tensor) -> Tensor:
        """From CLIP's mean and deviation to the tower's, in float32: an 8-bit colour step is lost in bfloat16."""
        if self.mean == list(CLIP_MEAN) and self.std == list(CLIP_STD):
            return pixel_values
        theirs, ours = (
            [torch.tensor(v, device=pixel_values.device)[:, None, None] for v in pair]
            for pair in ((self.mean, self.std), (CLIP_MEAN, CLIP_STD))
        )
        return (pixel_values.float() * ours[1] + (ours[0] - theirs[0])) / theirs[1]


def cut(pixels: Tensor, patch: int, grid: int) -> dict[str, Tensor]:
    """(N, 3, S, S) → what SigLIP 2's free-aspect towers take: patches (N, grid², patch · patch · 3), mask, shapes."""
    count = pixels.shape[0]
    pieces = pixels.view(count, 3, grid, patch, grid, patch).permute(0, 2, 4, 3, 5, 1)
    shapes = torch.full((count, 2), grid, dtype=torch.long, device=pixels.device)
    mask = torch.ones(count, grid * grid, dtype=torch.long, device=pixels.device)
    flat = pieces.reshape(count, grid * grid, -1)
    return {"pixel_values": flat, "pixel_attention_mask": mask, "spatial_shapes": shapes}


class ScaledHead(nn.Linear):
    """A head whose logits are multiplied (Granite, Cohere) and kept within ±`cap` by tanh (Gemma 2)."""

    def __init__(self, width: int, vocabulary: int, scale: float, cap: float | None) -> None:
        super().__init__(width, vocabulary, bias=False)
        self.scale, self.cap = scale, cap

    def forward(self, input: Tensor) -> Tensor:
        """(…, width) → logits (…, vocabulary)."""
        logits = super().forward(input) * self.scale
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap


class ForeignDecoder(_Foreign):
    """A causal decoder of transformers (Qwen3, Llama, SmolLM …), without its head, with the native one's manners."""

    def get_input_embeddings(self) -> nn.Module:
        """The token embeddings."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embeddings."""
        self.model.set_input_embeddings(value)

    def forward(
        self,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        rows: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """As `QwenVLTextModel.forward`; every position is computed, then `rows` are taken.

        Raises ValueError for a packed mask (B, 1, L, S) with attention that takes none (flash).
        """
        if attention_mask is not None and attention_mask.dim() == 4:
            attention_mask = self._packed(attention_mask, inputs_embeds)
        output = self.model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **kwargs,
        )
        hidden = output.last_hidden_state
        if rows is not None:
            hidden = hidden.flatten(0, 1).index_select(0, rows)
        return BaseModelOutputWithPast(
            last_hidden_state=hidden, past_key_values=getattr(output, "past_key_values", None)
        )

    @torch.no_grad()
    def isolates(self) -> bool:
        """Whether samples packed into one row can be kept from seeing each other: tried on two of four tokens each.

        A decoder whose state runs on through the row (convolutions, linear attention) can't. One that takes no mask
        (B, 1, L, S) at all raises an error of its own. In float32.
        """
        weight: Tensor = self.model.get_input_embeddings().weight
        embeds = weight[torch.arange(8) % weight.shape[0]][None]
        block = torch.ones(4, 4, dtype=torch.bool, device=weight.device).tril()
        positions = torch.arange(4, device=weight.device)[None]
        training = self.training
        self.eval()
        packed = self(
            inputs_embeds=embeds,
            attention_mask=torch.block_diag(block, block)[None, None],
            position_ids=positions.repeat(1, 2),
            use_cache=False,
        )
        alone = self(inputs_embeds=embeds[:, 4:], position_ids=positions, use_cache=False)
        self.train(training)
        found, expected = packed.last_hidden_state[:, 4:].float(), alone.last_hidden_state.float()
        return bool((found - expected).abs().max() <= 1e-4 * expected.abs().max())

    def _packed(self, mask: Tensor, like: Tensor | None) -> Tensor:
        """A packed mask in the form that the attention takes."""
        kind = str(self.config._attn_implementation)
        if "flash" in kind or "flex" in kind:
            raise ValueError(f"Packed rows need a mask of their own, which {kind} does not take: use sdpa or eager.")
        if kind == "sdpa" or mask.dtype != torch.bool or like is None:
            return mask
        zero = torch.zeros((), dtype=like.dtype, device=like.device)
        return torch.where(mask, zero, torch.finfo(like.dtype).min)
