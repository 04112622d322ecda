"""Configurations of the model (paper, section 2): vision tower, adapter and decoder, from nano to 9.6B."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from transformers import CONFIG_MAPPING, PreTrainedConfig

from qwenvl.model.convert.official_config import is_released, native_config


class QwenVLVisionConfig(PreTrainedConfig):  # type: ignore[misc]
    """The vision tower: a ViT without class token or pooling (the paper starts from OpenCLIP's ViT-bigG/14).

    `image_size` and `patch_size` are in pixels and say what pictures are resized to; the tower itself takes any square
    whose side is a multiple of the patch. `position_grid` is the side of the learned positional table, which is resized
    bicubically to the grid of patches. `mlp_width` is explicit: 4.9231 × 1664 is 8192 only after rounding.
    """

    model_type = "qwenvl_vision"
    base_config_key = "vision_config"
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "width",
        "num_hidden_layers": "layers",
        "num_attention_heads": "heads",
        "intermediate_size": "mlp_width",
    }

    image_size: int = 448
    patch_size: int = 14
    width: int = 1664
    layers: int = 48
    heads: int = 16
    mlp_width: int = 8192
    layer_norm_eps: float = 1e-6
    position_grid: int = 16
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        if self.image_size % self.patch_size:
            raise ValueError(
                f"vision_config: image_size {self.image_size} is no multiple of patch_size {self.patch_size}; "
                f"the nearest one is {round(self.image_size / self.patch_size) * self.patch_size}."
            )
        if self.width % self.heads:
            raise ValueError(f"vision_config: width {self.width} cannot be split into {self.heads} heads.")
        super().__post_init__(**kwargs)


class QwenVLTextConfig(PreTrainedConfig):  # type: ignore[misc]
    """The decoder, Qwen-7B: RMSNorm before, rotary positions, SwiGLU, bias on queries, keys and values only.

    `seq_length` is the length it was trained at. Past it, at inference only, `use_dynamic_ntk` enlarges the rotary base
    in steps and `use_logn_attn` scales the queries by log(position) / log(seq_length).
    """

    model_type = "qwenvl_text"
    base_config_key = "text_config"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]

    vocab_size: int = 151_936
    hidden_size: int = 4096
    intermediate_size: int = 11_008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
    seq_length: int = 2048
    max_position_embeddings: int = 8192
    use_dynamic_ntk: bool = True
    use_logn_attn: bool = True
    use_cache: bool = True
    tie_word_embeddings: bool = False
    attention_dropout: float = 0.0
    initializer_range: float = 0.02
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        heads = self.num_attention_heads
        if self.hidden_size % heads or (self.hidden_size // heads) % 2:
            raise ValueError(
                f"text_config: hidden_size {self.hidden_size} over {heads} heads must give an even whole number."
            )
        super().__post_init__(**kwargs)

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return int(self.hidden_size // self.num_attention_heads)

    @property
    def num_key_value_heads(self) -> int:
        """Every query head has its own key and value head."""
        return int(self.num_attention_heads)


class QwenVLConfig(PreTrainedConfig):  # type: ignore[misc]
    """The whole model: ViT → adapter of `num_queries` learned queries → decoder.

    `adapter_heads` 0 means heads of 128 numbers, as published. `adapter_init` "local" starts the adapter so that each
    query looks at its own place in the picture; "normal" is the published random start. The three image ids stand for
    `<img>`, `</img>` and the slots between them, which the picture's embeddings replace.

    `vision_config` and `text_config` may be of any vision tower and decoder of transformers, told by their
    `model_type` (`qwenvl.model.parts`). `tower_mean` and `tower_std` are then how that tower wants its pictures
    normalised, where that is not CLIP's way.
    """

    model_type = "qwenvl"
    sub_configs: ClassVar[dict[str, type[PreTrainedConfig]]] = {
        "vision_config": QwenVLVisionConfig,
        "text_config": QwenVLTextConfig,
    }

    # Given as a configuration, its fields, or None; a configuration once made, of the native classes by default.
    vision_config: Any = None
    text_config: Any = None
    num_queries: int = 256
    adapter_heads: int = 0
    adapter_init: Literal["normal", "local"] = "normal"
    adapter_norm_eps: float = 1e-6
    tower_mean: list[float] | None = None
    tower_std: list[float] | None = None
    image_start_id: int = 151_857
    image_end_id: int = 151_858
    image_slot_id: int = 151_859
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        for key, kind in self.sub_configs.items():
            value = getattr(self, key)
            if value is None or isinstance(value, dict):
                setattr(self, key, _sub_config(key, value or {}, kind))
        hidden = self.text_config.hidden_size
        if not self.adapter_heads:
            # Widths of other decoders may not split into heads of 128: then the next larger ones that fit.
            self.adapter_heads = next(n for n in range(max(hidden // 128, 1), 0, -1) if hidden % n == 0)
        if not hasattr(self.text_config, "seq_length"):
            self.text_config.seq_length = getattr(self.text_config, "max_position_embeddings", None) or 2048
        if math.isqrt(self.num_queries) ** 2 != self.num_queries:
            raise ValueError(f"num_queries {self.num_queries} is not a square number; queries stand on a square grid.")
        if hidden % self.adapter_heads or hidden % 4:
            raise ValueError(
                f"The decoder's width {hidden} must be a multiple of adapter_heads ({self.adapter_heads}) "
                "and of 4 (sine and cosine for two axes)."
            )
        # One switch for the head, wherever it was set.
        tied = self.tie_word_embeddings or getattr(self.text_config, "tie_word_embeddings", False)
        self.tie_word_embeddings = self.text_config.tie_word_embeddings = tied
        super().__post_init__(**kwargs)

    @classmethod
    def get_config_dict(cls, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read a `config.json`, in the native or in the released form."""
        found, kwargs = super().get_config_dict(*args, **kwargs)
        return native_config(found) if is_released(found) else found, kwargs

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> QwenVLConfig:
        """From the fields of a `config.json`, in the native or in the released form."""
        return super().from_dict(native_config(config_dict) if is_released(config_dict) else config_dict, **kwargs)


def _sub_config(key: str, fields: dict[str, Any], native: type[PreTrainedConfig]) -> PreTrainedConfig:
    """The configuration that `fields` describe: `native`, unless `model_type` names another one of transformers."""
    name = fields.get("model_type", native.model_type)
    if name != native.model_type and name not in CONFIG_MAPPING:
        raise ValueError(
            f"config.json: {key}.model_type {name!r} is known neither here nor to the installed transformers; "
            "a newer transformers may know it."
        )
    kind = native if name == native.model_type else CONFIG_MAPPING[name]
    return kind(**{k: v for k, v in fields.items() if k != "model_type"})


class ReleasedConfig(QwenVLConfig):
    """Stands for `model_type: "qwen"` in `AutoConfig`; reading one gives a `QwenVLConfig`."""

    model_type = "qwen"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> QwenVLConfig:
        """The native configuration of a released one."""
        return QwenVLConfig.from_dict(config_dict, **kwargs)
