"""The vision tower: pictures to one feature vector per patch (paper, section 2.1, "Visual Encoder")."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel

from qwenvl.model.configuration import QwenVLVisionConfig
from qwenvl.model.kernels import split_heads
from qwenvl.model.layers import init_residual_linear, matmul_attention, residual_linear


@functools.lru_cache(maxsize=32)
def _resize_matrix(source: int, target: int) -> Tensor:
    """The bicubic resize of one axis as a (target, source) matrix."""
    with torch.device("cpu"), torch.no_grad():
        one_axis = torch.eye(source).view(1, source, source, 1)
        resized = functional.interpolate(one_axis, size=(target, 1), mode="bicubic", align_corners=False)
        return resized[0, :, :, 0].T.contiguous()


def resize_positions(table: Tensor, grid: int) -> Tensor:
    """Resize a square table of positions (side², width) bicubically to (grid², width), differentiably.

    Bicubic interpolation is linear and works axis by axis, so it is two small matrix products with a matrix that
    depends on the two sides alone: the same numbers as `interpolate`, and nothing to invalidate when the table learns.
    """
    side = round(table.shape[0] ** 0.5)
    if side == grid:
        return table
    matrix = _resize_matrix(side, grid).to(table.device, torch.float32)
    square = table.float().view(side, side, -1)
    return torch.einsum("yi,xj,ijw->yxw", matrix, matrix, square).reshape(grid * grid, -1).to(table.dtype)


class VisionAttention(nn.Module):
    """Self-attention of every patch to every patch; q, k and v from one linear layer, in that order."""

    def __init__(self, config: QwenVLVisionConfig, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.heads = config.heads
        self.head_dim = config.width // config.heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = False
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.proj = residual_linear(nn.Linear(config.width, config.width), config.layers)

    def forward(self, hidden: Tensor, **kwargs: Any) -> Tensor:
        """(N, patches, width) → the same shape."""
        count, patches, width = hidden.shape
        query, key, value = split_heads(self.qkv(hidden), self.heads)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, matmul_attention)
        mixed, _ = attend(self, query, key, value, None, dropout=0.0, scaling=self.scaling, **kwargs)
        return self.proj(mixed.reshape(count, patches, width))


class VisionBlock(GradientCheckpointingLayer):  # type: ignore[misc]
    """One pre-norm transformer block."""

    def __init__(self, config: QwenVLVisionConfig, layer_idx: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.attn = VisionAttention(config, layer_idx)
        self.norm2 = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.fc1 = nn.Linear(config.width, config.mlp_width)
        self.fc2 = residual_linear(nn.Linear(config.mlp_width, config.width), config.layers)

    def forward(self, hidden: Tensor, **kwargs: Any) -> Tensor:
        """(N, patches, width) → the same shape."""
        hidden = hidden + self.attn(self.norm1(hidden), **kwargs)
        return hidden + self.fc2(functional.gelu(self.fc1(self.norm2(hidden))))


class VisionTransformer(PreTrainedModel):  # type: ignore[misc]
    """The ViT: patches by a convolution without bias, learned positions, norm, blocks; no class token, no pooling."""

    config: QwenVLVisionConfig
    config_class = QwenVLVisionConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    base_model_prefix = "vision_tower"
    supports_gradient_checkpointing = True
    _no_split_modules = ("VisionBlock",)
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: QwenVLVisionConfig) -> None:
        super().__init__(config)
        self.patch_embed = nn.Conv2d(3, config.width, config.patch_size, stride=config.patch_size, bias=False)
        self.position_embedding = nn.Parameter(torch.empty(config.position_grid**2, config.width))
        self.norm_pre = nn.LayerNorm(config.width, eps=config.layer_norm_eps)
        self.blocks = nn.ModuleList(VisionBlock(config, index) for index in range(config.layers))
        self.gradient_checkpointing = False
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, VisionTransformer):
            initialization.normal_(module.position_embedding, std=self.config.width**-0.5)
            return
        super()._init_weights(module)
        init_residual_linear(module, self.config.initializer_range)

    def get_input_embeddings(self) -> nn.Module:
        """The patch embedding."""
        return self.patch_embed

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutput:
        """`pixel_values` (N, 3, S, S), normalised → `last_hidden_state` (N, (S / patch)², width), row by row.

        Raises ValueError when S is no multiple of the patch.
        """
        count, channels, height, side = pixel_values.shape
        patch = self.config.patch_size
        if height != side or side % patch:
            raise ValueError(f"Pictures must be square with a side that is a multiple of {patch}; got {height}x{side}.")
        grid = side // patch
        # A convolution whose stride is its size is one matrix product over cut-out patches, which is faster.
        cut = pixel_values.to(self.dtype).view(count, channels, grid, patch, grid, patch).permute(0, 2, 4, 1, 3, 5)
        weight = self.patch_embed.weight.flatten(1)
        hidden = functional.linear(cut.reshape(count, grid * grid, -1), weight)
        hidden = self.norm_pre(hidden + resize_positions(self.position_embedding, grid))
        for block in self.blocks:
            hidden = block(hidden)
        return BaseModelOutput(last_hidden_state=hidden)
