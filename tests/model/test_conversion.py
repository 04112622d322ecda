"""`qwenvl convert`: there and back, tokenizer and settings along, checked, and nothing half done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import qwenvl.model.convert.conversion as module
from qwenvl import QwenVLForConditionalGeneration, QwenVLProcessor
from qwenvl.cli import main
from qwenvl.model.convert.conversion import convert
from qwenvl.model.convert.files import ModelError, stored_tensors
from qwenvl.text.tokenizer import QwenTokenizer
from tests.model.helpers import OFFICIAL
from tests.model.released import GPTQ, quantized, random_state, small_released, write


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A checkpoint in the released form, in bfloat16, with vocabulary and settings."""
    trained = QwenTokenizer.train_small(["a small world"], 280)
    visual = {"image_start_id": trained.img_start_id}
    config = small_released(vocab_size=trained.vocab_size, visual=visual, torch_dtype="bfloat16")
    folder = write(tmp_path / "source", config, random_state(config, torch.bfloat16), "bin", 3)
    trained.save(tmp_path / "trained")
    from qwenvl.model.convert.tokenizer_files import _write_vocabulary

    _write_vocabulary(tmp_path / "trained" / "tokenizer.json", folder / "qwen.tiktoken")
    (folder / "generation_config.json").write_text('{"chat_format": "chatml", "top_p": 0.3}')
    (folder / "modeling_qwen.py").write_text("raise SystemExit")
    return folder


def equal(a: Path, b: Path) -> None:
    left, right = stored_tensors(a), stored_tensors(b)
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        one, two = tensor.read(), right[name].read()
        assert one.dtype == two.dtype
        assert torch.equal(one, two)


def test_there_and_back(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    native, back = tmp_path / "native", tmp_path / "back"
    assert main(["convert", str(source), str(native), "--max-shard-size", "20KB"]) == 0
    count = len(stored_tensors(source))
    assert f"{count} tensors" in capsys.readouterr().out
    assert json.loads((native / "config.json").read_text())["architectures"] == ["QwenVLForConditionalGeneration"]
    assert len(list(native.glob("*.safetensors"))) > 2
    a, b = (QwenVLForConditionalGeneration.from_pretrained(folder) for folder in (source, native))
    assert a.dtype == b.dtype == torch.bfloat16
    assert a.generation_config.top_p == b.generation_config.top_p == 0.3
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    assert convert(native, back, bars=False).form == "released"
    equal(source, back)
    for name in ("qwen.tiktoken", "generation_config.json"):
        assert (back / name).read_bytes() == (source / name).read_bytes()
    # No code comes along, and nothing is left of the work.
    assert not list(back.glob("*.py"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "native", "source", "trained"]
    assert {path.name for path in back.iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors", "qwen.tiktoken", "tokenizer_config.json"
    }  # fmt: skip


def test_chat_answers_end_at_both_ids(source: Path, tmp_path: Path) -> None:
    tokenizer = QwenTokenizer.load(source)
    published = {"chat_format": "chatml", "eos_token_id": tokenizer.eos_id, "top_p": 0.3}
    (source / "generation_config.json").write_text(json.dumps(published))
    convert(source, tmp_path / "native", bars=False)
    native = json.loads((tmp_path / "native" / "generation_config.json").read_text())
    assert native == published | {"eos_token_id": [tokenizer.eos_id, tokenizer.im_end_id]}
    convert(tmp_path / "native", tmp_path / "back", bars=False)
    assert json.loads((tmp_path / "back" / "generation_config.json").read_text()) == published
    # a base model's continuation ends at one
    published["chat_format"] = "raw"
    (source / "generation_config.json").write_text(json.dumps(published))
    convert(source, tmp_path / "base", bars=False)
    assert json.loads((tmp_path / "base" / "generation_config.json").read_text()) == published


def test_tokenizers_agree(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "native", bars=False)
    (tmp_path / "native" / "qwen.tiktoken").unlink()
    convert(tmp_path / "native", tmp_path / "back", bars=False)
    assert (tmp_path / "back" / "qwen.tiktoken").read_bytes() == (source / "qwen.tiktoken").read_bytes()
    text = "<img></img>a small world, 世界"
    picture = torch.zeros(8, 8, 3, dtype=torch.uint8).numpy()
    ids = [
        QwenVLProcessor.from_pretrained(folder)(text, [picture])["input_ids"].tolist()
        for folder in (source, tmp_path / "native", tmp_path / "back")
    ]
    assert ids[0] == ids[1] == ids[2]


def test_the_reference_checkpoint(tmp_path: Path) -> None:
    convert(OFFICIAL, tmp_path / "native", bars=False)
    convert(tmp_path / "native", tmp_path / "back", bars=False)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path / "back", OFFICIAL))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_gptq_comes_out_plain(tmp_path: Path) -> None:
    config = small_released(torch_dtype="float16", intermediate_size=64)
    packed, plain = quantized(random_state(config), group=16)
    folder = write(tmp_path / "int4", config | {"quantization_config": GPTQ}, packed)
    convert(folder, tmp_path / "plain", "released", bars=False)
    assert "quantization_config" not in (tmp_path / "plain" / "config.json").read_text()
    found = load_file(tmp_path / "plain" / "model.safetensors")
    assert found.keys() == plain.keys()
    assert all(torch.equal(found[name], plain[name]) for name in plain)


def test_not_a_number_is_equal_to_itself(source: Path, tmp_path: Path) -> None:
    state = random_state(small_released())
    state["transformer.ln_f.weight"][0] = float("nan")
    convert(write(tmp_path / "nan", small_released(), state), tmp_path / "out", bars=False)


def test_nothing_is_overwritten(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").touch()
    assert main(["convert", str(source), str(out)]) == 2
    assert f"{out} exists already" in capsys.readouterr().err
    other = tmp_path / "other.partial"
    other.mkdir()
    (other / "precious").touch()
    with pytest.raises(ModelError, match=r"other\.partial is in the way"):
        convert(source, tmp_path / "other", bars=False)
    assert (out / "precious").exists()
    assert (other / "precious").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_conversion_leaves_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(module, "_verify", fail)
    with pytest.raises(error):
        convert(source, tmp_path / "out", bars=False)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.partial").exists()


def test_after_a_killed_conversion_it_starts_over(source: Path, tmp_path: Path) -> None:
    partial = tmp_path / "out.partial"
    partial.mkdir()
    (partial / ".qwenvl-convert").touch()
    (partial / "model.safetensors.partial").write_bytes(b"half")
    convert(source, tmp_path / "out", bars=False)
    assert not partial.exists()
    assert not list((tmp_path / "out").glob("*.partial"))


def test_what_is_written_wrong_is_found(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = module.write_tensors

    def wrong(tensors: object, folder: Path, *rest: object) -> None:
        right(tensors, folder, *rest)  # type: ignore[arg-type]
        path = folder / "model.safetensors"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)

    monkeypatch.setattr(module, "write_tensors", wrong)
    with pytest.raises(ModelError, match=r"is not what .* holds"):
        convert(source, tmp_path / "out", bars=False)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_seen_before(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(ModelError, match="GB free; the checkpoint takes"):
        convert(source, tmp_path / "out", bars=False)


def test_unknown_tensors_stop_it(tmp_path: Path) -> None:
    state = random_state(small_released()) | {"transformer.extra": torch.ones(1)}
    with pytest.raises(ModelError, match=r"hold transformer\.extra, which no Qwen-VL has"):
        convert(write(tmp_path / "a", small_released(), state), tmp_path / "b", bars=False)


def test_what_the_released_form_cannot_say(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Save it natively"):
        convert(tiny_folder, tmp_path / "out", bars=False)
    assert not list(tmp_path.iterdir())
