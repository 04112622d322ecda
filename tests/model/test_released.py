"""Reading the released form: every kind of file, GPTQ, names on the Hub, tied and other sizes, and little memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText

from qwenvl import QwenVLForConditionalGeneration, QwenVLProcessor
from qwenvl.hub import is_hub_name
from qwenvl.model import QwenVLConfig, QwenVLModel
from qwenvl.model.convert.files import ModelError
from qwenvl.model.convert.official import released_state_dict
from qwenvl.model.load import load
from qwenvl.text.tokenizer import QwenTokenizer
from tests.model.helpers import OFFICIAL
from tests.model.released import (
    GPTQ,
    official_config,
    official_state,
    quantize,
    quantized,
    random_state,
    small_released,
    write,
)

from_pretrained = QwenVLForConditionalGeneration.from_pretrained


def same(model: QwenVLForConditionalGeneration, state: dict[str, Tensor]) -> None:
    """The model holds these released tensors, no more, to the bit."""
    ours = released_state_dict(model.state_dict(), model.config)
    assert ours.keys() == state.keys()
    for name, tensor in state.items():
        assert ours[name].dtype == tensor.dtype, name
        assert torch.equal(ours[name], tensor), name


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
@pytest.mark.parametrize("shards", [1, 3])
def test_every_kind_of_file(tmp_path: Path, kind: str, shards: int) -> None:
    # Shards dealt out tensor by tensor: w1 and w2 of a layer lie in different files.
    state = official_state()
    folder = write(tmp_path / "a", official_config(), state, kind, shards)
    model, info = from_pretrained(folder, output_loading_info=True)
    same(model, state)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not model.training
    assert model.config.name_or_path == str(folder)


def test_strided_and_shared_tensors_of_pytorch_files(tmp_path: Path) -> None:
    state = official_state()
    saved = dict(state)
    name = "transformer.h.0.mlp.c_proj.weight"
    saved[name] = state[name].T.contiguous().T
    first, second = "transformer.h.0.ln_1.weight", "transformer.h.1.ln_1.weight"
    both = torch.stack([state[first], state[second]])
    saved[first], saved[second] = both[0], both[1]
    same(from_pretrained(write(tmp_path, official_config(), saved, "bin")), state)


def test_auto_classes_and_the_model_without_a_head(tmp_path: Path) -> None:
    state = official_state()
    folder = write(tmp_path, official_config(), state, "bin", 2)
    assert isinstance(AutoConfig.from_pretrained(folder), QwenVLConfig)
    assert isinstance(AutoModelForImageTextToText.from_pretrained(folder), QwenVLForConditionalGeneration)
    bare = AutoModel.from_pretrained(folder)
    assert isinstance(bare, QwenVLModel)
    assert torch.equal(bare.language_model.embed_tokens.weight, state["transformer.wte.weight"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_types(tmp_path: Path, dtype: torch.dtype) -> None:
    name = str(dtype).removeprefix("torch.")
    state = random_state(small_released(), dtype)
    said = write(tmp_path / "said", small_released(torch_dtype=name), state)
    unsaid = write(tmp_path / "unsaid", {k: v for k, v in small_released().items() if k != "torch_dtype"}, state)
    for folder in (said, unsaid):
        same(from_pretrained(folder), state)
    assert from_pretrained(said, dtype="float32").dtype == torch.float32
    assert from_pretrained(said, torch_dtype=torch.float32).dtype == torch.float32


def test_generation_settings_come_along(tmp_path: Path) -> None:
    folder = write(tmp_path, small_released(), random_state(small_released()))
    settings = {"chat_format": "chatml", "eos_token_id": 7, "pad_token_id": 7, "do_sample": True, "top_p": 0.3}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    model = from_pretrained(folder)
    assert model.generation_config.eos_token_id == 7
    assert model.generation_config.top_p == 0.3
    assert model.generation_config.chat_format == "chatml"


def test_tied_embeddings_need_no_head(tmp_path: Path) -> None:
    config = small_released(tie_word_embeddings=True)
    state = random_state(config)
    del state["lm_head.weight"]
    model = from_pretrained(write(tmp_path / "a", config, state))
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight
    model.save_pretrained(tmp_path / "b", form="released")
    again = from_pretrained(tmp_path / "b")
    assert again.lm_head.weight is again.model.language_model.embed_tokens.weight
    assert torch.equal(again.lm_head.weight, state["transformer.wte.weight"])


def test_tensors_that_follow_from_the_configuration_are_passed_over(tmp_path: Path) -> None:
    state = random_state(small_released())
    more = {"transformer.rotary_emb.inv_freq": torch.ones(8), "transformer.h.0.attn.masked_bias": torch.ones(1)}
    _, info = from_pretrained(write(tmp_path, small_released(), state | more), output_loading_info=True)
    assert not info["unexpected_keys"]


# -- GPTQ -------------------------------------------------------------------------------------------------------------


def test_int4_gives_the_dequantised_numbers(tmp_path: Path) -> None:
    packed, plain = quantized(official_state())
    config = official_config() | {"quantization_config": GPTQ, "torch_dtype": "float16", "fp16": True, "fp32": False}
    folder = write(tmp_path, config, packed, shards=2)
    model = from_pretrained(folder)
    assert model.dtype == torch.float16
    same(model, plain)
    wide = from_pretrained(folder, dtype=torch.float32)
    same(wide, {name: tensor.float() for name, tensor in plain.items()})
    # Rounded to 16 steps, the weights are still the model's.
    whole = from_pretrained(OFFICIAL, dtype=torch.float32)
    a, b = (m.model.language_model.layers[0].gate_up_proj.weight for m in (wide, whole))
    a, b = a.detach(), b.detach()
    assert 0 < float((a - b).abs().max()) < 0.6 * float(b.abs().max()) / 7.5


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({"symmetric": False}, {"sym": False}),
        ({"symmetric": False, "shuffled": True}, {"sym": False, "desc_act": True}),
        ({"symmetric": False, "stored": 0}, {"sym": False, "checkpoint_format": "gptq_v2"}),
        # Some programs store the zero point itself and still call it "gptq".
        ({"stored": 0}, {"sym": True}),
        ({"group": 16}, {"group_size": 16}),
        ({"group": 32}, {"group_size": -1}),
        ({"bits": 8}, {"bits": 8}),
    ],
)
def test_other_ways_of_gptq(tmp_path: Path, options: dict[str, Any], settings: dict[str, Any]) -> None:
    config = small_released(hidden_size=32, intermediate_size=64, torch_dtype="float16")
    packed, plain = quantized(random_state(config), **{"group": 16, **options})
    folder = write(tmp_path, config | {"quantization_config": GPTQ | settings}, packed)
    same(from_pretrained(folder), plain)


def test_quantisation_in_the_file_of_its_own(tmp_path: Path) -> None:
    config = small_released(torch_dtype="float16", intermediate_size=64)
    packed, plain = quantized(random_state(config), group=16)
    folder = write(tmp_path, config, {k: v for k, v in packed.items() if not k.endswith("g_idx")})
    (folder / "quantize_config.json").write_text(json.dumps({"bits": 4, "group_size": 16, "sym": True}))
    (folder / "model.safetensors").rename(folder / "gptq_model-4bit-128g.safetensors")
    same(from_pretrained(folder), plain)


def test_packing_of_the_tests_is_that_of_the_format() -> None:
    # Two numbers by hand: row 0 in the lowest bits, the zero point 8 stored as 7.
    state, _ = quantize(torch.tensor([[1.0, -1.0, 0, 0, 0, 0, 0, 0]] * 8), group=8)
    # The scale is 2/15 in float16: 1 → 8 + round(7.5) = 15 at most, −1 → 8 − 8 = 0 or 1; zeros → 8.
    word = state["qweight"][0, 0].item() & 0xFFFFFFFF
    assert word & 0xF == 15
    assert (word >> 4) & 0xF in (0, 1)
    assert word >> 8 == 0x888888
    assert state["qzeros"].tolist() == [[0x77777777]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c, s: c["quantization_config"].update(quant_method="awq"), "method 'awq'"),
        (lambda c, s: c["quantization_config"].update(bits=3), "to 3 bits"),
        (lambda c, s: s.pop("transformer.h.0.mlp.w1.scales"), r"mlp\.w1 has no scales"),
        (lambda c, s: s.update({"transformer.h.0.mlp.w1.scales": torch.ones(1, 2).half()}), "do not fit each other"),
        (lambda c, s: s["transformer.h.0.mlp.w1.bias"].add_(1), r"w1\.bias is not zero"),
        (lambda c, s: s["transformer.h.0.mlp.w1.g_idx"].add_(99), "g_idx names a group"),
    ],
)
def test_bad_gptq(tmp_path: Path, change: Any, said: str) -> None:
    config = small_released(torch_dtype="float16", intermediate_size=64, quantization_config=dict(GPTQ))
    packed, _ = quantized(random_state(config), group=16)
    change(config, packed)
    with pytest.raises(ModelError, match=said):
        from_pretrained(write(tmp_path, config, packed))


# -- names on the Hub -------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Hugging Face's cache with the repository "Qwen/Small" in it."""
    snapshot = tmp_path / "models--Qwen--Small" / "snapshots" / ("a" * 40)
    tokenizer = QwenTokenizer.train_small(["a small world"], 256)
    start = tokenizer.img_start_id
    config = small_released(vocab_size=tokenizer.vocab_size, visual={"image_start_id": start})
    write(snapshot, config, random_state(config), "bin", 2)
    tokenizer.save(snapshot)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("a" * 40)
    return tmp_path


def test_a_name_on_the_hub(cache: Path) -> None:
    model = from_pretrained("Qwen/Small", cache_dir=cache, local_files_only=True)
    same(model, random_state(small_released(vocab_size=473, visual={"image_start_id": 470})))
    assert model.config.name_or_path == "Qwen/Small"
    processor = QwenVLProcessor.from_pretrained("Qwen/Small", cache_dir=cache, local_files_only=True)
    assert processor.num_queries == 4
    assert isinstance(
        AutoModelForImageTextToText.from_pretrained("Qwen/Small", cache_dir=cache, local_files_only=True),
        QwenVLForConditionalGeneration,
    )


def test_load_takes_a_name_on_the_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(cache))
    loaded = load("Qwen/Small")
    assert loaded.folder.name == "a" * 40
    with pytest.raises(
        ModelError, match=r"no folder Qwen/Nothing\. As a name .* not in the local cache, and HF_HUB_OFF"
    ):
        load("Qwen/Nothing")


def test_what_may_be_a_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_hub_name("Qwen/Qwen-VL-Chat")
    for no in ("nano", "a/b/c", "./a", "../a", "/a", "~/a", "a/..", "a/b?c", "https://a/b", "a/"):
        assert not is_hub_name(no), no
    (tmp_path / "Qwen" / "Qwen-VL-Chat").mkdir(parents=True)
    assert not is_hub_name("Qwen/Qwen-VL-Chat")


# -- memory -----------------------------------------------------------------------------------------------------------

_PEAK = """
import sys
from pathlib import Path
from qwenvl.model import QwenVLForConditionalGeneration as Model

def highest():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

small, large = sys.argv[1:]
Model.from_pretrained(small)
Path("/proc/self/clear_refs").write_text("5")
before = highest()
model = Model.from_pretrained(large)
print(highest() - before, sum(p.numel() * p.element_size() for p in model.parameters()))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the peak of memory as Linux tells it")
@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_memory_is_the_model_and_no_more_than_a_shard(tmp_path: Path, kind: str) -> None:
    small = write(tmp_path / "small", small_released(), random_state(small_released()))
    size = {"hidden_size": 640, "intermediate_size": 6400, "kv_channels": 320, "num_hidden_layers": 5}
    config = small_released(**size, visual={"output_dim": 640}, torch_dtype="bfloat16")
    large = write(tmp_path / "large", config, random_state(config, torch.bfloat16), kind, shards=4)
    shard = max(path.stat().st_size for path in large.iterdir())
    command = [sys.executable, "-c", _PEAK, str(small), str(large)]
    peak, model = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert model > 60e6
    assert 0.8 * model < peak < model + shard


def test_a_folder_of_the_hubs_cache_is_left_as_it_is(cache: Path) -> None:
    before = sorted(cache.rglob("*"))
    from_pretrained("Qwen/Small", cache_dir=cache, local_files_only=True)
    assert sorted(path for path in cache.rglob("*") if ".no_exist" not in str(path)) == before
    shutil.rmtree(cache / "models--Qwen--Small")
    with pytest.raises(OSError, match="no folder"):
        from_pretrained("Qwen/Small", cache_dir=cache, local_files_only=True)
