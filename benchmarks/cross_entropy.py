"""The loss over a large vocabulary: ours beside the plain way and PyTorch's own chunked one.

    python benchmarks/cross_entropy.py [--rows 1024] [--width 1024] [--vocabulary 151936] [--repeats 3]
                                       [--dtype float32] [--device cpu] [--threads 2]

Each way runs in a process of its own, in turns: forward and backward, gradients of the hidden states and of the head.
Shown are the medians of the seconds (on a CPU, those of all its threads) and of the largest memory beyond what was
held before; and how far the head's gradient is from that of the plain way in float64 over 64 of the rows.
PyTorch's (2.13 and later) gives no loss per row, which ours does and the plain way can.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "src"
WAYS = {
    "plain": "all logits, F.cross_entropy",
    "torch": "F.linear_cross_entropy, its defaults",
    "torch-256": "F.linear_cross_entropy, chunk 256, accurate",
    "ours": "qwenvl.model.cross_entropy.linear_cross_entropy",
}


def main() -> None:
    """Print a table of the ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options)))
        return
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(options.repeats):
        for way in WAYS:
            found = _apart(way)
            if found:
                runs[way].append(found)
    first = {key: statistics.median(run[key] for run in runs["plain"]) for key in ("seconds", "megabytes")}
    for way, found in runs.items():
        if not found:
            print(f"{WAYS[way]:48} not in this PyTorch")
            continue
        seconds, megabytes = (statistics.median(run[key] for run in found) for key in ("seconds", "megabytes"))
        shown = f"{seconds:7.2f} s ({first['seconds'] / seconds:4.2f}×), {megabytes:7,.0f} MB"
        print(f"{WAYS[way]:48} {shown} ({first['megabytes'] / megabytes:4.1f}× less), off {found[0]['off']:.1e}")


def _apart(way: str) -> dict[str, float]:
    command = [sys.executable, __file__, *sys.argv[1:], "--measure", way]
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Seconds and megabytes of one way, and the relative distance of its gradient from the exact one."""
    import torch
    from torch.nn import functional

    from qwenvl.model.cross_entropy import linear_cross_entropy

    def loss(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if options.measure == "plain":
            return functional.cross_entropy(functional.linear(hidden, weight).float(), targets, reduction="sum")
        if options.measure == "ours":
            return linear_cross_entropy(hidden, weight, targets)[0]
        chosen = {} if options.measure == "torch" else {"batch_chunk_size": 256, "acc_policy": "accurate"}
        how = torch.nn.LinearCrossEntropyOptions(**chosen)
        return functional.linear_cross_entropy(hidden, weight, targets, reduction="sum", options=how)

    if options.measure.startswith("torch") and not hasattr(functional, "linear_cross_entropy"):
        return {}
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    hidden = torch.randn(options.rows, options.width, device=device).to(dtype).requires_grad_()
    weight = (0.02 * torch.randn(options.vocabulary, options.width, device=device)).to(dtype).requires_grad_()
    targets = torch.randint(0, options.vocabulary, (options.rows,), device=device)
    few = hidden[:64].detach(), targets[:64]
    loss(hidden[:4], weight, targets[:4]).backward()  # the first call loads and allocates
    hidden.grad = None
    weight.grad.zero_()  # the gradient itself is no way's own
    before, begin = _held(device, reset=True), _seconds(device)
    loss(hidden, weight, targets).backward()
    seconds, megabytes = _seconds(device) - begin, (_held(device) - before) / 1e6
    weight.grad = None
    loss(few[0].requires_grad_(), weight, few[1]).backward()
    with torch.no_grad():
        exact = (few[0].double() @ weight.T.double()).softmax(-1)
        exact[torch.arange(64), few[1]] -= 1
        exact = exact.T @ few[0].double()
        off = float((weight.grad.double() - exact).norm() / exact.norm())
    return {"seconds": seconds, "megabytes": megabytes, "off": off}


def _seconds(device: object) -> float:
    import torch

    if str(device) == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def _held(device: object, reset: bool = False) -> float:
    """The largest memory so far in bytes; `reset` starts again from what is held now."""
    import torch

    if str(device) != "cpu":
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return float(torch.cuda.max_memory_allocated())
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024.0 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


if __name__ == "__main__":
    main()
