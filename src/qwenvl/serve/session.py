"""The interactive chat in a terminal: history, pictures, streaming, and Ctrl-C that stops an answer and not the
program.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from qwenvl.sample import Image, Region
from qwenvl.serve.chat import Chat, Reply

HELP = """\
/image PATH   show a picture with the next question (several times for several pictures)
/draw PATH    write the picture with the last answer's boxes drawn, labelled
/reset        forget the conversation
/help         this list
/quit         leave (also Ctrl-D)
Ctrl-C stops an answer. Everything else you type is a question; "Picture 2" names the second picture."""

_TAG = re.compile(
    r"<(?P<place>box|quad|img)>|</(?P<end>box|quad|img)>|</?ref>|<imgpad>|<\|(?:endoftext|im_start|im_end|extra_\d+)\|>"
)

Read = Callable[[str], str]
Write = Callable[[str], object]


class Session:
    """A conversation at a prompt. `read` gives a line or raises EOFError, `write` shows text without adding a line
    break.

    `pictures` go with the first question.
    """

    def __init__(
        self, chat: Chat, pictures: Sequence[Image] = (), read: Read | None = None, write: Write | None = None
    ) -> None:
        self.chat = chat
        self._read, self._write = read or input, write or _to_stdout
        self._pictures = list(pictures)

    def show(self, path: str | Path) -> None:
        """Take a picture for the next question. Raises ImageError when it is none."""
        from qwenvl.data.images import load_image

        self._pictures.append(load_image(Path(path).expanduser(), name=str(path), verify=True))
        shown = len(self.chat.pictures) + len(self._pictures)
        self._write(f"Picture {shown}: {path} ({self._pictures[-1].width}×{self._pictures[-1].height})\n")

    def run(self) -> None:
        """Questions and answers until /quit or the end of input."""
        self._write("Ask about pictures; /help lists the commands.\n")
        while True:
            try:
                line = self._read("> ").strip()
            except EOFError:
                self._write("\n")
                return
            except KeyboardInterrupt:
                self._write("\n(/quit leaves)\n")
                continue
            if line in ("/quit", "/exit"):
                return
            if line:
                self._line(line)

    def ask(self, question: str) -> Reply | None:
        """Ask, show the answer as it comes, then the places it names. None when Ctrl-C came before the first word."""
        pictures, self._pictures = self._pictures, []
        pieces = self.chat.stream(question, pictures)
        try:
            for piece in visible(pieces):
                self._write(printable(piece))
        except KeyboardInterrupt:
            pieces.close()
            self._write(" … stopped")
            if self.chat.reply is None:
                self._pictures = pictures  # nothing was said: the question was not asked
        except Exception:
            self._pictures = pictures
            raise
        self._write("\n")
        if self.chat.reply is not None:
            self._write(places(self.chat.reply))
        return self.chat.reply

    def _line(self, line: str) -> None:
        """One command or question; what goes wrong with it is said, and the session goes on."""
        command, _, argument = line.partition(" ")
        argument = argument.strip().strip("'\"")
        try:
            if command == "/help":
                self._write(HELP + "\n")
            elif command == "/reset":
                self.chat.reset()
                self._pictures = []
                self._write("The conversation is forgotten.\n")
            elif command == "/image":
                self._need(argument, "/image photo.png")
                self.show(argument)
            elif command == "/draw":
                self._need(argument, "/draw out.png")
                draw_to(self.chat.reply, argument)
                self._write(f"wrote {argument}\n")
            elif command.startswith("/") and "/" not in command[1:] and command[1:].isalpha():
                self._write(f"There is no command {command}; /help lists them.\n")
            else:
                self.ask(line)
        except (ValueError, OSError) as error:
            self._write(f"{error}\n")

    def _need(self, argument: str, example: str) -> None:
        if not argument:
            raise ValueError(f"a path is missing, such as: {example}")


def draw_to(reply: Reply | None, path: str | Path) -> None:
    """Write the picture that an answer speaks of, its boxes drawn. Raises ValueError or OSError with a message for
    people.
    """
    if reply is None:
        raise ValueError("there is no answer yet to draw")
    target = Path(path).expanduser()
    picture = reply.draw()
    if not target.parent.is_dir():
        raise ValueError(f"{target} can not be written: the folder {target.parent} does not exist")
    try:
        picture.save(target)
    except ValueError:
        raise ValueError(f"{target}: name a picture file such as out.png or out.jpg") from None


def visible(pieces: Iterable[str]) -> Iterator[str]:
    """Generated pieces as a person reads them: without tags, control tokens and coordinates.

    Until the answer is whole nothing can be parsed, so this drops what stands between the tags of a place; letters
    there mean that the model never closed it, and are shown. Each special token is a piece, or lies whole within one.
    """
    hidden = ""
    for piece in pieces:
        shown = ""
        at = 0
        for tag in (*_TAG.finditer(piece), None):
            words = piece[at : tag.start() if tag else len(piece)]
            if hidden in ("box", "quad") and any(c.isalpha() for c in words):
                hidden = ""
            if not hidden:
                shown += words
            if tag is None:
                break
            at = tag.end()
            hidden = tag["place"] or ("" if tag["end"] == hidden else hidden)
        if shown:
            yield shown


def printable(text: str) -> str:
    """The text without what would steer a terminal: control characters but line breaks and tabs become U+FFFD."""
    return "".join("\ufffd" if unicodedata.category(c) == "Cc" and c not in "\n\t" else c for c in text)


def places(reply: Reply) -> str:
    """The places an answer names, a line each, in pixels: "  the red star: 12,30 – 40,58 (Picture 2)"; empty without
    any.
    """
    lines = []
    for region in reply.regions:
        phrase = printable(region.phrase or "box")
        where = f" (Picture {region.image + 1})" if len(reply.images) > 1 else ""
        lines += [f"  {phrase}: {corners}{where}\n" for corners in _corners(region)]
    return "".join(lines)


def _corners(region: Region) -> list[str]:
    boxes = [*region.boxes, *(quad.box for quad in region.quads)]
    return [f"{box.x0:.0f},{box.y0:.0f} – {box.x1:.0f},{box.y1:.0f}" for box in boxes]


def _to_stdout(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
