"""The command: verbs end to end on tiny inputs, and every user's error one message with exit code 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image as PILImage

from qwenvl import __version__
from qwenvl.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one call."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as left:  # argparse
        code = int(left.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The message of a call that must end with 2 and without a trace."""
    code, _, err = run(capsys, *arguments)
    assert code == 2, err
    assert "Traceback" not in err
    assert err.strip()
    return err


def test_version_does_not_load_torch() -> None:
    program = (
        "import sys, qwenvl.cli as c\ntry: c.main(['--version'])\nexcept SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["qwenvl", __version__, "False"]


def test_without_a_verb_and_with_an_unknown_one(capsys: pytest.CaptureFixture[str]) -> None:
    fails(capsys)
    assert "nonsense" in fails(capsys, "nonsense")
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for verb in ("quickstart", "train", "eval", "chat", "inspect", "data"):
        assert verb in out


def test_chat_answers_once(
    capsys: pytest.CaptureFixture[str], tiny_folder: Path, picture: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.png"
    arguments = ("--image", picture, "--draw", target, "--max-new-tokens", 6, "What color is it?")
    code, out, _ = run(capsys, "chat", "--model", tiny_folder, *arguments)
    assert code == 0
    assert f"wrote {target}" in out
    assert PILImage.open(target).size == (480, 320)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_chat_computes_in_the_type_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, picture: Path, dtype: str
) -> None:
    seen = []
    from qwenvl.serve import Chat

    plain_ask = Chat.ask
    monkeypatch.setattr(Chat, "ask", lambda self, *rest: seen.append(self.model.dtype) or plain_ask(self, *rest))
    code, _, _ = run(
        capsys,
        "chat",
        "--model",
        tiny_folder,
        "--dtype",
        dtype,
        "--max-new-tokens",
        3,
        "--raw",
        "--image",
        picture,
        "?",
    )
    assert (code, [str(found) for found in seen]) == (0, [f"torch.{dtype}"])


def test_chat_reads_a_session_from_standard_input(
    capsys: pytest.CaptureFixture[str], tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = iter(["yes?", "/quit"])
    monkeypatch.setattr("builtins.input", lambda prompt="": next(lines))
    code, out, _ = run(capsys, "chat", "--model", tiny_folder, "--max-new-tokens", 3)
    assert code == 0
    assert "/help" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--image", "missing.png", "hi"], "missing.png"),
        (["--image", "TEXT", "hi"], "words.png"),
        (["--draw", "out.png", "hi"], "--image"),
        (["--draw", "out.png", "--image", "PICTURE"], "PROMPT"),
        (["--model", "no/such/folder", "hi"], "no/such/folder"),
        (["--model", "EMPTY", "hi"], "no config.json"),
        (["--model", "MODEL", "--device", "nonsense", "hi"], "nonsense"),
        (["--model", "MODEL", "--max-new-tokens", "0", "hi"], "1 or more"),
        (["--model", "MODEL", "--image", "PICTURE", "--draw", "no/such/out.png", "hi"], "no/such"),
        (["--model", "MODEL", "hi " * 2000], "room for"),
    ],
)
def test_chat_errors(
    capsys: pytest.CaptureFixture[str],
    tiny_folder: Path,
    picture: Path,
    tmp_path: Path,
    arguments: list[str],
    said: str,
) -> None:
    text = tmp_path / "words.png"
    text.write_text("these are words")
    (tmp_path / "empty").mkdir()
    names = {"TEXT": text, "PICTURE": picture, "MODEL": tiny_folder, "EMPTY": tmp_path / "empty"}
    assert said in fails(capsys, "chat", *(names.get(argument, argument) for argument in arguments))


def test_chat_needs_nothing_of_the_extras(tiny_folder: Path, picture: Path) -> None:
    extras = ("pyarrow", "sklearn", "scipy", "skimage", "matplotlib", "fontTools", "dashscope", "tiktoken")
    program = (
        f"import sys\nfor name in {extras}: sys.modules[name] = None\n"
        "from qwenvl.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    chat = ("chat", "--model", tiny_folder, "--image", picture, "--max-new-tokens", "2", "Where is the red star?")
    for arguments in (("--help",), chat):
        done = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_debug_shows_the_trace(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "chat", "--debug", "--image", "missing.png", "hi")
    assert code == 2
    assert "Traceback" in err


def test_train_errors(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "nano" in fails(capsys, "train", "nona")
    assert "no/such.yaml" in fails(capsys, "train", "no/such.yaml")
    assert "seed" in fails(capsys, "train", "nano", "sead=1")
    assert "seed" in fails(capsys, "train", "nano", "--out", tmp_path / "run", "sead=1")
    assert "--nonsense" in fails(capsys, "train", "nano", "--nonsense", "sead=1")
    assert "unrecognized" in fails(capsys, "quickstart", "seed=1")
    assert "expected key=value" in fails(capsys, "train", "nano", "nonsense")
    assert "my.jsonl" in fails(capsys, "train", "nano", "--data", tmp_path / "my.jsonl", "--out", tmp_path / "run")
    assert "--data" in fails(capsys, "train", "nano", "--image-root", tmp_path)
    (tmp_path / "my.jsonl").write_text('{"text": "x"}\n')
    absent = ("--data", tmp_path / "my.jsonl", "--image-root", tmp_path / "absent")
    assert "no such folder" in fails(capsys, "train", "nano", *absent)
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: [")
    assert "YAML" in fails(capsys, "train", broken)


def test_train_on_data_without_a_usable_row(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    data = tmp_path / "my.jsonl"
    data.write_text('{"image": "missing.png", "caption": "a cat"}\nno json\n')
    err = fails(capsys, "train", "nano", "--data", data, "--out", tmp_path / "run")
    assert "my.jsonl" in err
    assert "usable" in err
    err = fails(capsys, "train", "nano", "--data", data, "--out", tmp_path / "strict", "--strict")
    assert "my.jsonl:1" in err


def test_inspect_shows_what_training_sees(
    capsys: pytest.CaptureFixture[str], tiny_folder: Path, picture: Path, tmp_path: Path
) -> None:
    data = tmp_path / "my.jsonl"
    rows = [
        {"image": picture.name, "caption": "a red square"},
        {"image": picture.name, "phrase": "the square", "boxes": [[10, 5, 30, 25]]},
        {"image": picture.name, "phrase": "outside", "boxes": [[10, 5, 3000, 25]]},
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, err = run(capsys, "inspect", data, "--model", tiny_folder)
    assert code == 0
    assert "**a red square<|endoftext|>**" in out
    assert "<ref>the square</ref>**<box>(166,125),(500,625)</box><|endoftext|>**" in out
    assert "my.jsonl:3" in err
    page = tmp_path / "look.html"
    code, out, _ = run(capsys, "inspect", data, "--html", page)
    assert code == 0
    assert "data:image" in page.read_text(encoding="utf-8")
    code, out, _ = run(capsys, "inspect", data, "--packed", "--sequence", 128, "--model", tiny_folder)
    assert code == 0
    assert "padding %" in out
    code, out, _ = run(capsys, "inspect", data, "--task", "referring")
    assert "a red square" not in out


def test_inspect_takes_pictures_from_another_folder(
    capsys: pytest.CaptureFixture[str], tiny_folder: Path, picture: Path, tmp_path: Path
) -> None:
    (tmp_path / "rows").mkdir()
    data = tmp_path / "rows" / "my.jsonl"
    data.write_text(json.dumps({"image": picture.name, "caption": "a red square"}) + "\n")
    for more in ((), ("--packed", "--sequence", 128)):
        arguments = ("inspect", data, "--model", tiny_folder, *more)
        assert "no such file" in fails(capsys, *arguments)
        code, out, _ = run(capsys, *arguments, "--image-root", picture.parent)
        assert code == 0 and "a red square" in out
    assert "no such folder" in fails(capsys, "inspect", data, "--image-root", tmp_path / "absent")


def test_inspect_errors(capsys: pytest.CaptureFixture[str], picture: Path, tmp_path: Path) -> None:
    assert "no/such.jsonl" in fails(capsys, "inspect", "no/such.jsonl")
    data = tmp_path / "my.jsonl"
    data.write_text(json.dumps({"image": picture.name, "caption": "a red square"}) + "\n")
    assert "captoin" in fails(capsys, "inspect", data, "--task", "captoin")
    assert "no sample for" in fails(capsys, "inspect", data, "--task", "ocr")
    assert "longer --sequence" in fails(capsys, "inspect", data, "--packed", "--sequence", 8)
    assert "no/such" in fails(capsys, "inspect", data, "--model", "no/such")
    assert "split" in fails(capsys, "inspect", "scenes:nonsense")


def test_scenes_are_made_and_can_be_looked_at(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("pyarrow")
    code, out, _ = run(capsys, "data", "make-scenes", tmp_path / "scenes", "--count", 4, "--size", 64)
    assert code == 0
    assert "4 scenes" in out
    code, out, _ = run(capsys, "inspect", tmp_path / "scenes", "--task", "vqa", "--count", 2)
    assert code == 0
    assert out.count("── vqa") == 2
    assert "48" in fails(capsys, "data", "make-scenes", tmp_path / "small", "--count", 1, "--size", 10)


def test_eval_prints_a_table_and_writes_the_report(
    capsys: pytest.CaptureFixture[str], tiny_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("sklearn")
    code, out, _ = run(capsys, "eval", "--model", tiny_folder, "--count", 1, "--out", tmp_path / "eval")
    assert code == 0
    assert "caption/attribute_recall" in out
    assert (tmp_path / "eval" / "report.html").is_file()
    assert json.loads((tmp_path / "eval" / "metrics.json").read_text())["settings"]["scenes"] == 1
    assert "no/such" in fails(capsys, "eval", "--model", "no/such")
    assert "0" in fails(capsys, "eval", "--count", "0")


def test_a_missing_package_names_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    pytest.importorskip("sklearn")
    assert "qwenvl[data]" in fails(capsys, "data", "make-scenes", tmp_path / "scenes", "--count", 1)


def test_a_fault_of_the_program_is_not_called_the_users(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*rest: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("qwenvl.config.load_recipe", broken)
    code, _, err = run(capsys, "train", "nano")
    assert code == 1
    assert "--debug" in err


def test_ctrl_c_is_not_an_error(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*rest: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("qwenvl.config.load_recipe", interrupted)
    code, _, err = run(capsys, "train", "nano")
    assert code == 130
    assert "Traceback" not in err


def test_public_names_are_lazy_and_there() -> None:
    import qwenvl

    for name in qwenvl.__all__:
        assert getattr(qwenvl, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        qwenvl.nonsense  # noqa: B018
    assert set(qwenvl.__all__) <= set(dir(qwenvl))
