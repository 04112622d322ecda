"""Qwen-VL: ViT, adapter and decoder joined; the loss at supervised positions; generation (paper, section 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GenerationConfig, GenerationMixin
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPast, BaseModelOutputWithPooling, ModelOutput
from transformers.utils.generic import can_return_tuple

from qwenvl.model.adapter import PositionAwareAdapter
from qwenvl.model.cache import with_room
from qwenvl.model.configuration import QwenVLConfig
from qwenvl.model.cross_entropy import cross_entropy, linear_cross_entropy
from qwenvl.model.parts import build_decoder, build_head, build_tower, embedding_name
from qwenvl.model.pretrained import CheckpointModel

IGNORE = -100
"""The label of a position that is not supervised."""


@dataclass
class QwenVLModelOutput(BaseModelOutputWithPast):  # type: ignore[misc]
    """What `QwenVLModel.forward` gives: also the pictures' embeddings (pictures, queries, hidden)."""

    image_hidden_states: Tensor | None = None


@dataclass
class QwenVLOutput(ModelOutput):  # type: ignore[misc]
    """What `QwenVLForConditionalGeneration.forward` gives.

    `loss`: scalar, with labels. `logits`: (B, kept, vocabulary), without labels. `token_losses`: (supervised,) float32,
    on request, in the row-major order of the positions whose next label is supervised. `image_hidden_states`:
    (pictures, queries, hidden).
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: Cache | None = None
    token_losses: Tensor | None = None
    image_hidden_states: Tensor | None = None


class QwenVLPreTrainedModel(CheckpointModel):
    """What the two model classes share."""

    config: QwenVLConfig
    config_class = QwenVLConfig
    base_model_prefix = "model"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _no_split_modules = ("VisionBlock", "TextBlock", "PositionAwareAdapter")
    _skip_keys_device_placement = ("past_key_values",)
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, PositionAwareAdapter):
            module.init_weights()


class QwenVLModel(QwenVLPreTrainedModel):
    """`vision_tower` → `adapter` → `language_model`, without the head."""

    def __init__(self, config: QwenVLConfig) -> None:
        super().__init__(config)
        self.vision_tower = build_tower(config)
        self.adapter = PositionAwareAdapter(config)
        self.language_model = build_decoder(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The token embeddings."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the token embeddings."""
        self.language_model.set_input_embeddings(value)

    def get_image_features(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """(N, 3, S, S) → `last_hidden_state` (N, patches, ViT width); `pooler_output` (N, queries, hidden)."""
        features = self.vision_tower(pixel_values).last_hidden_state
        return BaseModelOutputWithPooling(last_hidden_state=features, pooler_output=self.adapter(features))

    def _slots(self, input_ids: Tensor) -> Tensor:
        """Where the embeddings of pictures go: (B, L) bool, true strictly between `<img>` and `</img>`.

        The released tokenizer writes the picture's path between the two and fills up with slot ids, so the ids
        between them do not matter, only their number.
        """
        start, end = input_ids == self.config.image_start_id, input_ids == self.config.image_end_id
        return ((start.int() - end.int()).cumsum(-1) > 0) & ~start

    def _place_images(self, input_ids: Tensor, embeds: Tensor, features: Tensor, image_index: Tensor | None) -> Tensor:
        """Put the pictures' embeddings into their slots; raises ValueError when the numbers do not fit."""
        slots = self._slots(input_ids).flatten().nonzero()[:, 0]
        runs = int((input_ids == self.config.image_start_id).sum())
        queries = features.shape[1]
        shown = features.shape[0] if image_index is None else image_index.shape[0]
        if shown != runs:
            what = "pixel_values has" if image_index is None else "image_index names"
            raise ValueError(
                f"The text has {runs} <img>…</img> runs, but {what} {shown} pictures. Pass one picture per run, in "
                "reading order, or image_index to show a picture more than once."
            )
        if slots.shape[0] != runs * queries:
            raise ValueError(
                f"The text has {slots.shape[0]} image slots in {runs} <img>…</img> runs; each run needs {queries}. "
                "Render the text with slots_per_image equal to the model's num_queries, and do not cut inside a run."
            )
        if image_index is not None:
            features = features[image_index]
        width = embeds.shape[-1]
        rows = features.reshape(-1, width).to(embeds.dtype)
        return embeds.reshape(-1, width).index_copy(0, slots, rows).view_as(embeds)

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_index: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> QwenVLModelOutput:
        """As `QwenVLForConditionalGeneration.forward`, up to the last hidden states."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Pass either input_ids or inputs_embeds.")
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        features = None
        if pixel_values is not None:
            if input_ids is None:
                raise ValueError("pixel_values needs input_ids, which say where the pictures go.")
            features = self.get_image_features(pixel_values).pooler_output
            inputs_embeds = self._place_images(input_ids, inputs_embeds, features, image_index)
        elif input_ids is not None and input_ids.shape[1] > 1 and bool((self._slots(input_ids)).any()):
            raise ValueError("The text has <img>…</img> runs, but no pixel_values were passed.")
        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **kwargs,
        )
        return QwenVLModelOutput(
            last_hidden_state=outputs.last_hidden_state,
            past_key_values=outputs.past_key_values,
            image_hidden_states=features,
        )


class QwenVLForConditionalGeneration(QwenVLPreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """Qwen-VL with its language head: trains, scores and generates."""

    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: QwenVLConfig) -> None:
        super().__init__(config)
        self.model = QwenVLModel(config)
        # A foreign decoder's embeddings have another name.
        self._tied_weights_keys = {"lm_head.weight": f"model.{embedding_name(self.model)}.weight"}
        self.lm_head = build_head(config.text_config)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        """The language head."""
        return self.lm_head

    def set_output_embeddings(self, value: nn.Linear) -> None:
        """Replace the language head."""
        self.lm_head = value

    def get_image_features(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """See `QwenVLModel.get_image_features`."""
        return self.model.get_image_features(pixel_values, **kwargs)

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_index: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: Cache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        num_items_in_batch: int | Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        return_token_losses: bool = False,
        **kwargs: Any,
    ) -> QwenVLOutput:
        """One pass.

        `input_ids` (B, L). `pixel_values` (pictures, 3, S, S). `image_index` (runs,): which picture the k-th `<img>`
        run of the batch, in reading order, shows; None means one each, in order. `attention_mask` (B, S), 0 at padding,
        or (B, 1, L, S) bool or additive. `labels` (B, L), -100 where nothing is learnt; labels[i] is for input_ids[i].

        With labels, the logits are computed at supervised positions only, and the loss is the sum of their losses over
        `num_items_in_batch` (by default their number); 0 when there is none. Without, `logits` holds the last
        `logits_to_keep` positions (0: all). Raises ValueError when runs and pictures do not fit.
        """
        rows = targets = None
        if labels is not None:
            use_cache = False if use_cache is None else use_cache
            targets = functional.pad(labels[:, 1:], (0, 1), value=IGNORE).flatten()
            rows = (targets != IGNORE).nonzero()[:, 0]
            targets = targets[rows]
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            image_index=image_index,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            past_key_values=past_key_values,
            use_cache=use_cache,
            rows=rows,
            **kwargs,
        )
        hidden, cache, features = outputs.last_hidden_state, outputs.past_key_values, outputs.image_hidden_states
        if targets is None:
            kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
            kept = slice(None) if isinstance(logits_to_keep, int) and logits_to_keep == 0 else kept
            logits = self.lm_head(hidden[:, kept])
            return QwenVLOutput(logits=logits, past_key_values=cache, image_hidden_states=features)
        total, losses = self._losses(hidden, targets)
        loss = total / (max(targets.shape[0], 1) if num_items_in_batch is None else num_items_in_batch)
        each = losses.detach() if return_token_losses else None
        return QwenVLOutput(loss=loss, past_key_values=cache, token_losses=each, image_hidden_states=features)

    def _losses(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of the losses and each one, of hidden states (N, hidden) and the tokens (N,) that follow them."""
        if type(self.lm_head) is nn.Linear:
            return linear_cross_entropy(hidden, self.lm_head.weight, targets)
        # scaled, capped, quantised, or with low-rank additions: what it does to its weight is its own matter
        losses = cross_entropy(self.lm_head(hidden), targets)
        return losses.sum(), losses

    def prepare_inputs_for_generation(self, input_ids: Tensor, **kwargs: Any) -> dict[str, Any]:
        """Pictures enter at prefill only: afterwards the cache holds them."""
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(input_ids, **kwargs)
        cache = kwargs.get("past_key_values")
        # An assistant model's first step is not called the first; that its cache is empty says so.
        held = cache is not None and int(cache.get_seq_length()) > 0
        for name in ("pixel_values", "image_index"):
            inputs[name] = kwargs.get(name) if kwargs.get("is_first_iteration") or not held else None
        return inputs

    def _prepare_cache_for_generation(
        self, generation_config: GenerationConfig, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        """The caller's own cache as it is; the default one with room for the next tokens."""
        given = model_kwargs.get("past_key_values")
        super()._prepare_cache_for_generation(generation_config, model_kwargs, *args, **kwargs)
        made = model_kwargs.get("past_key_values")
        if given is None and isinstance(made, DynamicCache):
            with_room(made)

    def _expand_inputs_for_generation(
        self,
        expand_size: int = 1,
        is_encoder_decoder: bool = False,
        input_ids: Tensor | None = None,
        **model_kwargs: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Beams and several answers repeat rows, not pictures: each copy of a row names the same pictures again."""
        pixel_values, index = model_kwargs.pop("pixel_values", None), model_kwargs.pop("image_index", None)
        if pixel_values is not None and expand_size > 1 and input_ids is not None:
            runs = (input_ids == self.config.image_start_id).sum(1).tolist()
            index = torch.arange(sum(runs), device=pixel_values.device) if index is None else index
            index = torch.cat([row.repeat(expand_size) for row in index.split(runs)])
        input_ids, model_kwargs = super()._expand_inputs_for_generation(
            expand_size=expand_size, is_encoder_decoder=is_encoder_decoder, input_ids=input_ids, **model_kwargs
        )
        if pixel_values is not None:
            model_kwargs["pixel_values"] = pixel_values
        if index is not None:
            model_kwargs["image_index"] = index
        return input_ids, model_kwargs
