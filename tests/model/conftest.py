"""What the model's tests share: the reference's outputs, and a small model with random weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from qwenvl.model import QwenVLForConditionalGeneration
from tests.model.helpers import OFFICIAL, small_config


@pytest.fixture(scope="session")
def expected() -> dict[str, Tensor]:
    """Inputs and outputs of the reference implementation for the checkpoint in `nano-official`."""
    return load_file(OFFICIAL / "expected.safetensors")


@pytest.fixture(scope="session")
def official() -> QwenVLForConditionalGeneration:
    """The released-form checkpoint, read as it is."""
    return QwenVLForConditionalGeneration.from_pretrained(OFFICIAL, dtype=torch.float32).eval()


@pytest.fixture
def make() -> Callable[..., QwenVLForConditionalGeneration]:
    """A small model in evaluation mode: `make(seed=0, attention="sdpa", **changes of the configuration)`."""

    def build(seed: int = 0, attention: str = "sdpa", **changes: object) -> QwenVLForConditionalGeneration:
        torch.manual_seed(seed)
        config = small_config(**changes)
        config._attn_implementation = attention
        model = QwenVLForConditionalGeneration(config).eval()
        with torch.no_grad():
            # Norms and biases start at 1 and 0, which would hide a mistake in them.
            for name, parameter in model.named_parameters():
                if "norm" in name or name.endswith("bias"):
                    parameter.add_(torch.randn_like(parameter) * 0.2)
        return model

    return build
