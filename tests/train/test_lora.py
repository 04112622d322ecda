"""LoRA in whole runs: additions alone train and are saved, runs continue bit-equal, merged models answer the same."""

from __future__ import annotations

import json
import os
import signal
import sys
import types
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from qwenvl.cli import main
from qwenvl.config import Recipe, load_recipe
from qwenvl.model import QwenVLForConditionalGeneration
from qwenvl.model.load import ModelError, load
from qwenvl.model.lora import LoraError, add_lora, has_lora, is_lora
from qwenvl.train.build import check_start, four_bits, nf4_config, start_from
from qwenvl.train.optim import Optimizers
from qwenvl.train.run import train
from qwenvl.train.stages import freeze
from qwenvl.typed import ConfigError, from_dict, to_dict
from tests.train.helpers import tiny
from tests.train.test_run import losses, start, wait_for

pytest.importorskip("peft")

TARGETS = ["decoder.qkv_proj", "decoder.gate_up_proj", "vision.qkv", "adapter.k_proj", "adapter.proj"]


def lora_recipe(init: Path | str, **changes: object) -> Recipe:
    """The tiny recipe's stages as LoRA of `init`, all three parts, with dropout."""
    data = to_dict(tiny()) | {"model": None, "tokenizer": None, "init": str(init)}
    data["lora"] = {"targets": TARGETS, "rank": 4, "alpha": 8, "dropout": 0.1}
    for stage in data["stages"]:
        stage |= {"optimizer": "adamw", "trains": ["vision", "adapter", "decoder"], "lr": 1e-2}
    return from_dict(Recipe, data | changes, "tiny-lora")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained tiny model."""
    return train(tiny(), tmp_path_factory.mktemp("base") / "run", quiet=True)


@pytest.fixture(scope="module")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA run that nothing interrupted."""
    out = tmp_path_factory.mktemp("lora") / "run"
    train(lora_recipe(base), out, quiet=True)
    return out


def logits(model: QwenVLForConditionalGeneration) -> Tensor:
    """What the model says of two pictures and some text."""
    config = model.config
    torch.manual_seed(0)
    ids = torch.randint(0, 300, (2, 12))
    ids[:, 1], ids[:, 6], ids[:, 2:6] = config.image_start_id, config.image_end_id, config.image_slot_id
    with torch.no_grad():
        return model(input_ids=ids, pixel_values=torch.randn(2, 3, 32, 32).to(model.dtype)).logits


def test_only_additions_learn_and_only_in_parts_that_train(base: Path) -> None:
    recipe = lora_recipe(base)
    model, _ = start_from(base, recipe.lora)
    freeze(model, ("vision", "decoder"))
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learning == {n for n, _ in model.named_parameters() if is_lora(n) and ".adapter." not in n}
    held = {id(p) for o in Optimizers(model, recipe.stages[0]).optimizers for g in o.param_groups for p in g["params"]}
    assert held == {id(p) for n, p in model.named_parameters() if n in learning}


def test_additions_start_as_nothing_and_reach_every_target(base: Path) -> None:
    plain, recipe = load(base).model, lora_recipe(base)
    model, _ = start_from(base, recipe.lora)
    torch.testing.assert_close(logits(model.eval()), logits(plain))
    freeze(model, ("vision", "adapter", "decoder"))
    before = logits(model)
    for part in ("vision_tower", "adapter.k_proj", "adapter.proj", "language_model"):
        with torch.no_grad():
            moved = [p for n, p in model.named_parameters() if "lora_B" in n and part in n]
            assert moved
            for parameter in moved:
                parameter.fill_(0.05)
        after = logits(model)
        assert (after - before).abs().max() > 1e-5, f"the additions of {part} change nothing"
        before = after


def test_the_saved_additions_are_small_and_whole_for_chat(run: Path, base: Path) -> None:
    folder = run / "model"
    held = load_file(folder / "adapter_model.safetensors")
    assert held and all(is_lora(name) for name in held) and not (folder / "model.safetensors").exists()
    loaded = load(folder)
    assert loaded.folder == folder and has_lora(loaded.model)
    assert not torch.equal(logits(loaded.model), logits(load(base).model))
    checkpoint = max((run / "checkpoints").iterdir())
    assert set(load_file(checkpoint / "model.safetensors")) == {
        n for n, _ in loaded.model.named_parameters() if is_lora(n)
    }


def test_peft_reads_the_folder(run: Path, base: Path) -> None:
    from peft import PeftModel

    wrapped = PeftModel.from_pretrained(load(base).model, str(run / "model"))
    torch.testing.assert_close(logits(wrapped.base_model.model), logits(load(run / "model").model))


def test_merging_writes_a_whole_model_with_equal_outputs(
    run: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "whole"
    assert main(["merge", str(run), str(out)]) == 0
    names = {path.name for path in out.iterdir()}
    assert names >= {path.name for path in base.iterdir() if path.name not in ("recipe.yaml",)}
    merged = load(out)
    assert not has_lora(merged.model)
    torch.testing.assert_close(logits(merged.model), logits(load(run / "model").model), atol=1e-5, rtol=1e-4)
    assert main(["chat", "--model", str(out), "What color is it?", "--max-new-tokens", "2"]) == 0
    capsys.readouterr()
    assert main(["merge", str(run), str(out)]) == 2 and "not empty" in capsys.readouterr().err
    assert main(["merge", str(base), str(tmp_path / "x")]) == 2 and "no low-rank additions" in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupted_run_ends_bit_equal_whatever_its_dropout(run: Path, base: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(lora_recipe(base), out)
    wait_for(out, process, 1)
    os.kill(process.pid, signal.SIGTERM)
    process.wait(60)
    assert not (out / "model").exists(), "the run was over before the signal came"
    train(lora_recipe(base), out, quiet=True)
    expected, found = (load_file(folder / "model" / "adapter_model.safetensors") for folder in (run, out))
    assert expected.keys() == found.keys()
    assert all(expected[name].equal(found[name]) for name in expected)


@pytest.mark.slow
def test_two_ranks_give_what_one_gives(base: Path, tmp_path: Path) -> None:
    # without dropout, which every rank draws for its own rows
    changes = {"lora": {"targets": TARGETS, "rank": 4, "alpha": 8}, "save_every": 100, "log_every": 1}
    changes["stages"] = [to_dict(lora_recipe(base).stages[0]) | {"steps": 3}]
    one, two = tmp_path / "one", tmp_path / "two"
    train(lora_recipe(base, **changes), one, quiet=True)
    train(lora_recipe(base, **changes, ranks=2), two, quiet=True)
    for expected, found in zip(losses(one), losses(two), strict=True):
        assert expected[:2] == found[:2] and found[2] == pytest.approx(expected[2], abs=1e-3)


def test_a_frozen_base_keeps_the_type_it_was_saved_in_under_bfloat16(base: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    loaded = load(base, dtype=torch.bfloat16)
    loaded.model.save_pretrained(half)
    loaded.tokenizer.save(half)
    model, _ = start_from(half, lora_recipe(half).lora, torch.bfloat16)
    assert all(p.dtype == (torch.float32 if is_lora(n) else torch.bfloat16) for n, p in model.named_parameters())
    out = tmp_path / "run"
    train(lora_recipe(half, precision="bfloat16", stages=[to_dict(lora_recipe(half).stages[0])]), out, quiet=True)
    curve = [loss for _, _, loss in losses(out)]
    assert curve[-1] < curve[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"targets": ["decoder.q_proj"]}, r"did you mean 'qkv_proj'.*gate_up_proj"),
        ({"targets": ["decoders.qkv_proj"]}, r"did you mean 'decoder'"),
        ({"targets": ["decoder", "decoder.lm_head"]}, "one and the same"),
        ({"targets": ["decoder", "vision.patch_embed"]}, r"'vision.patch_embed' is no linear layer"),
    ],
)
def test_unknown_targets_say_what_there_is(base: Path, changes: dict[str, object], said: str) -> None:
    spec = {"targets": TARGETS, "rank": 4} | changes
    with pytest.raises(ConfigError, match=said):
        check_start(lora_recipe(base, lora=spec))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["lora.targets=[]"], "empty"),
        (["lora.rank=0"], "1 or more"),
        (["lora.dropout=1.0"], "less than 1"),
        (["lora.quantize=int3"], "none of: nf4"),
        (["stages.stage3.trains=[adapter, decoder]"], "trains adapter, but lora.targets"),
        (["lora.targets=[decoder, vision.qkv]"], "which no stage trains"),
        (["stages.stage3.optimizer=muon"], "whole matrices"),
        (["lora.target=x"], "did you mean 'targets'"),
    ],
)
def test_recipes_that_contradict_themselves_say_so(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_recipe("finetune-lora", overrides)


def test_additions_to_a_model_from_nothing_are_refused(tmp_path: Path) -> None:
    data = to_dict(tiny()) | {"lora": {"targets": ["decoder"]}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigError, match="'init'"):
        load_recipe(tmp_path / "r.yaml")


def test_the_packaged_recipe_fits_the_packaged_model() -> None:
    check_start(load_recipe("finetune-lora"))


def test_additions_of_another_model_and_broken_ones_are_named(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    config = json.loads((run / "model" / "adapter_config.json").read_text())
    weights = (run / "model" / "adapter_model.safetensors").read_bytes()
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(weights[:-100])
    with pytest.raises(LoraError, match=r"adapter_model\.safetensors: not readable"):
        load(folder)
    (folder / "adapter_model.safetensors").write_bytes(weights)
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "nano"}))
    with pytest.raises((LoraError, ModelError), match="--base"):
        load(folder)
    (folder / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    with pytest.raises(LoraError, match="use_dora"):
        load(folder)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(LoraError, match="not readable"):
        load(folder)


def test_additions_are_no_start_for_training(run: Path) -> None:
    with pytest.raises(ModelError, match="qwenvl merge"):
        check_start(lora_recipe(run / "model"))


def test_without_peft_the_extra_is_named(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModuleNotFoundError):
        add_lora(load(base).model, lora_recipe(base).lora, "x")  # type: ignore[arg-type]


def test_four_bits_say_what_they_need(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = lora_recipe(base, lora={"targets": TARGETS, "quantize": "nf4"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"needs a CUDA GPU.*lora\.quantize=null"):
        check_start(recipe)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ModuleNotFoundError):
        check_start(recipe)
    monkeypatch.setitem(sys.modules, "bitsandbytes", types.ModuleType("bitsandbytes"))
    options = four_bits()
    config = options["quantization_config"]
    assert options["device_map"] == {"": 3} and config.load_in_4bit and config.bnb_4bit_quant_type == "nf4"
    assert config.bnb_4bit_compute_dtype == torch.bfloat16 and config.bnb_4bit_use_double_quant


def test_additions_learn_beside_four_bits(base: Path) -> None:
    """On a CPU, which bitsandbytes knows too: the layers that are quantised, and the gradients beside them."""
    bitsandbytes = pytest.importorskip("bitsandbytes")
    model = QwenVLForConditionalGeneration.from_pretrained(base, quantization_config=nf4_config(), device_map="cpu")
    kinds = {name: type(module) for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    packed = {name for name, kind in kinds.items() if kind is bitsandbytes.nn.Linear4bit}
    assert packed == {name for name in kinds if name.startswith("model.language_model.")}
    add_lora(model, lora_recipe(base).lora, "tiny")  # type: ignore[arg-type]
    freeze(model, ("vision", "adapter", "decoder"))
    model.train()
    ids = torch.randint(0, 300, (2, 12))
    ids[:, 1], ids[:, 6], ids[:, 2:6] = (
        model.config.image_start_id,
        model.config.image_end_id,
        model.config.image_slot_id,
    )
    model(input_ids=ids, labels=ids, pixel_values=torch.randn(2, 3, 32, 32)).loss.backward()
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert learning and all(is_lora(name) and p.grad is not None for name, p in learning.items())
    assert all(p.grad.abs().sum() > 0 for name, p in learning.items() if "lora_B" in name)
