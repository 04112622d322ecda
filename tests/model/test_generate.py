"""Every way to generate gives what the plain way gives: in batches, in beams, sampled, streamed, from any cache."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, StaticCache, TextIteratorStreamer

from qwenvl.model import QwenVLForConditionalGeneration
from tests.model.helpers import ids_with_pictures

Make = Callable[..., QwenVLForConditionalGeneration]
GREEDY = {"max_new_tokens": 8, "do_sample": False}


def pictures(count: int) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(5))


def words(count: int, seed: int = 1) -> list[int]:
    return torch.randint(0, 70, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


ROWS: list[tuple[list[int], list[int]]] = [
    (ids_with_pictures(3, "img", 4, 5), [0]),
    (words(17), []),
    (ids_with_pictures("img", 8, "img", 9, "img", 1), [1, 0, 2]),
    ([7], []),
]
"""Rows of different lengths, each with the pictures it shows."""


def padded(rows: list[tuple[list[int], list[int]]]) -> dict[str, Tensor]:
    """Rows as one left-padded batch; the padding holds ids that would change an answer that saw them."""
    length = max(len(ids) for ids, _ in rows)
    batch = {
        "input_ids": torch.tensor([words(length - len(ids), 9) + ids for ids, _ in rows]),
        "attention_mask": torch.tensor([[0] * (length - len(ids)) + [1] * len(ids) for ids, _ in rows]),
    }
    shown = [picture for _, row in rows for picture in row]
    if shown:
        batch |= {"pixel_values": pictures(3), "image_index": torch.tensor(shown)}
    return batch


def alone(model: QwenVLForConditionalGeneration, row: tuple[list[int], list[int]], **options: Any) -> list[list[int]]:
    """The new ids of one row without any padding."""
    ids, shown = row
    inputs = {"pixel_values": pictures(3)[shown]} if shown else {}
    return model.generate(torch.tensor([ids]), **inputs, **options)[:, len(ids) :].tolist()


def together(
    model: QwenVLForConditionalGeneration, rows: list[tuple[list[int], list[int]]], **options: Any
) -> list[list[int]]:
    """The new ids of rows in one left-padded batch."""
    batch = padded(rows)
    return model.generate(**batch, **options)[:, batch["input_ids"].shape[1] :].tolist()


# -- batches, beams, several answers -------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["sdpa", "matmul", "eager"])
@pytest.mark.parametrize("cache", [None, "static"])
def test_a_batch_answers_as_each_row_alone(make: Make, attention: str, cache: str | None) -> None:
    model = make(attention=attention)
    got = together(model, ROWS, cache_implementation=cache, disable_compile=True, **GREEDY)
    assert got == [alone(model, row, **GREEDY)[0] for row in ROWS]
    assert len({tuple(answer) for answer in got}) == len(ROWS)


@pytest.mark.parametrize("cache", [None, "static"])
def test_a_batch_of_long_and_short_rows(make: Make, cache: str | None) -> None:
    # The training length is 64: factors of 7, 3 and 1 in one batch, and rows that pass it while decoding.
    model = make()
    rows = [(ids_with_pictures("img", *words(200)), [1]), (words(70, 2), []), (words(62, 3), []), ROWS[0]]
    got = together(model, rows, cache_implementation=cache, disable_compile=True, **GREEDY)
    assert got == [alone(model, row, **GREEDY)[0] for row in rows]


@pytest.mark.parametrize("cache", [None, "static"])
def test_beams_in_a_batch_and_alone(make: Make, cache: str | None) -> None:
    model = make()
    options = {"max_new_tokens": 8, "num_beams": 3, "num_return_sequences": 2, "do_sample": False}
    rows = [ROWS[2], ROWS[0], ROWS[1]]
    got = together(model, rows, cache_implementation=cache, disable_compile=True, **options)
    assert got == [answer for row in rows for answer in alone(model, row, **options)]
    assert got[0] != got[1]


@torch.no_grad()
def test_beam_scores_are_those_of_the_answers(make: Make) -> None:
    model = make()
    ids, shown = ROWS[2]
    prompt, pixels = torch.tensor([ids]), pictures(3)[shown]
    out = model.generate(
        prompt,
        pixel_values=pixels,
        max_new_tokens=5,
        num_beams=4,
        num_return_sequences=4,
        do_sample=False,
        length_penalty=0.0,
        return_dict_in_generate=True,
        output_scores=True,
    )
    for answer, score in zip(out.sequences, out.sequences_scores, strict=True):
        logits = model(answer[None], pixel_values=pixels).logits[0, len(ids) - 1 : -1]
        wanted = logits.log_softmax(-1).gather(-1, answer[len(ids) :, None]).sum()
        assert score.item() == pytest.approx(wanted.item(), abs=1e-4)
    assert out.sequences_scores[0] > out.sequences_scores[-1]


def test_sampling_follows_the_seed_and_keeps_the_pictures(make: Make) -> None:
    model = make()
    options = {"max_new_tokens": 8, "do_sample": True, "top_k": 0, "num_return_sequences": 3}
    torch.manual_seed(3)
    first = alone(model, ROWS[2], **options)
    torch.manual_seed(3)
    assert alone(model, ROWS[2], **options) == first
    torch.manual_seed(4)
    assert alone(model, ROWS[2], **options) != first
    assert len({tuple(answer) for answer in first}) == 3
    # So cold that only the likeliest remains: each of the answers sees its own row's pictures.
    cold = together(model, ROWS, temperature=1e-4, **options)
    assert cold == [alone(model, row, **GREEDY)[0] for row in ROWS for _ in range(3)]


# -- streams, helpers, caches --------------------------------------------------------------------------------------


class Letters:
    """A tokenizer of one letter for each id, as much of one as a streamer asks for."""

    def decode(self, ids: list[int], **kwargs: object) -> str:
        return "".join(chr(0x4E00 + int(number)) for number in ids)


def test_a_stream_gives_the_same_text(make: Make) -> None:
    model = make()
    streamer = TextIteratorStreamer(Letters(), skip_prompt=True, timeout=60)
    batch = padded(ROWS[:1])
    thread = threading.Thread(target=lambda: model.generate(**batch, streamer=streamer, **GREEDY))
    thread.start()
    pieces = list(streamer)
    thread.join()
    assert len(pieces) > 2
    assert "".join(pieces) == Letters().decode(alone(model, ROWS[0], **GREEDY)[0])


@pytest.mark.parametrize("row", [ROWS[0], ROWS[2], (words(30) * 3, [])])
def test_guessed_tokens_change_nothing(make: Make, row: tuple[list[int], list[int]]) -> None:
    model = make()
    wanted = alone(model, row, **GREEDY)
    assert alone(model, row, prompt_lookup_num_tokens=3, **GREEDY) == wanted
    # An assistant that agrees, and one that does not, whose tokens are taken back from both caches.
    assert alone(model, row, assistant_model=make(), **GREEDY) == wanted
    assert alone(model, row, assistant_model=make(seed=1), **GREEDY) == wanted


@pytest.mark.parametrize("kind", ["dynamic", "static", "none"])
def test_any_cache(make: Make, kind: str) -> None:
    model = make()
    for row in ROWS:
        wanted = alone(model, row, **GREEDY)
        if kind == "none":
            assert alone(model, row, use_cache=False, **GREEDY) == wanted
            continue
        text = model.config.text_config
        cache = DynamicCache(config=text) if kind == "dynamic" else StaticCache(config=text, max_cache_len=60)
        assert alone(model, row, past_key_values=cache, disable_compile=True, **GREEDY) == wanted
        assert cache.get_seq_length() == len(row[0]) + 7


def test_a_conversation_goes_on_from_its_cache(make: Make) -> None:
    model = make()
    (ids, shown), more = ROWS[0], ids_with_pictures(11, "img", 12)
    first = model.generate(torch.tensor([ids]), pixel_values=pictures(3)[shown], return_dict_in_generate=True, **GREEDY)
    whole = torch.cat([first.sequences, torch.tensor([more])], 1)
    got = model.generate(whole, pixel_values=pictures(3)[[2]], past_key_values=first.past_key_values, **GREEDY)
    assert torch.equal(got, model.generate(whole, pixel_values=pictures(3)[[*shown, 2]], **GREEDY))


# -- past the training length --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dynamic", "static"])
@torch.no_grad()
def test_decoding_across_the_training_length(make: Make, kind: str) -> None:
    """The prompt's length, not the row's, chooses the rotary base, and log-n grows from position to position."""
    model = make()
    text = model.config.text_config
    ids = torch.tensor([words(140)])
    for prompt, alpha in ((60, 1.0), (100, 3.0), (130, 7.0)):
        cache = DynamicCache(config=text) if kind == "dynamic" else StaticCache(config=text, max_cache_len=160)
        steps = [model(ids[:, :prompt], past_key_values=cache).logits]
        steps += [model(ids[:, at : at + 1], past_key_values=cache).logits for at in range(prompt, 140)]
        # At once, with the base that the prompt chose: the base by itself, no NTK at work.
        model.config.text_config.rope_theta, theta = 10_000.0 * alpha ** (8 / 6), text.rope_theta
        text.use_dynamic_ntk = False
        wanted = model(ids, use_cache=False).logits
        text.use_dynamic_ntk, text.rope_theta = True, theta
        assert torch.allclose(torch.cat(steps, 1), wanted, atol=1e-3)
        text.use_logn_attn = False
        assert not torch.allclose(model(ids, use_cache=False).logits[:, 64:], wanted[:, 64:], atol=1e-2)
        text.use_logn_attn = True


@torch.inference_mode()
def test_decoding_gives_the_reference_s_logits_of_a_long_text(
    official: QwenVLForConditionalGeneration, expected: dict[str, Tensor]
) -> None:
    # 2,592 and 2,600 tokens have the same factor, so the reference's logits at prefill are those of decoding here.
    ids, wanted = expected["long_text.input_ids"], expected["long_text.logits"]
    out = official(ids[:, :-8], logits_to_keep=1)
    steps = [out.logits]
    for at in range(ids.shape[1] - 8, ids.shape[1]):
        steps.append(official(ids[:, at : at + 1], past_key_values=out.past_key_values).logits)
    assert (torch.cat(steps, 1) - wanted[:, -9:]).abs().max() <= 1e-3


# -- torch.compile -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@torch.no_grad()
def test_compiled(make: Make, backend: str) -> None:
    model = make()
    ids, pixels = torch.tensor([ROWS[0][0]]), pictures(1)
    torch.compiler.reset()
    compiled = torch.compile(model.forward, backend=backend)
    assert torch.allclose(compiled(ids, pixel_values=pixels).logits, model(ids, pixel_values=pixels).logits, atol=1e-5)


@torch.no_grad()
def test_a_decoding_step_is_one_graph(make: Make) -> None:
    model = make()
    wanted = alone(model, ROWS[0], **GREEDY)[0]
    torch.compiler.reset()
    step = torch.compile(model.forward, backend="eager", fullgraph=True)
    cache = StaticCache(config=model.config.text_config, max_cache_len=32)
    logits = model(torch.tensor([ROWS[0][0]]), pixel_values=pictures(1), past_key_values=cache).logits
    got = []
    for _ in range(8):
        got.append(int(logits[0, -1].argmax()))
        logits = step(torch.tensor([[got[-1]]]), past_key_values=cache).logits
    assert got == wanted
