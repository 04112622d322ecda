"""The interactive session: commands, pictures, errors that do not end it, Ctrl-C that ends an answer only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from PIL import Image as PILImage

from qwenvl.serve import Chat, Generation, Loaded, load
from qwenvl.serve import chat as chat_module
from qwenvl.serve.session import Session


@pytest.fixture(scope="module")
def loaded(tiny_folder: Path) -> Loaded:
    return load(tiny_folder)


class Terminal:
    """What a person types, line by line, and what is written."""

    def __init__(self, lines: Iterable[str | BaseException]) -> None:
        self.lines = iter(lines)
        self.written = ""

    def read(self, prompt: str) -> str:
        line = next(self.lines, EOFError())
        if isinstance(line, BaseException):
            raise line
        return line

    def write(self, text: str) -> None:
        self.written += text


def talk(loaded: Loaded, lines: Iterable[str | BaseException], tokens: int = 6) -> tuple[Session, str]:
    terminal = Terminal(lines)
    chat = Chat(loaded.model, loaded.tokenizer, options=Generation(max_new_tokens=tokens))
    session = Session(chat, read=terminal.read, write=terminal.write)
    session.run()
    return session, terminal.written


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> list[list[str | BaseException]]:
    """Make the model stream given pieces, or raise, instead of generating."""
    answers: list[list[str | BaseException]] = []

    def stream(*rest: object) -> Iterator[str]:
        for piece in answers.pop(0):
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    monkeypatch.setattr(chat_module, "stream", stream)
    return answers


def test_a_real_answer_and_the_end_of_input(loaded: Loaded, picture: Path) -> None:
    session, written = talk(loaded, [f"/image {picture}", "What color is it?", "", "and now?"])
    assert "Picture 1: " in written
    assert "60×40" in written
    assert len(session.chat.turns) == 4
    assert len(session.chat.pictures) == 1


def test_places_and_drawing(
    loaded: Loaded, streams: list[list[str | BaseException]], picture: Path, tmp_path: Path
) -> None:
    streams.append(["<ref>", "红色的", "星星", "</ref>", "<box>", "(100,200),(300,400)", "</box>", "."])
    target = tmp_path / "out.png"
    _, written = talk(loaded, [f"/image {picture}", "在哪里？", f"/draw {target}", "/quit", "never read"])
    assert "红色的星星.\n  红色的星星: 6,8 – 18,16\n" in written
    assert "<box>" not in written
    assert PILImage.open(target).size == (480, 320)


def test_what_goes_wrong_is_said_and_the_session_goes_on(loaded: Loaded, tmp_path: Path) -> None:
    text = tmp_path / "words.txt"
    text.write_text("no picture")
    lines = ["/image", "/image missing.png", f"/image {text}", "/draw out.png", "/nonsense", "/help", "/reset", "yes?"]
    session, written = talk(loaded, lines)
    for expected in (
        "a path is missing",
        "missing.png",
        "words.txt",
        "no answer yet",
        "/nonsense",
        "/draw PATH",
        "forgotten",
    ):
        assert expected in written
    assert len(session.chat.turns) == 2


def test_drawing_says_what_can_not_be_written(
    loaded: Loaded, streams: list[list[str | BaseException]], picture: Path, tmp_path: Path
) -> None:
    streams.append(["yes"])
    lines = [f"/image {picture}", "red?", f"/draw {tmp_path}/no/such/out.png", f"/draw {tmp_path}/out.nonsense"]
    _, written = talk(loaded, lines)
    assert "does not exist" in written
    assert "such as out.png" in written


def test_ctrl_c_stops_the_answer_and_not_the_session(
    loaded: Loaded, streams: list[list[str | BaseException]], picture: Path
) -> None:
    streams += [["The ", "star ", KeyboardInterrupt()], ["yes"]]
    session, written = talk(loaded, [f"/image {picture}", "Where?", "Sure?"])
    assert "stopped" in written
    assert [turn.role for turn in session.chat.turns] == ["user", "assistant", "user", "assistant"]
    assert session.chat.reply is not None
    assert session.chat.reply.raw == "yes"


def test_ctrl_c_before_the_first_word_keeps_the_picture(
    loaded: Loaded, streams: list[list[str | BaseException]], picture: Path
) -> None:
    streams += [[KeyboardInterrupt()], ["yes"]]
    session, _ = talk(loaded, [f"/image {picture}", "Where?", "Where?"])
    assert len(session.chat.turns) == 2
    assert len(session.chat.pictures) == 1


def test_ctrl_c_at_the_prompt_does_not_leave(loaded: Loaded) -> None:
    session, written = talk(loaded, [KeyboardInterrupt(), "yes?", "/quit"])
    assert "/quit leaves" in written
    assert len(session.chat.turns) == 2


def test_pictures_given_at_the_start_go_with_the_first_question(loaded: Loaded, picture: Path) -> None:
    from qwenvl.data.images import load_image

    terminal = Terminal(["red?", "blue?"])
    chat = Chat(loaded.model, loaded.tokenizer, options=Generation(max_new_tokens=2))
    session = Session(chat, [load_image(picture), load_image(picture)], read=terminal.read, write=terminal.write)
    session.run()
    assert len(chat.pictures) == 2
    assert len(chat.turns) == 4


def test_what_a_model_says_can_not_steer_the_terminal(loaded: Loaded, streams: list[list[str | BaseException]]) -> None:
    streams.append(["red\x1b[2J\x07", "\nblue\t"])
    _, written = talk(loaded, ["?"])
    assert "\x1b" not in written
    assert "\x07" not in written
    assert "\nblue\t" in written
