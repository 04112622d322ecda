"""The position-aware vision-language adapter: patches to a fixed number of decoder embeddings (paper, section 2.1)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import initialization
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from qwenvl.model.layers import matmul_attention
from qwenvl.model.vision import resize_positions

if TYPE_CHECKING:
    from qwenvl.model.configuration import QwenVLConfig


def sincos_positions(width: int, grid: int) -> Tensor:
    """2-D sine-cosine positions (grid², width), float32, row by row: the first half of the channels encodes the column,
    the second half the row; each half holds width/4 sines, then as many cosines, of frequencies 1 … 1/10000.
    """
    omega = 10_000.0 ** -(torch.arange(width // 4, dtype=torch.float64, device="cpu") / (width / 4))
    angles = torch.arange(grid, dtype=torch.float64, device="cpu")[:, None] * omega
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)
    column = axis[None, :, :].expand(grid, grid, -1)
    row = axis[:, None, :].expand(grid, grid, -1)
    return torch.cat([column, row], dim=-1).reshape(grid * grid, width).float()


class PositionAwareAdapter(nn.Module):
    """One cross-attention layer: learned queries read the patches.

    2-D positions are added to the queries and to the keys, each at its own grid, never to the values. The table is that
    of the queries' grid; the patches' positions are the same table resized, so equal places have equal positions.
    """

    def __init__(self, config: QwenVLConfig) -> None:
        super().__init__()
        self.config = config
        vision_width, width = config.vision_config.hidden_size, config.text_config.hidden_size
        self.heads = config.adapter_heads
        self.head_dim = width // self.heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = False
        self.layer_idx = 0
        self.query = nn.Parameter(torch.empty(config.num_queries, width))
        # As published: no projection when both widths agree.
        self.kv_proj = nn.Linear(vision_width, width, bias=False) if vision_width != width else nn.Identity()
        self.norm_q = nn.LayerNorm(width, eps=config.adapter_norm_eps)
        self.norm_kv = nn.LayerNorm(width, eps=config.adapter_norm_eps)
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.norm_post = nn.LayerNorm(width, eps=config.adapter_norm_eps)
        self.proj = nn.Linear(width, width, bias=False)
        self.register_buffer("positions", torch.empty(config.num_queries, width))
        self.positions: Tensor

    def init_weights(self) -> None:
        """Random start; called by the model's `_init_weights`, so that it leaves loaded weights alone."""
        width, std = self.query.shape[1], self.config.initializer_range
        initialization.copy_(self.positions, sincos_positions(width, math.isqrt(self.config.num_queries)))
        local = self.config.adapter_init == "local"
        # slots that begin about as long as words disturb the decoder less, so it does not learn to look away from them
        initialization.normal_(self.proj.weight, std=width**-0.5 * (0.3 if local else 1.0))
        if not local:
            initialization.normal_(self.query, std=std)
            return
        initialization.zeros_(self.query)
        self._init_local()

    def _init_local(self) -> None:
        """Each head starts by comparing places: see `QwenVLConfig.adapter_init`.

        Every head reads the same few channels of highest frequency, sines and cosines of both axes, whose inner product
        is a peak at equal places; the norm of the patches leaves these channels free of content at the start. The
        factor makes a place one query further away about e³ times weaker.
        """
        width, quarter = self.query.shape[1], self.query.shape[1] // 4
        take = min(self.head_dim // 4, quarter)
        picked = torch.cat([torch.arange(take) + quarter * part for part in range(4)])
        omega = 10_000.0 ** -(torch.arange(take, dtype=torch.float64) / quarter)
        fall = float((1 - omega.cos()).sum())
        factor = math.sqrt(3.0 / (fall * self.scaling))
        weight = torch.zeros(width, width)
        for head in range(self.heads):
            weight[head * self.head_dim + torch.arange(4 * take), picked] = factor
        initialization.copy_(self.q_proj.weight, weight)
        initialization.copy_(self.k_proj.weight, weight)
        free = torch.ones(width)
        free[picked] = 0.0
        initialization.copy_(self.norm_kv.weight, free)

    def forward(self, features: Tensor, **kwargs: Any) -> Tensor:
        """Patch features (N, patches, vision width), patches on a square grid → (N, num_queries, decoder width)."""
        count, patches, _ = features.shape
        grid = math.isqrt(patches)
        if grid * grid != patches:
            raise ValueError(f"The adapter needs a square grid of patches; got {patches}.")
        content = self.norm_kv(self.kv_proj(features))
        # The queries are the same for every picture: computed once for the batch.
        query = self.q_proj(self.norm_q(self.query) + self.positions)
        # The layers are called, not their weights read: engines put layers with other weights in their place.
        key = self.k_proj(content + resize_positions(self.positions, grid))
        value = self.v_proj(content)

        def by_head(x: Tensor) -> Tensor:
            return x.view(x.shape[0], x.shape[1], self.heads, self.head_dim).transpose(1, 2)

        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, matmul_attention)
        queries = by_head(query[None]).expand(count, -1, -1, -1)
        mixed, _ = attend(
            self, queries, by_head(key), by_head(value), None, dropout=0.0, scaling=self.scaling, **kwargs
        )
        return self._after(mixed.reshape(count, query.shape[0], -1))

    def each_alone(self, features: Tensor) -> Tensor:
        """What a query gives that looks at one patch alone: (N, patches, vision width) → (N, patches, width)."""
        return self._after(self.v_proj(self.norm_kv(self.kv_proj(features))))

    def _after(self, mixed: Tensor) -> Tensor:
        return self.proj(self.norm_post(self.out_proj(mixed)))
