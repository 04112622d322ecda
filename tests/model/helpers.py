"""What the tests of the model call: the small configuration and rows of ids with pictures."""

from __future__ import annotations

from pathlib import Path

from qwenvl.model import QwenVLConfig

GOLDEN = Path(__file__).parent.parent / "golden"
OFFICIAL = GOLDEN / "nano-official"

START, END, SLOT = 80, 81, 82
QUERIES = 4


def small_config(**changes: object) -> QwenVLConfig:
    """Vocabulary 90, width 16, two layers each, 16 patches and 4 queries; `<img>` is 80."""
    text = {
        "vocab_size": 90,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "seq_length": 64,
        # Large enough that answers depend on what they should depend on.
        "initializer_range": 0.4,
        **changes.pop("text", {}),  # type: ignore[dict-item]
    }
    vision = {"image_size": 32, "patch_size": 8, "width": 12, "layers": 2, "heads": 2, "mlp_width": 20}
    settings = {"num_queries": QUERIES, "adapter_heads": 2, "initializer_range": 0.4, **changes}
    return QwenVLConfig(
        vision_config={**vision, "position_grid": 4, "initializer_range": 0.4},
        text_config=text,
        image_start_id=START,
        image_end_id=END,
        image_slot_id=SLOT,
        **settings,
    )


def ids_with_pictures(*row: int | str) -> list[int]:
    """A row of ids in which "img" stands for one picture's `<img>`, slots and `</img>`."""
    out: list[int] = []
    for item in row:
        out += [START, *[SLOT] * QUERIES, END] if item == "img" else [int(item)]
    return out
