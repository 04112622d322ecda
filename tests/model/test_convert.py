"""The released form: tensors and configuration there and back, the 9.6B shapes, and what it cannot say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForImageTextToText

from qwenvl.model import QwenVLConfig, QwenVLForConditionalGeneration
from qwenvl.model.convert.files import held
from qwenvl.model.convert.official import (
    is_released,
    native_config,
    native_view,
    released_config,
    released_state_dict,
    reorder_heads,
)
from tests.model.helpers import GOLDEN, OFFICIAL
from tests.model.released import official_config, random_state, small_released, write

Make = Callable[..., QwenVLForConditionalGeneration]


def test_released_there_and_back_bit_by_bit(official: QwenVLForConditionalGeneration, tmp_path: Path) -> None:
    native, back = tmp_path / "native", tmp_path / "back"
    official.save_pretrained(native)
    again = AutoModelForImageTextToText.from_pretrained(native, dtype=torch.float32)
    assert isinstance(again, QwenVLForConditionalGeneration)
    again.save_pretrained(back, form="released")
    ours, reference = load_file(back / "model.safetensors"), load_file(OFFICIAL / "model.safetensors")
    assert ours.keys() == reference.keys()
    assert all(torch.equal(ours[name], reference[name]) for name in reference)
    written, wanted = json.loads((back / "config.json").read_text()), official_config()
    # The two that the published checkpoints give otherwise than this one.
    assert (written.pop("use_flash_attn"), written.pop("tokenizer_class")) == ("auto", "QWenTokenizer")
    del wanted["use_flash_attn"], wanted["tokenizer_class"]
    assert written == wanted


def test_released_folder_through_auto_classes(official: QwenVLForConditionalGeneration) -> None:
    assert isinstance(AutoConfig.from_pretrained(OFFICIAL), QwenVLConfig)
    model = AutoModelForImageTextToText.from_pretrained(OFFICIAL, dtype=torch.float32)
    assert isinstance(model, QwenVLForConditionalGeneration)
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), official.state_dict().values(), strict=True)
    )


def test_a_fresh_model_survives_the_released_form(make: Make, tmp_path: Path) -> None:
    # Width 16 has one adapter head in the released form, and its positions are a 16 x 16 table.
    model = make(adapter_heads=1)
    with pytest.raises(ValueError, match="position_grid to 16"):
        model.save_pretrained(tmp_path, form="released")
    config = model.config
    config.vision_config.position_grid = 16
    torch.manual_seed(1)
    model = QwenVLForConditionalGeneration(config)
    model.save_pretrained(tmp_path, form="released")
    assert is_released(json.loads((tmp_path / "config.json").read_text()))
    again = QwenVLForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32)
    state = model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in again.state_dict().items())


def test_unknown_form_is_refused(official: QwenVLForConditionalGeneration, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="form is"):
        official.save_pretrained(tmp_path, form="openclip")  # type: ignore[arg-type]


def test_names_and_shapes_of_the_published_checkpoint() -> None:
    wanted = json.loads((GOLDEN / "qwen_vl_state_dict_shapes.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        model = QwenVLForConditionalGeneration(QwenVLConfig())
    shapes = {name: list(t.shape) for name, t in released_state_dict(model.state_dict(), model.config).items()}
    assert shapes == wanted
    assert sum(t.numel() for t in model.state_dict().values()) == 9_656_935_168
    sizes = {
        "vision_tower": 1.84e9,
        "adapter": 0.09e9,
    }
    for part, size in sizes.items():
        numbers = sum(p.numel() for p in getattr(model.model, part).parameters())
        assert numbers == pytest.approx(size, rel=0.06)


def test_published_configuration_both_ways() -> None:
    config = QwenVLConfig()
    released = released_config(config)
    assert released["visual"]["mlp_ratio"] == 4.9231
    assert released["intermediate_size"] == 22_016
    assert "n_queries" not in released["visual"]
    again = QwenVLConfig(**native_config(released))
    assert again.vision_config.mlp_width == 8192
    for part in ("vision_config", "text_config"):
        ours, theirs = getattr(config, part).to_dict(), getattr(again, part).to_dict()
        assert {k: v for k, v in ours.items() if k != "dtype"} == {k: v for k, v in theirs.items() if k != "dtype"}


def test_heads_of_the_vision_tower_are_reordered() -> None:
    heads, dim = 2, 3
    rows = torch.arange(3 * heads * dim)
    ours = reorder_heads(rows, heads)
    # The released order is head by head: q0 k0 v0 q1 k1 v1.
    assert ours.view(3, heads, dim)[1, 1].tolist() == rows.view(heads, 3, dim)[1, 1].tolist()
    assert torch.equal(reorder_heads(ours, heads, back=True), rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("visual"), "without a 'visual' block"),
        (lambda c: c.update(kv_channels=32), "kv_channels is 32"),
        (lambda c: c.update(no_bias=False), "no_bias"),
        (lambda c: c["visual"].update(output_dim=128), "output_dim is 128"),
        (lambda c: c["visual"].pop("width"), "visual: width must be a whole number above 0; it is missing"),
        (lambda c: c["visual"].update(mlp_ratio="4"), "mlp_ratio must be a number"),
        (lambda c: c["visual"].update(image_start_id=-1), "image_start_id .* not -1"),
        (lambda c: c.update(hidden_size="256"), "hidden_size .* not '256'"),
        (lambda c: c.update(num_attention_heads=3), "256 cannot be split into 3 heads"),
        (lambda c: c.update(intermediate_size=705), "must be even"),
    ],
)
def test_what_is_no_qwen_vl_is_refused(change: Callable[[dict[str, Any]], Any], message: str) -> None:
    config = official_config()
    change(config)
    with pytest.raises(ValueError, match=message):
        native_config(config)


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """A config.json in the released form, of a size that nobody published; some optional fields are left out."""
    dim, heads = draw(st.sampled_from([4, 12, 32, 96, 128])), draw(st.integers(1, 4))
    width_of_head, vision_heads = draw(st.integers(1, 9)), draw(st.integers(1, 4))
    hidden, width, patch = dim * heads, 4 * width_of_head * vision_heads, draw(st.integers(2, 16))
    visual = {"heads": vision_heads, "width": width, "layers": draw(st.integers(1, 3)), "patch_size": patch}
    visual |= {"image_size": patch * draw(st.integers(1, 6)), "mlp_ratio": draw(st.floats(0.5, 8.0))}
    visual |= {"image_start_id": draw(st.integers(1, 100)), "output_dim": hidden}
    queries = draw(st.sampled_from([None, 1, 4, 9, 16, 256]))
    visual |= {} if queries is None else {"n_queries": queries}
    optional: dict[str, Any] = {
        "kv_channels": hidden // heads,
        "rotary_pct": 1.0,
        "no_bias": True,
        "seq_length": draw(st.integers(1, 4096)),
        "max_position_embeddings": draw(st.integers(1, 9000)),
        "rotary_emb_base": draw(st.sampled_from([10_000, 1e6, 500.5])),
        "layer_norm_epsilon": draw(st.sampled_from([1e-5, 1e-6])),
        "use_dynamic_ntk": draw(st.booleans()),
        "use_logn_attn": draw(st.booleans()),
        "use_cache": draw(st.booleans()),
        "tie_word_embeddings": draw(st.booleans()),
        "initializer_range": draw(st.sampled_from([0.01, 0.02])),
        "attn_dropout_prob": draw(st.sampled_from([0.0, 0.1])),
        "eos_token_id": draw(st.integers(0, 9)),
        "torch_dtype": draw(st.sampled_from(["float32", "float16", "bfloat16"])),
    }
    left_out = draw(st.sets(st.sampled_from(sorted(optional))))
    kept = {key: value for key, value in optional.items() if key not in left_out}
    sizes = {"hidden_size": hidden, "num_attention_heads": heads, "num_hidden_layers": draw(st.integers(1, 3))}
    sizes |= {"intermediate_size": 2 * draw(st.integers(1, 60)), "vocab_size": draw(st.integers(103, 400))}
    return {"model_type": "qwen", "visual": visual, **sizes, **kept}


@given(configs())
@settings(max_examples=60, deadline=None)
def test_any_configuration_there_and_back(released: dict[str, Any]) -> None:
    config = QwenVLConfig(**native_config(released))
    written = released_config(config)
    again = QwenVLConfig(**native_config(written))
    for ours, theirs in ((config, again), *((getattr(config, p), getattr(again, p)) for p in again.sub_configs)):
        a, b = ours.to_dict(), theirs.to_dict()
        a.pop("dtype"), b.pop("dtype")  # float32 is written where none was said
        assert {k: v for k, v in a.items() if "_config" not in k} == {k: v for k, v in b.items() if "_config" not in k}
    assert again.dtype == (config.dtype or torch.float32)
    assert json.loads(json.dumps(written)) == released_config(again)
    # The ratio may be another, but it means the same width; the rest comes back as it was.
    for key, value in released.items():
        if key != "visual":
            assert written[key] == value
    visual = {"n_queries": 256, **released["visual"]}
    assert int(visual["width"] * visual.pop("mlp_ratio")) == config.vision_config.mlp_width
    assert {"n_queries": 256, **written["visual"]} == visual | {"mlp_ratio": written["visual"]["mlp_ratio"]}


@given(configs(), st.integers(0, 9))
@settings(max_examples=15, deadline=None)
def test_any_checkpoint_there_and_back(released: dict[str, Any], seed: int) -> None:
    state = random_state(released, seed=seed)
    config = QwenVLConfig(**native_config(released))
    visual, hidden = released["visual"], released["hidden_size"]
    assert state["transformer.visual.attn_pool.query"].shape == (config.num_queries, hidden)
    assert state["transformer.visual.conv1.weight"].shape == (visual["width"], 3, *[visual["patch_size"]] * 2)
    assert state["transformer.visual.positional_embedding"].shape == (256, visual["width"])
    assert state["transformer.h.0.mlp.w1.weight"].shape == (released["intermediate_size"] // 2, hidden)
    mlp = int(visual["width"] * visual["mlp_ratio"])
    assert state["transformer.visual.transformer.resblocks.0.mlp.c_fc.weight"].shape == (mlp, visual["width"])
    native = native_view({name: held(tensor) for name, tensor in state.items()}, visual["heads"])
    with torch.device("meta"):
        model = QwenVLForConditionalGeneration(config)
    assert {n: t.shape for n, t in native.items()} == {n: tuple(t.shape) for n, t in model.state_dict().items()}
    read = {name: tensor.read() for name, tensor in native.items()}
    assert all(tuple(read[name].shape) == lazy.shape for name, lazy in native.items())
    back = released_state_dict(read, config)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("size", [{"hidden_size": 384, "num_attention_heads": 6}, {"vocab_size": 91}])
def test_a_model_of_another_size_computes(tmp_path: Path, size: dict[str, int]) -> None:
    config = small_released(**size, kv_channels=64 if "hidden_size" in size else 16)
    config["visual"]["output_dim"] = config["hidden_size"]
    model = QwenVLForConditionalGeneration.from_pretrained(write(tmp_path, config, random_state(config)))
    ids = torch.tensor([[1, 80, 82, 82, 82, 82, 81, 2]])
    assert model(ids, pixel_values=torch.randn(1, 3, 32, 32)).logits.shape == (1, 8, config["vocab_size"])


@pytest.mark.parametrize("limit", ["50KB", "1GB"])
def test_saved_in_shards(official: QwenVLForConditionalGeneration, tmp_path: Path, limit: str) -> None:
    (tmp_path / "model-00001-of-00001.safetensors").write_text("from before")
    official.generation_config.max_new_tokens = 77
    official.save_pretrained(tmp_path, form="released", max_shard_size=limit)
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert (len(shards) > 9) == (limit == "50KB")
    reference = load_file(OFFICIAL / "model.safetensors")
    # The library itself reads what our writer wrote.
    found = {name: tensor for shard in shards for name, tensor in load_file(shard).items()}
    assert found.keys() == reference.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in reference.items())
    if limit == "50KB":
        index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
        assert index["metadata"]["total_size"] == sum(t.nbytes for t in reference.values())
        assert all(name in load_file(tmp_path / shard) for name, shard in list(index["weight_map"].items())[::9])
    again = QwenVLForConditionalGeneration.from_pretrained(tmp_path)
    assert again.generation_config.max_new_tokens == 77
    with pytest.raises(ValueError, match="max_shard_size is a size"):
        official.save_pretrained(tmp_path, form="released", max_shard_size="large")
