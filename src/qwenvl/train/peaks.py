"""What devices can do at most: the denominator of MFU, and the memory that a plan has to fit in."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import torch

from qwenvl.typed import nearest


@dataclass(frozen=True)
class Device:
    """A GPU by its maker's data sheet: dense bfloat16 operations a second (without sparsity), bytes of memory."""

    name: str
    peak: float
    memory: float


# Data sheets of NVIDIA (B200, H100, H200, A100, L4, L40S, A10, A40, RTX …) and AMD (Instinct). Where a sheet gives the
# number "with sparsity", half of it stands here. The first whose words all stand in a device's name is it.
_DEVICES: tuple[tuple[str, float, float], ...] = (
    ("gb200", 2500e12, 186e9),
    ("b200", 2250e12, 180e9),
    ("h200 nvl", 835.5e12, 141e9),
    ("h200", 989.4e12, 141e9),
    ("gh200", 989.4e12, 96e9),
    ("h100 pcie", 756e12, 80e9),
    ("h100 nvl", 835.5e12, 94e9),
    ("h100", 989.4e12, 80e9),
    ("h800", 989.4e12, 80e9),
    ("h20", 148e12, 96e9),
    ("a100 40gb", 312e12, 40e9),
    ("a100", 312e12, 80e9),
    ("a800", 312e12, 80e9),
    ("l40s", 362e12, 48e9),
    ("l40", 181e12, 48e9),
    ("l4", 121e12, 24e9),
    ("a40", 149.7e12, 48e9),
    ("a30", 165e12, 24e9),
    ("a10g", 70e12, 24e9),
    ("a10", 125e12, 24e9),
    ("rtx a6000", 154.8e12, 48e9),
    ("rtx 6000 ada", 364.2e12, 48e9),
    ("5090", 209.5e12, 32e9),
    ("4090", 165.2e12, 24e9),
    ("3090", 71e12, 24e9),
    ("mi355x", 2516e12, 288e9),
    ("mi325x", 1307.4e12, 256e9),
    ("mi300x", 1307.4e12, 192e9),
    ("mi250x", 383e12, 128e9),
)


def known_devices() -> list[str]:
    """The names that `find_device` is sure to know."""
    return [name for name, _, _ in _DEVICES]


def find_device(name: str) -> Device | None:
    """The device of that name, as `torch.cuda.get_device_name` or a person writes it ("NVIDIA H200", "h200")."""
    words = name.lower().replace("-", " ").replace("_", " ").split()
    for known, peak, memory in _DEVICES:
        if all(part in words for part in known.split()):
            return Device(known, peak, memory)
    return None


def device_called(name: str) -> Device:
    """As `find_device`. Raises ValueError with the nearest name that is known."""
    found = find_device(name)
    if found is None:
        known = known_devices()
        raise ValueError(f"the GPU {name!r} is not in the table{nearest(name.lower(), known)}: {', '.join(known)}")
    return found


def this_cpu() -> Device:
    """This machine's processor: its measured peak in bfloat16 or float32, whichever is higher, and its memory."""
    peak = max(measured_peak(precision, torch.device("cpu")) for precision in (torch.float32, torch.bfloat16))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Device("cpu", peak, float(memory))


def peak_here(precision: torch.dtype, device: torch.device) -> float | None:
    """Operations a second that `device` reaches at most with matrix products in `precision`.

    A known GPU's bfloat16 is its data sheet's; of a CPU, and of a known GPU in float32, it is measured, in about a
    second. None for a GPU that the table does not have.
    """
    if device.type == "cuda" and precision != torch.float32:
        known = find_device(torch.cuda.get_device_name(device))
        return None if known is None else known.peak
    return measured_peak(precision, device)


def measured_peak(precision: torch.dtype, device: torch.device, side: int = 1024, repeats: int = 7) -> float:
    """Operations a second of one large square matrix product: the fastest of some."""
    left, right = (torch.randn(side, side, device=device).to(precision) for _ in range(2))
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        product = left @ right
        product[0, 0].item()  # a GPU has finished then
        times.append(time.perf_counter() - begin)
    return 2.0 * side**3 / min(times)


def mfu(flops: float, seconds: float, peak: float) -> float:
    """The share of `peak` (operations a second, of all devices together) that `flops` in `seconds` make use of."""
    return flops / (max(seconds, 1e-9) * peak)
