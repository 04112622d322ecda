"""How many CPU threads a server's model runs on: measured, since small models lose more by waiting than they win."""

from __future__ import annotations

import time

import torch

from qwenvl.model.qwenvl import QwenVLForConditionalGeneration

SECONDS = 0.5
"""What measuring one number of threads may take, after its first pass."""


def settle_threads(model: QwenVLForConditionalGeneration, rows: int = 16) -> int:
    """Set and give the number of threads with which the next token of `rows` answers comes soonest, on a CPU.

    Powers of two up to torch's present number are tried (OMP_NUM_THREADS bounds it). Call it in a thread other than
    the main one, as the engine's is: OpenMP's teams cost more there once others exist.
    """
    most = torch.get_num_threads()
    if model.device.type != "cpu" or most == 1:
        return most
    tried = sorted({most, *(1 << power for power in range(most.bit_length()) if 1 << power <= most)})
    times = {count: _seconds(model, rows, count) for count in tried}
    best = min(times.values())
    # a core that brings little is better left to the server itself, and to others
    chosen = next(count for count in tried if times[count] <= 1.15 * best)
    torch.set_num_threads(chosen)
    return chosen


def _seconds(model: QwenVLForConditionalGeneration, rows: int, threads: int) -> float:
    """The fastest of some passes."""
    torch.set_num_threads(threads)
    decoder = model.model.language_model
    hidden = model.get_input_embeddings()(torch.zeros(rows, 1, dtype=torch.long))
    best, end = float("inf"), float("inf")
    with torch.inference_mode():
        for number in range(50):
            begin = time.perf_counter()
            decoder(inputs_embeds=hidden, use_cache=False)
            now = time.perf_counter()
            if number:  # the first one starts the threads
                best = min(best, now - begin)
            else:
                end = now + SECONDS
            if number and now > end:
                break
    return best
