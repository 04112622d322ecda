"""The nano world: `scene_record` draws a scene and says everything about it, in two languages, for all tasks.

A small stand-in for the paper's corpus (section 3): one to five shapes, handwritten digits and signs over plain, noisy
or photographed backgrounds. A scene is a function of (seed, index, split) alone.
"""

from __future__ import annotations

from qwenvl.data.synth.scenes_dialogues import Known, dialogues
from qwenvl.data.synth.scenes_draw import Scene, draw_scene
from qwenvl.data.synth.scenes_language import Names, caption, lines, phrases
from qwenvl.data.synth.scenes_questions import questions
from qwenvl.data.synth.scenes_texts import texts
from qwenvl.data.synth.scenes_world import HELD_OUT, LANGUAGES, Split, random_stream
from qwenvl.sample import QA, Caption, Image, Language, Phrase, Record

__all__ = ["HELD_OUT", "Split", "scene_record"]


def scene_record(seed: int, index: int, split: Split, size: int = 96) -> Record:
    """The scene of this seed, index and split, `size` pixels a side, as a `Record` with annotations for every task.

    Captions (grounded throughout), questions, phrases and a dialogue in English and Chinese; text lines of signs; two
    documents without a picture. `images` holds the scene first and then further pictures that only dialogues show.
    `meta` has `split`, `unseen` (whether a colour–shape pair of `HELD_OUT` is in the scene: about half of the test,
    never in train or val), `background`, and `objects`: for each thing in reading order its name, kind, colour, shape,
    fill, size, label and box in pixels. Raises ValueError for another split or a picture under 48 pixels, and
    ImportError where scikit-learn is missing.
    """
    if split not in ("train", "val", "test"):
        raise ValueError(f"a scene's split is train, val or test, not {split!r}")
    if size < 48:
        raise ValueError(f"scenes are drawn at 48 pixels or more (signs are unreadable below), not at {size}")
    rng = random_stream(seed, index, split)
    scene = draw_scene(rng, split, size, held_out=split == "test" and rng.random() < 0.55)  # some find no place
    unseen = any(thing.held_out for thing in scene.things)
    record_id = f"scenes-{split}-{seed}-{index}"
    image = scene_image(scene, record_id)
    captions: list[Caption] = []
    found_questions: list[QA] = []
    found_phrases: list[Phrase] = []
    known: dict[Language, Known] = {}
    for language in LANGUAGES:
        names = Names(scene.things, language, size)
        captions.append(caption(names))
        asked = questions(names, rng, unseen)
        found_questions += asked
        found_phrases += phrases(names, rng)
        known[language] = names, asked
    talks = dialogues(scene, image, rng, split, record_id, known)
    shown = {id(image): image}
    for talk in talks:
        for turn in talk:
            shown.update((id(part), part) for part in turn.parts if isinstance(part, Image))
    return Record(
        id=record_id,
        source="scenes",
        images=tuple(shown.values()),
        captions=tuple(captions),
        qas=tuple(found_questions),
        phrases=tuple(found_phrases),
        lines=tuple(lines(scene.things)),
        texts=texts(rng),
        dialogues=talks,
        meta={
            "split": split,
            "unseen": unseen,
            "background": scene.background,
            "objects": [
                {
                    "name": t.full("en"),
                    "kind": t.kind,
                    "colour": t.colour,
                    "shape": t.shape,
                    "fill": t.fill,
                    "size": t.size,
                    "label": t.label,
                    "box": [t.box.x0, t.box.y0, t.box.x1, t.box.y1],
                }
                for t in scene.things
            ],
        },
    )


def scene_image(scene: Scene, name: str) -> Image:
    """The drawn picture as an `Image`, not encoded."""
    return Image(scene.picture, scene.size, scene.size, name)
