"""The whole model: loss, masks, pictures in their slots, generation, saving and loading, and its errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, AutoModelForImageTextToText

from qwenvl.model import QwenVLForConditionalGeneration, QwenVLModel
from tests.model.helpers import END, QUERIES, SLOT, START, ids_with_pictures

Make = Callable[..., QwenVLForConditionalGeneration]
ATTENTIONS = ["sdpa", "matmul", "eager"]


def batch(*rows: list[int]) -> Tensor:
    return torch.tensor(list(rows))


def pictures(count: int, side: int = 32, seed: int = 5) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


# -- loss ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_loss_is_that_of_all_logits(make: Make, attention: str) -> None:
    model = make(attention=attention)
    ids = batch(ids_with_pictures(3, "img", 4, 5, 6, 7), [9, 8, 7, 6, 5, *ids_with_pictures("img")])
    labels = ids.clone()
    labels[0, :8] = labels[1, 4:] = -100
    pixels = pictures(2)
    logits = model(ids, pixel_values=pixels).logits
    assert logits.shape == (2, 11, 90)
    each = functional.cross_entropy(logits[:, :-1].reshape(-1, 90), labels[:, 1:].flatten(), reduction="none")
    supervised = labels[:, 1:].flatten() != -100
    out = model(ids, pixel_values=pixels, labels=labels, return_token_losses=True)
    assert out.logits is None
    assert torch.allclose(out.token_losses, each[supervised], atol=1e-5)
    assert out.loss.item() == pytest.approx(each[supervised].mean().item(), rel=1e-5)
    parts = model(ids, pixel_values=pixels, labels=labels, num_items_in_batch=40).loss
    assert parts.item() == pytest.approx(each[supervised].sum().item() / 40, rel=1e-5)


def test_nothing_supervised_gives_zero_and_no_gradient(make: Make) -> None:
    model = make().train()
    loss = model(batch([1, 2, 3]), labels=torch.full((1, 3), -100)).loss
    loss.backward()
    assert loss.item() == 0.0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_every_parameter_learns(make: Make) -> None:
    model = make(attention="matmul").train()
    ids = batch(ids_with_pictures(3, "img", 4, 5, 6))
    model(ids, pixel_values=pictures(1), labels=ids).loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("attention", ["sdpa", "matmul"])
def test_gradient_checkpointing_changes_nothing(make: Make, attention: str) -> None:
    model = make(attention=attention).train()
    ids, pixels = batch(ids_with_pictures(3, "img", 4, 5, 6)), pictures(1)

    def gradients() -> list[Tensor]:
        model.zero_grad()
        model(ids, pixel_values=pixels, labels=ids).loss.backward()
        return [p.grad.clone() for p in model.parameters()]

    plain = gradients()
    model.gradient_checkpointing_enable()
    assert model.model.vision_tower.blocks[0].gradient_checkpointing
    assert model.model.language_model.layers[0].gradient_checkpointing
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(plain, gradients(), strict=True))


def test_frozen_parts_get_no_gradient(make: Make) -> None:
    model = make().train()
    model.model.vision_tower.requires_grad_(False)
    model.model.language_model.requires_grad_(False)
    ids = batch(ids_with_pictures("img", 4, 5))
    model(ids, pixel_values=pictures(1), labels=ids).loss.backward()
    assert all(p.grad is None for p in model.model.vision_tower.parameters())
    assert all(p.grad is None for p in model.model.language_model.parameters())
    assert all(p.grad is not None for p in model.model.adapter.parameters())


# -- masks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ATTENTIONS)
@torch.no_grad()
def test_masks_of_every_form(make: Make, attention: str) -> None:
    model = make(attention=attention)
    ids = torch.randint(0, 70, (2, 9))
    causal = torch.ones(9, 9, dtype=torch.bool).tril()[None, None].expand(2, 1, 9, 9)
    wanted = model(ids).logits
    assert torch.allclose(model(ids, attention_mask=causal).logits, wanted, atol=1e-5)
    additive = torch.zeros(2, 1, 9, 9).masked_fill(~causal, torch.finfo(torch.float32).min)
    assert torch.allclose(model(ids, attention_mask=additive).logits, wanted, atol=1e-5)
    assert torch.allclose(model(ids, attention_mask=torch.ones(2, 9, dtype=torch.long)).logits, wanted, atol=1e-5)


@pytest.mark.parametrize("attention", ["sdpa", "matmul"])
@torch.no_grad()
def test_isolated_samples_of_a_pack_do_not_see_each_other(make: Make, attention: str) -> None:
    model = make(attention=attention)
    first, second = torch.randint(0, 70, (1, 5)), torch.randint(0, 70, (1, 4))
    block = torch.block_diag(torch.ones(5, 5).tril(), torch.ones(4, 4).tril()).bool()[None, None]
    positions = torch.cat([torch.arange(5), torch.arange(4)])[None]
    packed = model(torch.cat([first, second], 1), attention_mask=block, position_ids=positions).logits
    assert torch.allclose(packed[:, :5], model(first).logits, atol=1e-5)
    assert torch.allclose(packed[:, 5:], model(second).logits, atol=1e-5)


@pytest.mark.parametrize("kind", ["causal", "packed", "both ways"])
def test_long_rows_attend_alike_in_blocks_and_at_once(make: Make, kind: str) -> None:
    length = 150
    allowed = torch.ones(length, length, dtype=torch.bool).tril()
    if kind == "packed":
        allowed[70:, :70] = False
    if kind == "both ways":
        allowed[:20, :20] = True
    mask = None if kind == "causal" else allowed[None, None].expand(2, 1, length, length)
    ids = torch.randint(0, 70, (2, length), generator=torch.Generator().manual_seed(3))
    losses, grads = [], []
    for attention in ("sdpa", "matmul"):
        model = make(attention=attention).train()
        loss = model(ids, attention_mask=mask, labels=ids).loss
        loss.backward()
        losses.append(loss.item())
        grads.append(model.model.language_model.layers[0].attn.qkv_proj.weight.grad)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert torch.allclose(*grads, atol=1e-5)


# -- pictures ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_pictures_stand_in_their_slots(make: Make) -> None:
    model = make()
    ids = batch(ids_with_pictures(3, "img", 4, "img"), ids_with_pictures("img", 5, "img", 6))
    pixels = pictures(4)
    features = model.get_image_features(pixels).pooler_output
    embeds = model.model.language_model.embed_tokens(ids)
    embeds[0, 2:6], embeds[0, 9:13], embeds[1, 1:5], embeds[1, 8:12] = features
    assert torch.allclose(model(ids, pixel_values=pixels).logits, model(inputs_embeds=embeds).logits, atol=1e-5)
    # One picture shown twice is encoded once.
    index = torch.tensor([1, 0, 1, 1])
    wanted = model(ids, pixel_values=pixels[index]).logits
    assert torch.allclose(model(ids, pixel_values=pixels[:2], image_index=index).logits, wanted, atol=1e-5)
    # What the ids between <img> and </img> are does not matter: the released tokenizer writes a path there.
    other = ids.clone()
    other[0, 2:4] = torch.tensor([17, 18])
    assert torch.equal(model(other, pixel_values=pixels).logits, model(ids, pixel_values=pixels).logits)


@pytest.mark.parametrize(
    ("ids", "count", "index", "message"),
    [
        (ids_with_pictures(3, "img", 4), 2, None, "1 <img>…</img> runs, but pixel_values has 2"),
        (ids_with_pictures(3, "img", "img"), 1, None, "2 <img>…</img> runs, but pixel_values has 1"),
        (ids_with_pictures(3, "img", "img"), 2, [0], "image_index names 1"),
        (ids_with_pictures(3, "img"), 0, None, "no pixel_values"),
        ([START, SLOT, SLOT, END, 5], 1, None, f"each run needs {QUERIES}"),
        ([5, 6, 7], 1, None, "0 <img>…</img> runs"),
    ],
)
def test_pictures_and_text_must_fit(
    make: Make, ids: list[int], count: int, index: list[int] | None, message: str
) -> None:
    pixels = pictures(count) if count else None
    chosen = None if index is None else torch.tensor(index)
    with pytest.raises(ValueError, match=message):
        make()(batch(ids), pixel_values=pixels, image_index=chosen)


def test_ids_or_embeddings(make: Make) -> None:
    model = make()
    with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
        model()
    with pytest.raises(ValueError, match="pixel_values needs input_ids"):
        model(inputs_embeds=torch.zeros(1, 2, 16), pixel_values=pictures(1))


# -- generation ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def argmax_loop(model: QwenVLForConditionalGeneration, ids: Tensor, pixels: Tensor | None, count: int) -> Tensor:
    for _ in range(count):
        logits = model(ids, pixel_values=pixels, use_cache=False).logits
        ids = torch.cat([ids, logits[:, -1:].argmax(-1)], 1)
    return ids


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_greedy_equals_a_loop_without_cache(make: Make, attention: str) -> None:
    model = make(attention=attention)
    ids, pixels = batch(ids_with_pictures(3, "img", 4, 5), ids_with_pictures("img", 9, 8, 7)), pictures(2)
    got = model.generate(ids, pixel_values=pixels, max_new_tokens=10, do_sample=False)
    assert torch.equal(got, argmax_loop(model, ids, pixels, 10))
    assert len(set(got[0, -10:].tolist())) > 1


@pytest.mark.parametrize("attention", ["sdpa", "matmul"])
@pytest.mark.parametrize("long", [0, 90, 200])
def test_a_left_padded_batch_answers_as_each_alone(make: Make, attention: str, long: int) -> None:
    # With `long`, one row lies past the training length of 64 (its own NTK factor and log-n positions), one does not.
    model = make(attention=attention)
    filler = torch.randint(0, 70, (long,), generator=torch.Generator().manual_seed(1)).tolist()
    rows = [ids_with_pictures(3, "img", 4, 5, *filler), [7, 6, 5], ids_with_pictures("img", 8, "img", 9)]
    pixels, shown = pictures(2), [[0], [], [1, 0]]
    length = max(map(len, rows))
    ids = batch(*([0] * (length - len(row)) + row for row in rows))
    mask = batch(*([0] * (length - len(row)) + [1] * len(row) for row in rows))
    got = model.generate(
        ids,
        attention_mask=mask,
        pixel_values=pixels,
        image_index=torch.tensor([0, 1, 0]),
        max_new_tokens=8,
        do_sample=False,
    )
    for row, index, answer in zip(rows, shown, got, strict=True):
        alone = {"pixel_values": pixels[index]} if index else {}
        single = model.generate(batch(row), max_new_tokens=8, do_sample=False, **alone)
        assert single[0, -8:].tolist() == answer[-8:].tolist()


def test_beams_and_several_answers_keep_their_pictures(make: Make) -> None:
    model = make()
    rows = [ids_with_pictures(3, "img", 4, "img", 1), ids_with_pictures("img", 9, "img", 8, 2)]
    pixels = pictures(4)
    options = {"max_new_tokens": 6, "num_beams": 3, "num_return_sequences": 2, "do_sample": False}
    together = model.generate(batch(*rows), pixel_values=pixels, **options)
    for k, row in enumerate(rows):
        single = model.generate(batch(row), pixel_values=pixels[2 * k : 2 * k + 2], **options)
        assert torch.equal(single, together[2 * k : 2 * k + 2])


def test_static_cache_and_sampling(make: Make) -> None:
    model = make()
    ids, pixels = batch(ids_with_pictures(3, "img", 4, 5)), pictures(1)
    greedy = model.generate(ids, pixel_values=pixels, max_new_tokens=6, do_sample=False)
    static = model.generate(
        ids, pixel_values=pixels, max_new_tokens=6, do_sample=False, cache_implementation="static", disable_compile=True
    )
    assert torch.equal(greedy, static)
    sampled = model.generate(ids, pixel_values=pixels, max_new_tokens=6, do_sample=True, num_return_sequences=3)
    assert sampled.shape == (3, ids.shape[1] + 6)


# -- saving and loading --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tie", [False, True])
def test_save_and_load(make: Make, tmp_path: Path, tie: bool) -> None:
    model = make(tie_word_embeddings=tie)
    model.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.bin"))
    again, info = QwenVLForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert (again.lm_head.weight is again.model.language_model.embed_tokens.weight) == tie
    ids, pixels = batch(ids_with_pictures(3, "img", 4)), pictures(1)
    with torch.no_grad():
        assert torch.equal(again.eval()(ids, pixel_values=pixels).logits, model(ids, pixel_values=pixels).logits)
    auto = AutoModelForImageTextToText.from_pretrained(tmp_path, attn_implementation="matmul", dtype=torch.bfloat16)
    assert isinstance(auto, QwenVLForConditionalGeneration)
    assert auto.config._attn_implementation == auto.model.vision_tower.config._attn_implementation == "matmul"
    with torch.no_grad():
        assert auto(ids, pixel_values=pixels).logits.dtype == torch.bfloat16
    bare = AutoModel.from_pretrained(tmp_path)
    assert isinstance(bare, QwenVLModel)
    assert torch.equal(bare.adapter.query, model.model.adapter.query)


def test_a_missing_part_starts_as_a_new_model_would(make: Make, tmp_path: Path) -> None:
    model = make()
    kept = {name: t for name, t in model.state_dict().items() if not name.startswith("model.adapter")}
    model.save_pretrained(tmp_path, state_dict=kept)
    again = QwenVLForConditionalGeneration.from_pretrained(tmp_path)
    assert torch.equal(again.model.adapter.positions, model.model.adapter.positions)
    assert torch.equal(again.model.vision_tower.position_embedding, model.model.vision_tower.position_embedding)
    assert 0.3 < again.model.adapter.query.detach().std() < 0.5


def test_outputs_as_a_tuple(make: Make) -> None:
    loss, *_ = make()(batch([1, 2, 3]), labels=batch([1, 2, 3]), return_dict=False)
    assert loss.dim() == 0
