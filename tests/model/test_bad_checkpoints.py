"""Bad checkpoints: one clear error that names the file and the fix, from `from_pretrained`, `load` and the CLI."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from qwenvl import QwenVLForConditionalGeneration, QwenVLProcessor
from qwenvl.cli import main
from qwenvl.model.convert.conversion import convert
from qwenvl.model.convert.files import ModelError
from qwenvl.model.convert.tokenizer_files import _write_vocabulary
from qwenvl.model.load import load
from qwenvl.text.tokenizer import QwenTokenizer
from tests.model.released import random_state, small_released, write

Break = Callable[[Path], object]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small qwen.tiktoken; `<img>` has the id 80 + 400."""
    folder = tmp_path_factory.mktemp("tokenizer")
    trained = QwenTokenizer.train_small(["a small world of words"], 272)
    trained.save(folder)
    _write_vocabulary(folder / "tokenizer.json", folder / "qwen.tiktoken")
    return folder / "qwen.tiktoken"


@pytest.fixture(params=["safetensors", "bin"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, tokenizer: Path) -> Path:
    start = QwenTokenizer.load(tokenizer.parent).img_start_id
    config = small_released(vocab_size=start + 20, visual={"image_start_id": start})
    folder = write(tmp_path / "model", config, random_state(config), request.param, 2)
    (folder / "qwen.tiktoken").write_bytes(tokenizer.read_bytes())
    return folder


def shard(folder: Path, number: int = 1) -> Path:
    return next(folder.glob(f"*model-0000{number}-of-00002.*"))


def index(folder: Path) -> Path:
    return next(folder.glob("*.index.json"))


def edit(path: Path, change: Callable[[dict], object]) -> None:
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def cut(path: Path, part: float = 0.6) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])


def rewrite(folder: Path, **changes: torch.Tensor) -> None:
    """Write the weights anew with some tensors replaced."""
    config = json.loads((folder / "config.json").read_text())
    state = random_state(config) | {name.replace("__", "."): tensor for name, tensor in changes.items()}
    kind = "bin" if shard(folder).suffix == ".bin" else "safetensors"
    write(folder, config, state, kind, 2)


CASES: list[tuple[str, Break, str]] = [
    ("no config", lambda f: (f / "config.json").unlink(), r"model is no checkpoint folder: it has no config\.json"),
    ("config no JSON", lambda f: (f / "config.json").write_text("{"), r"config\.json is no JSON .*again"),
    ("config no object", lambda f: (f / "config.json").write_text("[]"), r"config\.json must hold a JSON object"),
    ("text only", lambda f: edit(f / "config.json", lambda c: c.pop("visual")), "model: .*text model Qwen"),
    (
        "another model",
        lambda f: edit(f / "config.json", lambda c: c.update(model_type="llama")),
        r"config\.json: model_type is 'llama'.*another model",
    ),
    (
        "sizes that cannot be",
        lambda f: edit(f / "config.json", lambda c: c["visual"].update(image_size=33)),
        "image_size 33 is no multiple of patch_size 8",
    ),
    ("missing shard", lambda f: shard(f).unlink(), r"model-00001-of-00002\.\w+ is missing, which .* lists: download"),
    ("cut short", lambda f: cut(shard(f)), r"model-00001-of-00002\.\w+ .*download or copy"),
    ("empty shard", lambda f: shard(f).write_bytes(b""), r"model-00001-of-00002\.\w+ .*download or copy"),
    (
        "LFS pointer",
        lambda f: shard(f).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        "Git LFS pointer",
    ),
    (
        "index names more",
        lambda f: edit(index(f), lambda i: i["weight_map"].update({"transformer.x": shard(f).name})),
        r"00001-of-00002\.\w+ has no tensor transformer\.x, which .*index\.json says",
    ),
    (
        "index names less",
        lambda f: edit(index(f), lambda i: i["weight_map"].pop("transformer.wte.weight")),
        r"lack transformer\.wte\.weight",
    ),
    (
        "index leads elsewhere",
        lambda f: edit(index(f), lambda i: i["weight_map"].update({"transformer.x": "../secret.safetensors"})),
        "no .safetensors or .bin file beside it",
    ),
    ("index without a map", lambda f: index(f).write_text("{}"), "has no weight_map"),
    ("no index", lambda f: index(f).unlink(), r"no model\.safetensors\.index\.json|has no weights"),
    (
        "wrong shape",
        lambda f: rewrite(f, transformer__ln_f__weight=torch.ones(31)),
        r"tensor transformer\.ln_f\.weight has the shape \[31\], but by config\.json it must be \[32\]",
    ),
    (
        "wrong rank",
        lambda f: rewrite(f, transformer__h__0__mlp__w2__weight=torch.ones(())),
        r"mlp\.w2\.weight has the shape \[\]",
    ),
    (
        "generation settings no JSON",
        lambda f: (f / "generation_config.json").write_text("{"),
        r"generation_config\.json",
    ),
    (
        "more layers wanted",
        lambda f: edit(f / "config.json", lambda c: c.update(num_hidden_layers=2)),
        r"lack transformer\.h\.1\..* and \d+ more",
    ),
]


@pytest.mark.parametrize(("change", "said"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_bad_folders(folder: Path, change: Break, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    change(folder)
    with pytest.raises(ModelError, match=said):
        QwenVLForConditionalGeneration.from_pretrained(folder)
    with pytest.raises(ModelError, match=said):
        load(folder)
    with pytest.raises(ModelError, match=said):
        convert(folder, folder.parent / "out", bars=False)
    assert main(["chat", "--model", str(folder), "hi"]) == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert str(folder) in message
    assert len(message.splitlines()) == 1


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no folder .*nothing\. .*config\.json"):
        QwenVLForConditionalGeneration.from_pretrained(tmp_path / "nothing")
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="is a file, not a folder"):
        QwenVLForConditionalGeneration.from_pretrained(tmp_path / "file")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="PEFT adapter"):
        QwenVLForConditionalGeneration.from_pretrained(tmp_path)


@pytest.mark.parametrize("part", [0.97, 0.9, 0.5])
def test_a_tokenizer_cut_short(folder: Path, part: float) -> None:
    # Cut at the end of a line: what is left reads well, but gives other ids to the special tokens.
    path = folder / "qwen.tiktoken"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: int(len(lines) * part)]))
    with pytest.raises(ModelError, match=r"qwen\.tiktoken.*(cut short|damaged|\d+ lines too early)"):
        load(folder)
    with pytest.raises(ValueError, match=r"qwen\.tiktoken.*(cut short|damaged|\d+ lines too early)"):
        QwenVLProcessor.from_pretrained(folder)
    with pytest.raises(ModelError, match=r"qwen\.tiktoken.*(cut short|damaged|\d+ lines too early)"):
        convert(folder, folder.parent / "out", bars=False)
    assert not (folder.parent / "out").exists()


def test_a_tokenizer_cut_within_a_line(folder: Path) -> None:
    cut(folder / "qwen.tiktoken", 0.995)
    with pytest.raises(ModelError, match=r"qwen\.tiktoken"):
        load(folder)


class _Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("made-by-a-pickle",)


def test_code_in_a_pytorch_file_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write(tmp_path / "model", small_released(), random_state(small_released()), "bin")
    torch.save({"a": _Code()}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="holds more than tensors"):
        QwenVLForConditionalGeneration.from_pretrained(folder)
    assert not (tmp_path / "made-by-a-pickle").exists()


@pytest.mark.parametrize("content", [[torch.ones(1)], {"a": {"b": torch.ones(1)}}])
def test_other_contents_of_a_pytorch_file(tmp_path: Path, content: object) -> None:
    folder = write(tmp_path, small_released(), random_state(small_released()), "bin")
    torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="dictionary of tensors and nothing else"):
        QwenVLForConditionalGeneration.from_pretrained(folder)


def test_the_old_format_of_pytorch(tmp_path: Path) -> None:
    state = random_state(small_released())
    folder = write(tmp_path, small_released(), state, "bin")
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    with pytest.raises(ModelError, match=r"before 1\.6.*save it anew"):
        QwenVLForConditionalGeneration.from_pretrained(folder)


def test_a_native_folder(tiny_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    config = json.loads((tiny_folder / "config.json").read_text())
    state = load_file(tiny_folder / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(state | {"model.adapter.query": torch.ones(4, 15)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"model\.adapter\.query has the shape \[4, 15\].*\[4, 16\]"):
        QwenVLForConditionalGeneration.from_pretrained(tmp_path)
    cut(tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged or cut short"):
        QwenVLForConditionalGeneration.from_pretrained(tmp_path)
    config["vision_config"]["heads"] = 3
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"config\.json: .*cannot be split into 3 heads"):
        QwenVLForConditionalGeneration.from_pretrained(tmp_path)
