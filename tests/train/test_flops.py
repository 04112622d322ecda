"""Operations of a step: against torch's own counter, and against numbers known of the 9.6B model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from qwenvl.data.loader import Batch
from qwenvl.model.configuration import QwenVLConfig
from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
from qwenvl.train.flops import Flops, StepFlops, Work, packed_work, work_of
from qwenvl.train.peaks import device_called, find_device, measured_peak, mfu
from qwenvl.train.stages import freeze

ROWS, LENGTH, SIDE, PATCH, QUERIES = 2, 48, 32, 8, 4
VISION = {"image_size": SIDE, "patch_size": PATCH, "width": 64, "layers": 3, "heads": 2, "mlp_width": 192}
TEXT = {"vocab_size": 500, "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 3}


@pytest.fixture
def model() -> QwenVLForConditionalGeneration:
    torch.manual_seed(0)
    config = QwenVLConfig(
        vision_config={**VISION, "position_grid": SIDE // PATCH},
        text_config={**TEXT, "num_attention_heads": 4},
        num_queries=QUERIES,
        adapter_heads=4,
        image_start_id=1,
        image_end_id=2,
        image_slot_id=3,
    )
    config._attn_implementation = "matmul"
    return QwenVLForConditionalGeneration(config).train()


def batch() -> dict[str, torch.Tensor]:
    """Two rows with a picture each; a third of the tokens is supervised."""
    ids = torch.randint(4, 500, (ROWS, LENGTH))
    ids[:, :6] = torch.tensor([1, 3, 3, 3, 3, 2])
    labels = torch.where(torch.arange(LENGTH) < 32, -100, ids)
    pixels = torch.randn(ROWS, 3, SIDE, SIDE)
    return {"input_ids": ids, "labels": labels, "pixel_values": pixels}


def work() -> Work:
    # short rows are computed as whole squares, so these are what torch sees
    return Work(ROWS * LENGTH, ROWS * LENGTH**2, ROWS * 16, ROWS, (SIDE // PATCH) ** 2)


def in_place(total: Any, a: Any, b: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """torch counts `baddbmm` and `addmm` and misses their in-place forms: attention's scores, the head's gradient."""
    return 2 * math.prod(a) * b[-1]


def counted(model: QwenVLForConditionalGeneration, inputs: dict[str, Any]) -> tuple[int, int]:
    missed = dict.fromkeys((torch.ops.aten.baddbmm_, torch.ops.aten.addmm_), in_place)
    with FlopCounterMode(display=False, custom_mapping=missed) as counter:
        loss = model(**inputs).loss
        forward = counter.get_total_flops()
        loss.backward()
    return forward, counter.get_total_flops() - forward


@pytest.mark.parametrize(
    "trains",
    [("vision", "adapter"), ("vision", "adapter", "decoder"), ("adapter", "decoder"), ("decoder",), ("adapter",)],
)
def test_torch_counts_the_same(model: QwenVLForConditionalGeneration, trains: tuple[Any, ...]) -> None:
    freeze(model, trains)
    expected_forward, expected_backward = counted(model, batch())
    flops = StepFlops(model).of(work())
    found = flops.total
    # the head's gradients are made with its losses, in the forward pass
    head = flops.parts["head"].activations + flops.parts["head"].weights
    assert head > 0
    assert found.forward + head == pytest.approx(expected_forward, rel=0.01)
    assert found.activations + found.weights - head == pytest.approx(expected_backward, rel=0.01)


def test_what_checkpointing_computes_again(model: QwenVLForConditionalGeneration) -> None:
    """Also of a decoder that is frozen, for gradients pass through it; not of a vision tower that is."""
    for trains in (("vision", "adapter"), ("adapter", "decoder")):
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
        freeze(model, trains)  # type: ignore[arg-type]
        forward, backward = counted(model, batch())
        found = StepFlops(model, {"vision": 1.0, "decoder": 1.0}).of(work())
        assert found.hardware == pytest.approx(forward + backward, rel=0.01)
        assert bool(found.parts["vision"].again) == ("vision" in trains)
        assert found.parts["decoder"].again > 0
        assert found.hardware > found.model


def test_no_backward_where_nothing_that_trains_is_used(model: QwenVLForConditionalGeneration) -> None:
    freeze(model, ("vision", "adapter"))
    text = Work(100, 5050, 100, 0, 0)
    assert StepFlops(model).of(text).total.activations == 0
    freeze(model, ("decoder",))
    found: Flops = StepFlops(model).of(text)
    assert found.parts["decoder"].weights > 0
    assert found.parts["vision"].model == 0


def test_the_published_model() -> None:
    """Facts: stage 1 at 512 tokens 17.7 TFLOP a sample, stage 2 with 4 pictures in 2,048 tokens 138.7 a pack.

    Both have logits at every token, and in stage 2 each picture's sample sees itself alone.
    """
    with torch.device("meta"):
        model = QwenVLForConditionalGeneration(QwenVLConfig())
    freeze(model, ("vision", "adapter"))
    stage1 = StepFlops(model).of(packed_work(1, 512, 512, 1, 16**2))
    assert stage1.model / 1e12 == pytest.approx(17.7, abs=0.1)
    assert stage1.parts["decoder"].weights == 0
    freeze(model, ("vision", "adapter", "decoder"))
    stage2 = StepFlops(model).of(packed_work(4, 2048, 2048, 4, 32**2))
    assert stage2.model / 1e12 == pytest.approx(138.7, abs=0.3)
    seen = stage2.parts["vision"].model + stage2.parts["adapter"].model
    assert 0.36 < seen / stage2.model < 0.45


def test_work_of_a_batch() -> None:
    """A row of two samples about one picture and a row with padding."""
    segments = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 2, 2, 0, 0]], np.int16)
    branches = np.array([[0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 0]], np.int16)
    positions = np.array([[0, 1, 2, 3, 2, 3], [0, 1, 0, 1, 0, 0]])
    labels = np.array([[-100, -100, -100, 5, -100, 5], [5, 5, -100, 5, -100, -100]])
    pixels = np.zeros((3, 32, 32, 3), np.uint8)
    packed = Batch(labels, labels, positions, segments, branches, pixels, np.arange(3), [], 4, 4, 3, {})
    assert work_of(packed, True, 8) == Work(10, 1 + 2 + 3 + 4 + 3 + 4 + 1 + 2 + 1 + 2, 4, 3, 16)
    assert work_of(packed, False, 8) == Work(10, 21 + 10, 4, 3, 16)
    assert work_of(packed, True, 8) + Work(1, 1, 1, 0, 0) == Work(11, 24, 5, 3, 16, 2)


def test_devices() -> None:
    for name, peak in (
        ("NVIDIA H200", 989.4),
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA L40S", 362),
        ("NVIDIA L4", 121),
        ("h200", 989.4),
    ):
        device = find_device(name)
        assert device is not None and device.peak == peak * 1e12, name
    assert device_called("a100-40gb").memory == 40e9
    assert device_called("NVIDIA A100-SXM4-80GB").memory == 80e9
    assert find_device("Radeon 7") is None
    with pytest.raises(ValueError, match="did you mean 'h200'"):
        device_called("h2000")
    assert mfu(989.4e12, 2.0, 989.4e12) == pytest.approx(0.5)
    assert measured_peak(torch.float32, torch.device("cpu"), side=64, repeats=2) > 1e6
