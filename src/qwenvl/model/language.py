"""The decoder, Qwen-7B's architecture: Qwen2's block, with stepped NTK and log-n attention past the training length."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel

from qwenvl.model.cache import with_room
from qwenvl.model.configuration import QwenVLTextConfig
from qwenvl.model.kernels import split_heads, swiglu, turn_tables
from qwenvl.model.layers import RMSNorm, init_residual_linear, matmul_attention, residual_linear


class TextAttention(nn.Module):
    """Causal self-attention; q, k and v come from one linear layer, in that order (the released `c_attn`)."""

    def __init__(self, config: QwenVLTextConfig, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.heads = config.num_attention_heads
        self.head_dim = config.head_dim
        self.scaling = self.head_dim**-0.5
        self.num_key_value_groups = 1
        self.is_causal = True
        self.attention_dropout = config.attention_dropout
        self.qkv_proj = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        out = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.o_proj = residual_linear(out, config.num_hidden_layers)

    def forward(
        self,
        hidden: Tensor,
        rotary: tuple[Tensor, Tensor, Tensor | None],
        attention_mask: Tensor | None,
        past_key_values: Cache | None = None,
        rows: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """(B, L, hidden) → the same, or (rows, hidden); `rotary` is `QwenVLTextModel.rotary`'s."""
        batch, length, _ = hidden.shape
        cos, sin, query_scale = rotary
        query, key, value = split_heads(self.qkv_proj(hidden), self.heads, cos, sin)
        if query_scale is not None:
            query = query * query_scale
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, matmul_attention)
        dropout = self.attention_dropout if self.training else 0.0
        mixed, _ = attend(self, query, key, value, attention_mask, dropout=dropout, scaling=self.scaling, **kwargs)
        # not hidden's width where the heads are shared with another process
        mixed = mixed.reshape(batch, length, -1)
        return self.o_proj(mixed if rows is None else mixed.flatten(0, 1).index_select(0, rows))


class TextBlock(GradientCheckpointingLayer):  # type: ignore[misc]
    """One decoder layer: attention and SwiGLU, each after an RMSNorm."""

    def __init__(self, config: QwenVLTextConfig, layer_idx: int) -> None:
        super().__init__()
        self.norm1 = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attn = TextAttention(config, layer_idx)
        self.norm2 = RMSNorm(config.hidden_size, config.rms_norm_eps)
        # Gate and up in one product (the released `w2` over `w1`).
        self.gate_up_proj = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        down = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.down_proj = residual_linear(down, config.num_hidden_layers)

    def forward(
        self,
        hidden: Tensor,
        rotary: tuple[Tensor, Tensor, Tensor | None],
        attention_mask: Tensor | None,
        past_key_values: Cache | None = None,
        rows: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """(B, L, hidden) → the same, or with `rows`, indices into B · L, (rows, hidden): the rest is not computed."""
        mixed = self.attn(self.norm1(hidden), rotary, attention_mask, past_key_values, rows, **kwargs)
        hidden = mixed + (hidden if rows is None else hidden.reshape(-1, hidden.shape[-1]).index_select(0, rows))
        return hidden + self.down_proj(swiglu(self.gate_up_proj(self.norm2(hidden))))


class QwenVLTextModel(PreTrainedModel):  # type: ignore[misc]
    """The decoder without its head."""

    config: QwenVLTextConfig
    config_class = QwenVLTextConfig
    base_model_prefix = "language_model"
    supports_gradient_checkpointing = True
    _no_split_modules = ("TextBlock",)
    _skip_keys_device_placement = ("past_key_values",)
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: QwenVLTextConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(TextBlock(config, index) for index in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.gradient_checkpointing = False
        self._causal: Tensor | None = None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        init_residual_linear(module, self.config.initializer_range)

    def get_input_embeddings(self) -> nn.Embedding:
        """The token embeddings."""
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the token embeddings."""
        self.embed_tokens = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        rows: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """`input_ids` (B, L) or `inputs_embeds` (B, L, hidden) → `last_hidden_state` (B, L, hidden), normalised.

        `attention_mask`: None (causal), (B, S) with 0 at padding, or (B, 1, L, S) bool (True may attend) or additive
        float, which is used as it is. `position_ids` (B, L) or (1, L); by default they count from the row's start.
        `rows`, indices into B · L: only these positions are wanted, so the last layer computes no others, and
        `last_hidden_state` is (rows, hidden).
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Pass either input_ids or inputs_embeds.")
        hidden = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        use_cache = self.config.use_cache if use_cache is None else use_cache
        if self.training and self.gradient_checkpointing:
            use_cache = False
        if use_cache and past_key_values is None:
            past_key_values = with_room(DynamicCache(config=self.config))
        mask = self._mask(hidden, attention_mask, past_key_values)
        if past_key_values is None and self._is_lower_triangular(attention_mask, hidden):
            kwargs["lower_triangular"] = True
        if position_ids is None:
            seen = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = (torch.arange(hidden.shape[1], device=hidden.device) + seen)[None]
        rotary = self.rotary(position_ids, attention_mask, past_key_values, hidden)
        last = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            wanted = rows if index == last else None
            hidden = layer(hidden, rotary, mask, past_key_values=past_key_values, rows=wanted, **kwargs)
        return BaseModelOutputWithPast(
            last_hidden_state=self.norm(hidden), past_key_values=past_key_values if use_cache else None
        )

    def _is_lower_triangular(self, attention_mask: Tensor | None, hidden: Tensor) -> bool:
        """Whether plain attention on a CPU may leave out the columns after a row (on a GPU, asking costs a wait)."""
        if self.config._attn_implementation not in ("eager", "matmul") or hidden.device.type != "cpu":
            return False
        if attention_mask is None or attention_mask.dim() != 4:
            return True
        return attention_mask.dtype == torch.bool and not bool(attention_mask.triu(1).any())

    def _mask(self, hidden: Tensor, attention_mask: Tensor | None, cache: Cache | None) -> Tensor | None:
        """The mask in the form that the attention function takes, made once for all layers."""
        kind = self.config._attn_implementation
        plain = kind in ("eager", "matmul")
        if attention_mask is not None and attention_mask.dim() == 4:
            if "flash" in kind:
                raise ValueError(
                    f"{kind} takes no mask of four dimensions, which packed or isolated rows need. Pass one of (rows, "
                    'length) or none, or choose another with model.set_attn_implementation("sdpa").'
                )
            # These add what they are given to the scores.
            if not (plain or kind == "flex_attention") or attention_mask.dtype != torch.bool:
                return attention_mask
            zero = torch.zeros((), dtype=hidden.dtype, device=hidden.device)
            return torch.where(attention_mask, zero, torch.finfo(hidden.dtype).min)
        if plain and attention_mask is None and cache is None:
            length = hidden.shape[1]
            held = self._causal
            if held is None or held.shape[0] < length or held.dtype != hidden.dtype or held.device != hidden.device:
                full = torch.full((length, length), torch.finfo(hidden.dtype).min, device=hidden.device)
                self._causal = held = full.to(hidden.dtype).triu(1)
            return held[None, None, :length, :length]
        return create_causal_mask(
            config=self.config, inputs_embeds=hidden, attention_mask=attention_mask, past_key_values=cache
        )

    def rotary(
        self, position_ids: Tensor, attention_mask: Tensor | None, cache: Cache | None, like: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """cos and sin (B or 1, 1, L, head_dim / 2) of the positions, and the log-n factor of the queries or None.

        Past `seq_length`, at inference: the rotary base grows by (2^⌈log2(n / seq_length) + 1⌉ − 1)^(d / (d − 2)), n
        the length of the prompt, chosen at prefill and kept with the cache while decoding; and a query at position p
        (from 1) is multiplied by max(1, log p / log seq_length).
        """
        config, dim = self.config, self.config.head_dim
        exponent = torch.arange(0, dim, 2, device=like.device, dtype=torch.float32) / dim
        base: float | Tensor = config.rope_theta
        scale = None
        # vLLM lays the tokens of many prompts in one row and compiles it once: no length of it may decide anything.
        packed = config._attn_implementation == "vllm"
        if not self.training:
            ntk = config.use_dynamic_ntk and not packed
            alpha = self._ntk_alpha(position_ids, attention_mask, cache) if ntk else None
            if alpha is not None:
                base = (config.rope_theta * alpha.to(like.device) ** (dim / (dim - 2)))[:, None]
            if config.use_logn_attn and (packed or self._may_pass(position_ids.shape[1], cache)):
                factor = (position_ids + 1).float().log() / math.log(config.seq_length)
                scale = factor.clamp(min=1.0)[:, None, :, None].to(like.dtype)
        frequency = base**-exponent
        angles = position_ids[:, :, None].float() * (frequency if frequency.dim() == 1 else frequency[:, None, :])
        cos, sin = turn_tables(angles[:, None])
        return cos.to(like.dtype), sin.to(like.dtype), scale

    def _may_pass(self, length: int, cache: Cache | None) -> bool:
        """Whether a position of this call can lie past `seq_length`."""
        # Without a cache of ours the positions alone say (an engine that keeps its own cache passes them).
        if cache is None:
            return True
        seen = cache.get_seq_length()
        return isinstance(seen, Tensor) or seen + length > self.config.seq_length

    def _ntk_alpha(self, position_ids: Tensor, attention_mask: Tensor | None, cache: Cache | None) -> Tensor | None:
        """The NTK factor of each row (B or 1), or None while all of them are 1."""
        length = position_ids.shape[1]
        if cache is not None and self._is_decoding(length, cache):
            return getattr(cache, "qwenvl_ntk_alpha", None)
        alpha = None
        if length > self.config.seq_length:
            padded = attention_mask is not None and attention_mask.dim() == 2
            # A mask of four dimensions (a static cache's) does not say how long a row is, its positions do.
            true = attention_mask.sum(-1) if padded else position_ids.amax(-1) + 1  # type: ignore[union-attr]
            alpha = (2.0 ** torch.ceil(torch.log2(true / self.config.seq_length) + 1) - 1).clamp(min=1.0)
        if cache is not None:
            cache.qwenvl_ntk_alpha = alpha
        return alpha

    @staticmethod
    def _is_decoding(length: int, cache: Cache) -> bool:
        """Whether the prompt came before this call."""
        seen = cache.get_seq_length()
        # A static cache counts in a tensor, which compiled steps of one token must not wait for.
        return length == 1 if isinstance(seen, Tensor) and length == 1 else int(seen) > 0
