"""Conversations about scenes for stage 3: several turns, one to three pictures, regions in answers, plain wordings."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

from qwenvl.data.synth.scenes_draw import Scene, draw_scene, redraw, refitted
from qwenvl.data.synth.scenes_language import Names, caption, related_expression
from qwenvl.data.synth.scenes_questions import absent_pair, pair_name
from qwenvl.data.synth.scenes_wordings import DESCRIBE, DESCRIBE_GROUNDED, DIFFERS, READ, REWORDED, WHERE
from qwenvl.data.synth.scenes_world import COLOURS, HELD_OUT, LANGUAGES, SHAPES, Split, Thing, article, fills_for, pick
from qwenvl.sample import QA, Image, Language, Part, Region, Text, Turn

Dialogue = tuple[Turn, ...]


Known = tuple[Names, list[QA]]
"""What a scene's record already knows in one language: the names of its things, and its questions."""


def dialogues(
    scene: Scene, image: Image, rng: random.Random, split: Split, record_id: str, known: Mapping[Language, Known]
) -> tuple[Dialogue, ...]:
    """An English and a Chinese conversation about the scene; in one record of four, one of the two is about two or
    three pictures.

    An answer names a place with a `Region` of the picture it is in, counted from 0 through the conversation.
    """
    several: Language | None = pick(rng, LANGUAGES) if rng.random() < 0.25 else None
    talks = []
    for language in LANGUAGES:
        talker = _Talker(scene, image, rng, split, record_id, known[language])
        talks.append(talker.about_several() if language == several else talker.about_one())
    return tuple(talks)


class _Talker:
    """Makes one conversation: question and answer by question and answer."""

    def __init__(
        self, scene: Scene, image: Image, rng: random.Random, split: Split, record_id: str, known: Known
    ) -> None:
        names, self.qas = known
        self.scenes, self.images, self.names = [scene], [image], [names]
        self.rng, self.record_id = rng, record_id
        self.split: Split = split
        self.language: Language = names.language
        self.english = names.language == "en"
        self.held_out = any(t.held_out for t in scene.things)

    def about_one(self) -> Dialogue:
        """One to five exchanges about the scene; the picture stands before the first question."""
        kinds: tuple[Callable[[], tuple[str, tuple[Part, ...]] | None], ...] = (
            *(self._where, self._where, self._where, self._ask, self._ask, self._ask),
            *(self._describe, self._grounded, self._read, self._absent),
        )
        wanted = pick(self.rng, (1, 1, 2, 2, 3, 4, 5))
        turns: list[Turn] = []
        asked: set[str] = set()
        for _ in range(wanted + 3):
            exchange = pick(self.rng, kinds)()
            if exchange is None or exchange[0] in asked:
                continue
            asked.add(exchange[0])
            pictures = () if turns else (self.images[0],)
            turns += (Turn("user", (*pictures, Text(exchange[0]))), Turn("assistant", exchange[1]))
            if len(turns) == 2 * wanted:
                break
        if not turns:
            question, answer = self._describe()
            turns = [Turn("user", (self.images[0], Text(question))), Turn("assistant", answer)]
        return tuple(turns)

    def _say(self, text: str) -> tuple[Part, ...]:
        return (Text(text, supervised=True),)

    def _wording(self, wordings: dict[Language, tuple[str, ...]]) -> str:
        return pick(self.rng, wordings[self.language])

    def _target(self, number: int) -> tuple[str, tuple[Thing, ...]] | None:
        """Something to look for in a picture: a thing by one of its names, by a relation, or everything of a kind."""
        names = self.names[number]
        index = int(self.rng.random() * len(names.things))
        draw = self.rng.random()
        if draw < 0.15:
            related = related_expression(names, index, self.rng)
            if related:
                return related, (names.things[index],)
        alike = tuple(t for t, short in zip(names.things, names.shorts, strict=True) if short == names.shorts[index])
        if len(alike) > 1 and draw < 0.6:
            name = names.things[index].short(self.language)
            if self.english:
                shape = names.things[index].shape
                name = f"the {names.things[index].colour} {shape}{'es' if shape.endswith('s') else 's'}"
            return name, alike
        best = names.best(index)
        if best is None:
            return None
        found = names.expressions(index)
        return (best if draw < 0.8 else names.the(pick(self.rng, found))), (names.things[index],)

    def _where(self) -> tuple[str, tuple[Part, ...]] | None:
        target = self._target(0)
        if target is None:
            return None
        question = self._wording(WHERE).format(target[0])
        if self.english and self.rng.random() < 0.04:
            question = question.replace(" the ", " ")
        return question, (self._region(*target),)

    def _region(self, name: str, things: tuple[Thing, ...], image: int = 0) -> Region:
        return Region(name, tuple(t.box for t in things), (), image, phrase_supervised=True, supervised=True)

    def _absent(self) -> tuple[str, tuple[Part, ...]] | None:
        """Asked for what is not there, say so."""
        pair = absent_pair(self.names[0], self.rng, self.held_out)
        if pair is None:
            return None
        name = pair_name(pair, self.language)
        question = self._wording(WHERE).format(f"the {name}" if self.english else name)
        return question, self._say(f"There is no {name}." if self.english else f"图中没有{name}。")

    def _describe(self) -> tuple[str, tuple[Part, ...]]:
        return self._wording(DESCRIBE), self._say(caption(self.names[0]).text)

    def _grounded(self) -> tuple[str, tuple[Part, ...]]:
        told = caption(self.names[0])
        parts: list[Part] = []
        end = 0
        for start, stop, boxes in told.spans:
            if start > end:
                parts.append(Text(told.text[end:start], supervised=True))
            parts.append(Region(told.text[start:stop], boxes, phrase_supervised=True, supervised=True))
            end = stop
        parts.append(Text(told.text[end:], supervised=True))
        return self._wording(DESCRIBE_GROUNDED), tuple(parts)

    def _ask(self) -> tuple[str, tuple[Part, ...]] | None:
        if not self.qas:
            return None
        qa = pick(self.rng, self.qas)
        question = qa.question
        if self.rng.random() < 0.5:
            for usual, others in REWORDED[self.language]:
                if usual in question:
                    question = question.replace(usual, pick(self.rng, others))
                    break
        if self.english and self.rng.random() < 0.1:
            question = question[0].lower() + question[1:].rstrip("?")
        return question, self._say(qa.answer)

    def _read(self) -> tuple[str, tuple[Part, ...]]:
        signs = [t for t in self.scenes[0].things if t.quad is not None]
        if not signs:
            return self._wording(READ), self._say("There is no text." if self.english else "图中没有文字。")
        found = tuple(Region(t.label, (), (t.quad,), 0, True, True) for t in signs if t.quad is not None)
        return self._wording(READ), found

    def about_several(self) -> Dialogue:
        """One to three exchanges about two or three pictures: what differs, which shows it, where it is in one."""
        changed = None
        if self.rng.random() < 0.6:
            changed = self._changed()
        if changed is not None:
            self._add(changed[0])
        else:
            for _ in range(1 if self.rng.random() < 0.7 else 2):
                self._add(draw_scene(self.rng, self.split, self.scenes[0].size))
        exchanges = [changed[1]] if changed is not None else [self._which_picture()]
        for _ in range(int(self.rng.random() * 3)):
            exchange = pick(self.rng, (self._where_in, self._describe_one, self._count_in, self._which_picture))()
            if exchange is not None and all(exchange[0] != earlier[0] for earlier in exchanges if earlier is not None):
                exchanges.append(exchange)
        turns: list[Turn] = []
        for exchange in exchanges:
            if exchange is not None:
                pictures = () if turns else tuple(self.images)
                turns += (Turn("user", (*pictures, Text(exchange[0]))), Turn("assistant", exchange[1]))
        if not turns:
            question, answer = self._describe_one()
            turns = [Turn("user", (*self.images, Text(question))), Turn("assistant", answer)]
        return tuple(turns)

    def _add(self, scene: Scene) -> None:
        name = f"{self.record_id}-{len(self.images) + 1}"
        self.scenes.append(scene)
        self.images.append(Image(scene.picture, scene.size, scene.size, name))
        self.names.append(Names(scene.things, self.language, scene.size))

    def _changed(self) -> tuple[Scene, tuple[str, tuple[Part, ...]]] | None:
        """The scene with one thing changed in colour or shape, or taken away; what differs, and the answer."""
        scene, rng, names = self.scenes[0], self.rng, self.names[0]
        index = int(rng.random() * len(scene.things))
        thing = scene.things[index]
        if names.short_count[names.shorts[index]] > 1:
            return None
        others = scene.things[:index], scene.things[index + 1 :]
        if len(scene.things) > 1 and rng.random() < 0.35:
            things = (*others[0], *others[1])
            answer = (
                f"The {names.shorts[index]} is only in Picture 1."
                if self.english
                else f"只有图1里有{names.shorts[index]}。"
            )
        else:
            new = self._altered(thing)
            if new is None or any(new.short("en") == t.short("en") for t in scene.things):
                return None
            new = refitted(new, (*others[0], *others[1]), self.split, scene.size)
            if new is None:
                return None
            things = (*others[0], new, *others[1])
            before, after = names.shorts[index], new.short(self.language)
            answer = (
                f"Picture 1 has {article(before)}, Picture 2 has {article(after)}."
                if self.english
                else f"图1里是{before}，图2里是{after}。"
            )
        question = self._wording(DIFFERS)
        return redraw(rng, things, self.split, scene.size), (question, self._say(answer))

    def _altered(self, thing: Thing) -> Thing | None:
        """The thing in another colour or, if it is a shape, of another shape; never a pair of the hold-out."""
        for _ in range(6):
            colour, shape = thing.colour, thing.shape
            if thing.kind != "shape" or self.rng.random() < 0.6:
                colour = pick(self.rng, tuple(COLOURS))
            else:
                shape = pick(self.rng, tuple(SHAPES))
            fits = thing.kind != "shape" or thing.fill in fills_for(shape, thing.size)
            if (colour, shape) != (thing.colour, thing.shape) and (colour, shape) not in HELD_OUT and fits:
                return replace(thing, colour=colour, shape=shape)
        return None

    def _which_picture(self) -> tuple[str, tuple[Part, ...]] | None:
        """In which picture something is that is in one of them alone."""
        number = int(self.rng.random() * len(self.scenes))
        names = self.names[number]
        index = int(self.rng.random() * len(names.things))
        short = names.shorts[index]
        if sum(n.short_count[short] > 0 for n in self.names) > 1:
            return None
        question = f"Which picture has {article(short)}?" if self.english else f"哪张图里有{short}？"
        return question, self._say(f"Picture {number + 1}" if self.english else f"图{number + 1}")

    def _where_in(self) -> tuple[str, tuple[Part, ...]] | None:
        number = int(self.rng.random() * len(self.scenes))
        target = self._target(number)
        if target is None:
            return None
        question = (
            f"Where is {target[0]} in Picture {number + 1}?" if self.english else f"图{number + 1}里{target[0]}在哪里？"
        )
        return question, (self._region(*target, image=number),)

    def _describe_one(self) -> tuple[str, tuple[Part, ...]]:
        number = int(self.rng.random() * len(self.scenes))
        question = f"Describe Picture {number + 1}." if self.english else f"描述图{number + 1}。"
        return question, self._say(caption(self.names[number]).text)

    def _count_in(self) -> tuple[str, tuple[Part, ...]]:
        number = int(self.rng.random() * len(self.scenes))
        question = f"How many objects are in Picture {number + 1}?" if self.english else f"图{number + 1}里有几个物体？"
        return question, self._say(str(len(self.scenes[number].things)))
