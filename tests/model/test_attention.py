"""Attention implementations: the same numbers from each that is here, and a clear word about each that is not."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from qwenvl.model import QwenVLForConditionalGeneration
from tests.model.helpers import ids_with_pictures

Make = Callable[..., QwenVLForConditionalGeneration]
SOURCES = Path(__file__).parents[2] / "src" / "qwenvl" / "model"


@pytest.fixture
def uncompiled() -> Iterator[None]:
    """Flex attention as torch computes it without a compiler: slow, but the same masks and numbers."""
    with torch.compiler.set_stance("force_eager"):
        yield


def test_sdpa_is_the_default(make: Make, tmp_path: Path) -> None:
    make().save_pretrained(tmp_path)
    model = QwenVLForConditionalGeneration.from_pretrained(tmp_path)
    parts = (model, model.model.vision_tower, model.model.adapter, model.model.language_model)
    assert {part.config._attn_implementation for part in parts} == {"sdpa"}


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("long", [0, 130])
def test_flex_attention(make: Make, uncompiled: None, long: int) -> None:
    rows = [ids_with_pictures(3, "img", 4, 5, *[6] * long), [7, 8, 9, 3]]
    length = max(map(len, rows))
    batch = {
        "input_ids": torch.tensor([[0] * (length - len(row)) + row for row in rows]),
        "attention_mask": torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows]),
        "pixel_values": torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)),
    }
    model, flex = make(), make()
    flex.set_attn_implementation("flex_attention")
    parts = (flex.model.vision_tower, flex.model.adapter, flex.model.language_model)
    assert {part.config._attn_implementation for part in parts} == {"flex_attention"}
    with torch.no_grad():
        seen = batch["attention_mask"].bool()
        assert torch.allclose(flex(**batch).logits[seen], model(**batch).logits[seen], atol=1e-4)
    greedy = {"max_new_tokens": 5, "do_sample": False}
    assert torch.equal(flex.generate(**batch, **greedy), model.generate(**batch, **greedy))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@torch.no_grad()
def test_flex_attention_takes_the_masks_of_packs(make: Make, uncompiled: None) -> None:
    model, ids = make(), torch.randint(0, 70, (2, 9))
    block = torch.block_diag(torch.ones(5, 5).tril(), torch.ones(4, 4).tril()).bool().expand(2, 1, 9, 9)
    wanted = model(ids, attention_mask=block).logits
    model.set_attn_implementation("flex_attention")
    assert torch.allclose(model(ids, attention_mask=block).logits, wanted, atol=1e-4)


@pytest.mark.slow
@torch.no_grad()
def test_flex_attention_compiled(make: Make) -> None:
    model, ids, pixels = make(), torch.tensor([ids_with_pictures(3, "img", 4, 5)]), torch.randn(1, 3, 32, 32)
    wanted = model(ids, pixel_values=pixels).logits
    model.set_attn_implementation("flex_attention")
    assert torch.allclose(model(ids, pixel_values=pixels).logits, wanted, atol=1e-4)


@pytest.mark.skipif(importlib.util.find_spec("flash_attn") is not None, reason="flash-attn is installed")
def test_flash_attention_that_is_not_installed(make: Make, tmp_path: Path) -> None:
    model = make()
    with pytest.raises(ImportError, match=r"FlashAttention2.*doesn't seem to be installed"):
        model.set_attn_implementation("flash_attention_2")
    model.save_pretrained(tmp_path)
    with pytest.raises(ImportError, match="FlashAttention2"):
        QwenVLForConditionalGeneration.from_pretrained(tmp_path, attn_implementation="flash_attention_2")
    with pytest.raises(ValueError, match=r'"nonsense"` is not supported.*sdpa'):
        model.set_attn_implementation("nonsense")


@torch.no_grad()
def test_flash_attention_gets_what_it_can_take(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for the real one, with its contract: a mask of (rows, length) where there is padding, else none."""
    masks: list[tuple[bool, torch.Size | None]] = []

    def flash(module, query, key, value, mask, dropout=0.0, scaling=None, **kwargs):  # type: ignore[no-untyped-def]
        causal = module.is_causal and query.shape[2] > 1
        masks.append((module.is_causal, None if mask is None else mask.shape))
        allowed = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool)
        allowed = (allowed.tril(key.shape[2] - query.shape[2]) if causal else allowed)[None, None]
        allowed = allowed if mask is None else allowed & mask[:, None, None].bool()
        weights = (query @ key.transpose(2, 3) * scaling).masked_fill(~allowed, -1e9).softmax(-1)
        return (weights @ value).transpose(1, 2), None

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "flash_attention_2", flash)
    model = make()
    ids = torch.tensor([ids_with_pictures(3, "img", 4), ids_with_pictures("img", 5, 6)])
    pixels, mask = torch.randn(2, 3, 32, 32), torch.ones_like(ids)
    wanted = model(ids, pixel_values=pixels, attention_mask=mask).logits
    mask[1, 0] = 0
    ids[1] = ids[1].roll(1)
    padded = model(ids, pixel_values=pixels, attention_mask=mask).logits[1, 1:]
    for config in (model.config, model.config.text_config, model.config.vision_config):
        config._attn_implementation_internal = "flash_attention_2"
    assert torch.allclose(model(ids, pixel_values=pixels, attention_mask=mask).logits[1, 1:], padded, atol=1e-5)
    assert set(masks) == {(False, None), (True, ids.shape)}
    masks.clear()
    ids[1] = ids[1].roll(-1)
    full = model(ids, pixel_values=pixels, attention_mask=torch.ones_like(ids)).logits
    assert torch.allclose(full, wanted, atol=1e-5)
    assert set(masks) == {(False, None), (True, None)}
    with pytest.raises(ValueError, match=r"flash_attention_2 takes no mask of four dimensions.*sdpa"):
        model(ids, pixel_values=pixels, attention_mask=torch.ones(2, 1, 8, 8, dtype=torch.bool))


def test_each_attention_asks_the_library_once(make: Make) -> None:
    """What engines that bring their own attention (vLLM) replace: one call each, with a scaling and a layer's index."""
    model = make()
    for path in ("vision.py", "adapter.py", "language.py"):
        text = (SOURCES / path).read_text(encoding="utf-8")
        assert text.count("ALL_ATTENTION_FUNCTIONS.get_interface(") == 1
        assert len(re.findall(r"scaling=self\.scaling", text)) == 1
    blocks = [*model.model.vision_tower.blocks, *model.model.language_model.layers]
    for attention in (*(block.attn for block in blocks), model.model.adapter):
        assert isinstance(attention.layer_idx, int) and isinstance(attention.scaling, float)
    assert [block.attn.layer_idx for block in model.model.language_model.layers] == [0, 1]
