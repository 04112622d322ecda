"""Encoding, prefill and decoding against transformers' own models of the same size; a batch against one at a time.

    python benchmarks/generation_speed.py [--size 300m] [--dtypes float32 bfloat16] [--repeats 5] [--threads 2]

Random weights. The decoder is compared with Qwen2, the vision tower with CLIP's, both with SDPA; "packed" is ours after
`prepare_for_cpu`. The sides take turns within each repeat, so that a busy machine disturbs all of them; a table gives
medians and how many times as fast as the first row each one is. Only a quiet machine gives numbers to keep.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, Qwen2Config, Qwen2ForCausalLM

from qwenvl.model import QwenVLConfig, QwenVLForConditionalGeneration
from qwenvl.model.packed_linear import prepare_for_cpu

BATCH = 16


@dataclasses.dataclass(frozen=True)
class Size:
    """The decoder's and the tower's sizes, and how much they have to do."""

    hidden: int
    layers: int
    heads: int
    mlp: int
    vocabulary: int
    vision: tuple[int, int, int, int]
    side: int
    prompt: int
    new: int
    """Tokens decoded after the prompt."""


SIZES = {
    "tiny": Size(64, 2, 2, 128, 500, (48, 2, 2, 96), 112, 64, 8),
    "30m": Size(512, 8, 4, 1408, 8000, (384, 6, 6, 1536), 224, 256, 32),
    "300m": Size(1024, 20, 8, 2816, 32_000, (768, 12, 12, 3072), 448, 512, 64),
}


def ours(size: Size, dtype: torch.dtype) -> QwenVLForConditionalGeneration:
    """The model under test. Its picture ids are the last ones, which no prompt here uses."""
    width, layers, heads, mlp = size.vision
    last = size.vocabulary - 1
    config = QwenVLConfig(
        vision_config={"image_size": size.side, "width": width, "layers": layers, "heads": heads, "mlp_width": mlp},
        text_config=decoder_sizes(size),
        image_start_id=last - 2,
        image_end_id=last - 1,
        image_slot_id=last,
        adapter_heads=size.heads,
    )
    return QwenVLForConditionalGeneration(config).to(dtype).eval()


def decoder_sizes(size: Size) -> dict[str, int]:
    """The decoder's fields, alike in both libraries' configurations."""
    return {
        "vocab_size": size.vocabulary,
        "hidden_size": size.hidden,
        "intermediate_size": size.mlp,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
    }


def theirs(size: Size, dtype: torch.dtype) -> tuple[Qwen2ForCausalLM, CLIPVisionModel]:
    """transformers' decoder and tower of the same sizes."""
    width, layers, heads, mlp = size.vision
    text = Qwen2Config(**decoder_sizes(size), num_key_value_heads=size.heads, attn_implementation="sdpa")
    vision = CLIPVisionConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=mlp,
        image_size=size.side,
        patch_size=14,
        hidden_act="gelu",
        attn_implementation="sdpa",
    )
    return Qwen2ForCausalLM(text).to(dtype).eval(), CLIPVisionModel(vision).to(dtype).eval()


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def prefill(model: nn.Module, ids: Tensor) -> float:
    """Seconds for the prompt, with the logits of its last position."""
    return seconds(lambda: model(ids, use_cache=True, logits_to_keep=1))


def decode(model: nn.Module, ids: Tensor, count: int) -> float:
    """Seconds for `count` tokens after the prompt, each made from the one before with the model's own cache."""
    out = model(ids, use_cache=True, logits_to_keep=1)
    cache = out.past_key_values

    def steps() -> None:
        token = out.logits[:, -1:].argmax(-1)
        for _ in range(count):
            token = model(token, past_key_values=cache, use_cache=True).logits[:, -1:].argmax(-1)

    return seconds(steps)


def answer(model: QwenVLForConditionalGeneration, prompts: list[Tensor], count: int) -> float:
    """Seconds for `count` new tokens to each prompt in one left-padded batch, prefill included."""
    length = max(len(prompt) for prompt in prompts)
    ids, mask = torch.zeros(2, len(prompts), length, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, length - len(prompt) :], mask[row, length - len(prompt) :] = prompt, 1
    options = {"max_new_tokens": count, "min_new_tokens": count, "do_sample": False, "pad_token_id": 0}
    return seconds(lambda: model.generate(ids, attention_mask=mask, eos_token_id=1, **options))


def compare(title: str, work: float, unit: str, sides: dict[str, Callable[[], float]], repeats: int) -> None:
    """Measure the sides in turn, after one go to warm up, and print each one's speed; `work` is how much a go does."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats + 1):
        for name, side in sides.items():
            taken = side()
            if repeat:
                found[name].append(taken)
    medians = {name: statistics.median(times) for name, times in found.items()}
    base = next(iter(medians.values()))
    for name, median in medians.items():
        print(f"{title:<28} {name:<18} {work / median:>10,.1f} {unit:<10} {base / median:>6.2f}×", flush=True)


def run(size: Size, dtype: torch.dtype, repeats: int) -> None:
    """All comparisons in one type."""
    torch.manual_seed(0)
    model = ours(size, dtype)
    qwen2, clip = theirs(size, dtype)
    packed = copy.deepcopy(model)
    sides = {"transformers": qwen2, "qwenvl": model}
    if prepare_for_cpu(packed):
        sides["qwenvl packed"] = packed
    name = str(dtype).removeprefix("torch.")
    pixels = torch.randn(1, 3, size.side, size.side, dtype=dtype)
    towers = {"transformers": clip, "qwenvl": model.model.vision_tower}
    encode = {side: lambda tower=tower: seconds(lambda: tower(pixel_values=pixels)) for side, tower in towers.items()}
    compare(f"{name} encode {size.side} px", 1, "images/s", encode, repeats)
    one = torch.randint(2, size.vocabulary - 3, (1, size.prompt))
    many = torch.randint(2, size.vocabulary - 3, (BATCH, size.prompt))
    work = {side: lambda m=m: prefill(m, one) for side, m in sides.items()}
    compare(f"{name} prefill {size.prompt}", size.prompt, "tokens/s", work, repeats)
    for ids in (one, many):
        work = {side: lambda m=m, ids=ids: decode(m, ids, size.new) for side, m in sides.items()}
        compare(f"{name} decode, batch {len(ids)}", len(ids) * size.new, "tokens/s", work, repeats)
    # Questions of 1/32 to 1/8 of that prompt, whole answers: long prompts would measure prefill, which gains nothing.
    longest = size.prompt // 8
    prompts = [row[: longest // 4 + index * (longest * 3 // 4) // (BATCH - 1)] for index, row in enumerate(many)]
    for side, m in list(sides.items())[1:]:
        each = {
            "one at a time": lambda m=m: sum(answer(m, [prompt], size.new) for prompt in prompts),
            f"{BATCH} together": lambda m=m: answer(m, prompts, size.new),
        }
        compare(f"{name} {side}", BATCH * size.new, "tokens/s", each, max(repeats // 2, 1))


@torch.inference_mode()
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="300m", help="of the decoder (default: %(default)s)")
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    parser.add_argument("--repeats", type=int, default=5, help="of every comparison (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch (default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.size}, {options.threads} threads, medians of {options.repeats}")
    for dtype in options.dtypes:
        run(SIZES[options.size], getattr(torch, dtype), options.repeats)


if __name__ == "__main__":
    main()
