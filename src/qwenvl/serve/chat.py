"""A conversation about pictures: questions in, answers out with their boxes in pixels of the picture they speak of."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qwenvl.data.images import load_image
from qwenvl.model.convert.tokenizer_files import check_tokenizer
from qwenvl.model.processor import QwenVLProcessor
from qwenvl.sample import Image, Part, Region, Text, Turn
from qwenvl.serve.draw import draw_answer
from qwenvl.serve.engine import Generation, generate, stream
from qwenvl.text import markup
from qwenvl.text.chatml import DEFAULT_SYSTEM, dialogue_sample, picture_meant, window
from qwenvl.text.geometry import box_from_grid, quad_from_grid
from qwenvl.text.render import Example, render

if TYPE_CHECKING:
    from PIL import Image as PILImage

    from qwenvl.data.images import Source
    from qwenvl.model.qwenvl import QwenVLForConditionalGeneration
    from qwenvl.text.tokenizer import QwenTokenizer


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `raw` is as generated, with tags; `text` are its plain words.

    `regions` are what it points at, in pixels of `images[region.image]`; `images` are the conversation's pictures so
    far.
    """

    raw: str
    text: str
    regions: tuple[Region, ...]
    images: tuple[Image, ...]

    @property
    def picture(self) -> int | None:
        """The number (from 0) of the picture that most regions are in; the last one when nothing is pointed at; None
        without any.
        """
        if not self.images:
            return None
        counts = [sum(region.image == i for region in self.regions) for i in range(len(self.images))]
        return max(range(len(counts)), key=lambda i: (counts[i], i))

    def draw(self, picture: int | None = None) -> PILImage.Image:
        """One of the conversation's pictures (default: `picture`) with this answer's boxes drawn and labelled.

        Raises ValueError when the conversation has no picture or not that many, OSError when it can not be decoded.
        """
        chosen = self.picture if picture is None else picture
        if chosen is None:
            raise ValueError("there is nothing to draw on: the conversation has no picture")
        if not 0 <= chosen < len(self.images):
            raise ValueError(f"there is no picture {chosen + 1}: the conversation has {len(self.images)}")
        return draw_answer(self.images[chosen], [region for region in self.regions if region.image == chosen])


class Chat:
    """A conversation with a model, which it remembers. Not for use from several threads at once.

    `tokenizer` is the model's, or its processor, which holds one. `fetch` gets pictures that are given by address.
    `max_tokens` bounds what the model is shown, answer included: older exchanges are left out first. It defaults to
    the length that the model was made for. Pictures are numbered in the order given ("Picture 1: …"), so a question
    may name them. Raises ValueError where model and tokenizer are not of the same checkpoint.
    """

    def __init__(
        self,
        model: QwenVLForConditionalGeneration,
        tokenizer: QwenVLProcessor | QwenTokenizer,
        system: str = DEFAULT_SYSTEM,
        options: Generation | None = None,
        max_tokens: int | None = None,
        fetch: Callable[[str], bytes] | None = None,
    ) -> None:
        self.model, self.system, self.fetch = model, system, fetch
        self.tokenizer = tokenizer.tokenizer if isinstance(tokenizer, QwenVLProcessor) else tokenizer
        check_tokenizer(self.tokenizer, model.config)
        self.options = options or Generation()
        self.max_tokens = max_tokens or int(model.config.text_config.seq_length)
        self.turns: list[Turn] = []
        self.reply: Reply | None = None

    @property
    def pictures(self) -> tuple[Image, ...]:
        """All pictures of the conversation in the order given: "Picture 1" is the first."""
        return pictures_of(self.turns)

    def reset(self) -> None:
        """Forget the conversation."""
        self.turns, self.reply = [], None

    def ask(self, question: str | Sequence[Part], images: Sequence[Source] = ()) -> Reply:
        """Answer a question about `images` (given now, as paths or what else `load_image` takes) and the conversation.

        A question is plain text, which is never read as markup, or parts: `(Region("This", boxes=(…,)), Text(" is"))`
        points at a place. Raises `qwenvl.data.images.ImageError` for what is no picture, ValueError when the question
        alone is too long for the model.
        """
        asked, example = self._prompt(question, images)
        ids = generate(self.model, self.tokenizer, [example], self._options(example))[0]
        return self._answered(asked, self.tokenizer.decode(ids))

    def stream(
        self,
        question: str | Sequence[Part],
        images: Sequence[Source] = (),
        stop: threading.Event | None = None,
    ) -> Generator[str, None, None]:
        """Like `ask`, piece by piece; the pieces joined are `Reply.raw`, and the whole `Reply` is in `reply`
        afterwards.

        An answer that is stopped (by `stop`, by closing the iterator, by Ctrl-C) stays in the conversation as far as
        it came.
        """
        asked, example = self._prompt(question, images)
        said: list[str] = []
        self.reply = None
        try:
            with closing(stream(self.model, self.tokenizer, example, self._options(example), stop)) as pieces:
                for piece in pieces:
                    said.append(piece)
                    yield piece
        except Exception:
            said.clear()  # the model failed: as if never asked
            raise
        finally:
            if said:
                self._answered(asked, "".join(said))
        if not said:
            self._answered(asked, "")

    def _prompt(self, question: str | Sequence[Part], images: Sequence[Source]) -> tuple[list[Turn], Example]:
        """The whole conversation with the question as its last turn, and what the model is shown of it."""
        loaded = tuple(load_image(image, verify=True, paths=True, fetch=self.fetch) for image in images)
        parts = (Text(question),) if isinstance(question, str) else tuple(question)
        asked = [*self.turns, Turn("user", (*loaded, *parts))]
        room = self.max_tokens - min(self.options.max_new_tokens, self.max_tokens // 4)
        alone = self._render(window(asked, 0, lambda _: 1), asked)
        if len(alone.ids) > room:
            raise ValueError(
                f"the question takes {len(alone.ids)} tokens ({len(alone.slots)} pictures among them), "
                f"more than the {room} that this model has room for beside its answer: ask less or show fewer pictures"
            )
        # The system's words are counted with the question and with the history: a few tokens are left unused.
        kept = window(asked, room - len(alone.ids), lambda turns: len(self._render(turns, turns).ids))
        return asked, self._render(kept, asked)

    def _render(self, kept: Sequence[Turn], asked: Sequence[Turn]) -> Example:
        """The prompt of `kept`, its pictures numbered as in the whole conversation `asked`."""
        first = 1 + len(pictures_of(asked)) - len(pictures_of(kept))
        return chat_example(kept, self.tokenizer, int(self.model.config.num_queries), self.system, first)

    def _options(self, example: Example) -> Generation:
        room = self.max_tokens - len(example.ids)
        return replace(self.options, max_new_tokens=max(1, min(self.options.max_new_tokens, room)))

    def _answered(self, asked: list[Turn], raw: str) -> Reply:
        images = pictures_of(asked)
        parts = answer_parts(raw, words_of(asked[-1]), images)
        self.turns = [*asked, Turn("assistant", parts)]
        self.reply = Reply(raw, markup.strip(raw), regions_of(parts), images)
        return self.reply


def answer_parts(raw: str, question: str, images: Sequence[Image]) -> tuple[Part, ...]:
    """A generated text as parts, boxes in pixels. Anything goes in; what is no markup stays words.

    `qwenvl.text.chatml.picture_meant` says which picture a box is in, by the words of the question and then of the
    answer before it. Without pictures the numbers have no meaning and are dropped.
    """
    current = picture_meant(question, len(images))
    parts: list[Part] = []
    for span in markup.parse(raw):
        if isinstance(span, markup.RegionSpan):
            if current is None or not (span.boxes or span.quads):
                parts.append(Text(span.phrase or ""))
                continue
            width, height = images[current].width, images[current].height
            boxes = tuple(box_from_grid(cells, width, height) for cells in span.boxes)
            quads = tuple(quad_from_grid(cells, width, height) for cells in span.quads)
            parts.append(Region(span.phrase, boxes, quads, image=current))
        elif isinstance(span, markup.TextSpan):  # a picture that the model made up is dropped
            current = picture_meant(span.text, len(images), current)
            parts.append(Text(span.text))
    return tuple(parts)


def chat_example(
    turns: Sequence[Turn],
    tokenizer: QwenTokenizer,
    slots_per_image: int,
    system: str = DEFAULT_SYSTEM,
    first_picture: int = 1,
) -> Example:
    """What a model is shown of a conversation whose last turn is the question: it ends where the answer begins."""
    sample = dialogue_sample(turns, system=system, reply=True, first_picture=first_picture)
    return render(sample, tokenizer, slots_per_image)


def words_of(question: Turn) -> str:
    """The words of a question, by which `answer_parts` tells the picture that is meant."""
    return " ".join(part.text for part in question.parts if isinstance(part, Text))


def regions_of(parts: Sequence[Part]) -> tuple[Region, ...]:
    """What an answer points at."""
    return tuple(part for part in parts if isinstance(part, Region) and (part.boxes or part.quads))


def pictures_of(turns: Sequence[Turn]) -> tuple[Image, ...]:
    """All pictures of a conversation in the order given."""
    return tuple(part for turn in turns for part in turn.parts if isinstance(part, Image))
