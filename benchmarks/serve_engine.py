"""The batching engine against one request at a time and against `generate` on batches; a picture asked about again.

    python benchmarks/serve_engine.py [--model nano|100m] [--requests 64] [--repeats 5] [--threads 2]

Requests come with pictures and end after different numbers of tokens, as real ones do. The sides take turns within each
repeat; medians and ratios are printed. `generate` gets the same requests in batches of 16 in the order in which they
come, each run until its longest answer ends: what a server without continuous batching can do.
"""

from __future__ import annotations

import argparse
import io
import queue
import random
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image as PILImage

from qwenvl.data.images import load_image
from qwenvl.data.synth.scenes import scene_record
from qwenvl.model import QwenVLConfig, QwenVLForConditionalGeneration
from qwenvl.model.load import load
from qwenvl.model.packed_linear import prepare_for_cpu
from qwenvl.sample import Image, Sample, Text
from qwenvl.serve.batching import BatchingEngine
from qwenvl.serve.engine import Generation, generate
from qwenvl.serve.requests import End, Request, Token
from qwenvl.text.render import Example, render, render_prompt
from qwenvl.text.tokenizer import QwenTokenizer

TOGETHER = 16


def nano() -> tuple[QwenVLForConditionalGeneration, QwenTokenizer]:
    """The packaged model, laid out for a CPU as the server does it."""
    loaded = load("nano")
    prepare_for_cpu(loaded.model)
    return loaded.model, loaded.tokenizer


def hundred_million() -> tuple[QwenVLForConditionalGeneration, QwenTokenizer]:
    """Random weights of 100M parameters: a ViT of 22M at 224 px, 64 slots a picture, a decoder of 77M."""
    tokenizer = load("nano").tokenizer
    config = QwenVLConfig(
        vision_config={"image_size": 224, "width": 384, "layers": 12, "heads": 6, "mlp_width": 1536},
        text_config={
            "vocab_size": 8192,
            "hidden_size": 640,
            "intermediate_size": 1728,
            "num_hidden_layers": 13,
            "num_attention_heads": 10,
        },
        num_queries=64,
        adapter_heads=10,
        image_start_id=tokenizer.img_start_id,
        image_end_id=tokenizer.img_end_id,
        image_slot_id=tokenizer.image_slot_id,
    )
    torch.manual_seed(0)
    model = QwenVLForConditionalGeneration(config).eval()
    prepare_for_cpu(model)
    return model, tokenizer


def scene_requests(tokenizer: QwenTokenizer, slots: int, count: int) -> list[Request]:
    """Questions about scenes, answered until they end."""
    requests = []
    for index in range(count):
        record = scene_record(seed=7, index=index, split="test", size=96)
        asked = ("Generate the caption in English with grounding: ", "OCR with grounding: ", None)[index % 3]
        text = f" {record.qas[0].question} Answer: " if asked is None else asked
        example = render(Sample((record.images[0], Text(text)), "vqa"), tokenizer, slots)
        requests.append(Request(example, Generation(max_new_tokens=160)))
    return requests


def noise_requests(tokenizer: QwenTokenizer, slots: int, count: int) -> list[Request]:
    """Questions about noise, answered with 8 to 128 tokens."""
    rng = random.Random(0)
    requests = []
    for index in range(count):
        parts = (_noise(index), Text("What is in the picture? " * rng.randint(1, 6)))
        new = round(8 * 16 ** rng.random())
        example = render(Sample(parts, "vqa"), tokenizer, slots)
        requests.append(Request(example, Generation(max_new_tokens=new, min_new_tokens=new)))
    return requests


def served(engine: BatchingEngine, requests: Sequence[Request], together: int) -> int:
    """Answer with `together` requests in the engine at any time; the number of tokens."""
    events: queue.Queue[Token | End] = queue.Queue()
    left, tokens, open_ones = list(reversed(requests)), 0, 0
    while left or open_ones:
        while left and open_ones < together:
            engine.submit(left.pop(), events.put)
            open_ones += 1
        event = events.get()
        if isinstance(event, End):
            if event.reason == "error":
                raise RuntimeError(event.message)
            open_ones -= 1
        else:
            tokens += 1
    return tokens


def batched(model: QwenVLForConditionalGeneration, tokenizer: QwenTokenizer, requests: Sequence[Request]) -> int:
    """The same through `generate`, in batches in the order given; the number of tokens asked for."""
    tokens = 0
    for begin in range(0, len(requests), TOGETHER):
        chosen = requests[begin : begin + TOGETHER]
        wanted = [request.options.max_new_tokens for request in chosen]
        forced = all(request.options.min_new_tokens for request in chosen)
        options = Generation(max_new_tokens=max(wanted), min_new_tokens=max(wanted) if forced else 0)
        answers = generate(model, tokenizer, [request.example for request in chosen], options, TOGETHER)
        tokens += sum(min(len(ids), most) for ids, most in zip(answers, wanted, strict=True))
    return tokens


def first_token(engine: BatchingEngine, example: Example) -> float:
    """Seconds to the first token of an answer."""
    events: queue.Queue[Token | End] = queue.Queue()
    begin = time.perf_counter()
    engine.submit(Request(example, Generation(max_new_tokens=1, min_new_tokens=1)), events.put)
    events.get()
    seconds = time.perf_counter() - begin
    events.get()
    return seconds


def again(engine: BatchingEngine, tokenizer: QwenTokenizer, slots: int, repeats: int) -> tuple[float, float]:
    """Median seconds to the first token of a question about a picture, and of another one about the same."""
    first, second = [], []
    for number in range(20 * repeats):
        image = _noise(1000 + number)
        for words, times in ((" What is this? Answer: ", first), (" Where is the star? Answer: ", second)):
            example = render_prompt(Sample((image, Text(words)), "vqa"), tokenizer, slots)
            times.append(first_token(engine, example))
    return statistics.median(first), statistics.median(second)


def _noise(seed: int) -> Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    out = io.BytesIO()
    PILImage.fromarray(pixels).save(out, "PNG")
    return load_image(out.getvalue())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=("nano", "100m"), default="nano")
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, tokenizer = nano() if options.model == "nano" else hundred_million()
    slots = int(model.config.num_queries)
    requests = (scene_requests if options.model == "nano" else noise_requests)(tokenizer, slots, options.requests)
    # nothing is kept between requests and no picture twice: each side does all the work each time
    engine = BatchingEngine(model, tokenizer, running=TOGETHER, kept=0, pictures=0)
    sides: dict[str, Callable[[], int]] = {
        "one at a time": lambda: served(engine, requests[: max(4, options.requests // 4)], 1),
        "generate, batches of 16": lambda: batched(model, tokenizer, requests),
        "engine, 16 together": lambda: served(engine, requests, TOGETHER),
    }
    # decoding alone, nearly: the pictures were seen before
    warm = BatchingEngine(model, tokenizer, running=TOGETHER, kept=0)
    served(warm, requests, TOGETHER)
    sides["one at a time, pictures seen"] = lambda: served(warm, requests[: max(4, options.requests // 4)], 1)
    sides["16 together, pictures seen"] = lambda: served(warm, requests, TOGETHER)
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.repeats):
        for name, run in sides.items():
            begin = time.perf_counter()
            tokens = run()
            rates[name].append(tokens / (time.perf_counter() - begin))
    engine.close()
    warm.close()
    medians = {name: statistics.median(found) for name, found in rates.items()}
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(f"{options.model}: {parameters:.1f}M parameters outside packed layers, {options.threads} threads")
    for name, rate in medians.items():
        alone = medians["one at a time, pictures seen" if name.endswith("seen") else "one at a time"]
        print(f"{name:29} {rate:8.0f} tokens/s  {rate / alone:5.2f}x")
    print(f"engine / generate          {medians['engine, 16 together'] / medians['generate, batches of 16']:8.2f}x")
    engine = BatchingEngine(model, tokenizer, running=TOGETHER)
    first, second = again(engine, tokenizer, slots, options.repeats)
    engine.close()
    print(
        f"first token: {1e3 * first:.2f} ms, of a second question {1e3 * second:.2f} ms: {first / second:.2f}x sooner"
    )


if __name__ == "__main__":
    main()
