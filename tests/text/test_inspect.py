"""What `inspect` shows is read back from tokens, labels and slots, and everything in it is escaped."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace

import pytest
from PIL import Image as PILImage

from qwenvl.sample import Box, Image, Region, Sample, Special, Text, Turn
from qwenvl.text.chatml import dialogue_sample
from qwenvl.text.draw import draw_regions
from qwenvl.text.inspect import regions_of, runs_of, to_html, to_terminal
from qwenvl.text.render import Example, render
from qwenvl.text.tokenizer import QwenTokenizer


def photo(width: int = 200, height: int = 100, colour: str = "white") -> Image:
    return Image(PILImage.new("RGB", (width, height), colour), width, height, "star.png")


@pytest.fixture
def example(small: QwenTokenizer) -> Example:
    star = Region("红星 <b>", (Box(20, 10, 100, 50),), supervised=True)
    parts = (photo(), Text(" <box>where?\n\x1b[31m & "), star, Text(" 星", True), Special("<|endoftext|>", True))
    return render(Sample(parts, "referring", "made <up>", "7"), small, 9)


def test_runs(example: Example, small: QwenTokenizer) -> None:
    runs = runs_of(example, small)
    assert sum(run.tokens for run in runs) == len(example.ids)
    assert [(run.kind, run.state, run.text) for run in runs[:5]] == [
        ("special", "ignored", "<img>"),
        ("image", "ignored", "star.png 200×100, 9 slots"),
        ("special", "ignored", "</img>"),
        ("text", "ignored", " <box>where?\n\x1b[31m & "),
        ("special", "ignored", "<ref>"),
    ]
    assert [run.text for run in runs if run.state == "supervised"] == [
        *("<box>", "(100,100),(500,500)", "</box>", " 星", "<|endoftext|>")
    ]


def test_terminal(example: Example, small: QwenTokenizer) -> None:
    text = to_terminal(example, small)
    assert text.startswith(f"── referring · made <up> 7 · {len(example.ids)} tokens, ")
    assert "\x1b[34m(100,100),(500,500)\x1b[0m" in text and "\x1b[34;1m<box>\x1b[0m" in text
    assert "\x1b[1m<ref>\x1b[0m红星" in text and "\x1b[2m[star.png 200×100, 9 slots]\x1b[0m" in text
    assert "\x1b[31m" not in text and "␛[31m" in text  # the text's own escape is shown, not sent
    plain = to_terminal(example, small, color=False)
    assert "\x1b" not in plain and "**<box>(100,100),(500,500)</box> 星<|endoftext|>**" in plain


def test_a_wrong_label_shows(example: Example, small: QwenTokenizer) -> None:
    labels = [*example.labels[:-1], 5]
    wrong = replace(example, labels=labels)
    assert runs_of(wrong, small)[-1].state == "misaligned"
    assert "\x1b[41;1m<|endoftext|>" in to_terminal(wrong, small)
    assert "⚠[wrong label]<|endoftext|>" in to_terminal(wrong, small, color=False)
    assert 'class="special misaligned"' in to_html([wrong], small)
    with pytest.raises(ValueError, match="labels"):
        runs_of(replace(example, labels=labels[:-1]), small)


def test_html_is_escaped_and_stands_alone(example: Example, small: QwenTokenizer) -> None:
    page = to_html([example, example], small, title="<script>1</script>", counts={"dropped <x>": 3})
    assert "<script" not in page and "&lt;script&gt;" in page and "dropped &lt;x&gt;" in page
    assert "made &lt;up&gt;" in page and "红星 &lt;b&gt;" in page
    assert (
        '<span class="special supervised">&lt;box&gt;</span><span class="supervised">(100,100),(500,500)</span>' in page
    )
    assert page.count("data:image/png;base64,") == 2
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert '<td>referring</td><td class="n">2</td><td class="n">2</td>' in page


def test_html_draws_from_the_tokens(example: Example, small: QwenTokenizer) -> None:
    page = to_html([example], small)
    data = base64.b64decode(page.split("base64,")[1].split('"')[0])
    picture = PILImage.open(io.BytesIO(data)).convert("RGB")
    assert picture.size == (384, 192)
    (((region,)),) = regions_of(example, small)
    x, y = (region.boxes[0].x1 * 1.92, region.boxes[0].y1 * 1.92)
    assert picture.getpixel((round(x), round(y))) != (255, 255, 255)
    assert picture.getpixel((round(x) + 20, round(y) + 20)) == (255, 255, 255)


def test_html_says_which_picture_cannot_be_read(small: QwenTokenizer) -> None:
    broken = render(Sample((Image(b"none", 10, 10, "b.jpg"), Text("x")), "vqa"), small, 2)
    page = to_html([broken], small)
    assert "cannot decode" in page and "b.jpg 10×10" in page


def test_regions_belong_to_the_last_picture_before(small: QwenTokenizer) -> None:
    box = (Box(10, 10, 20, 20),)
    parts = (photo(), Region("a", box), photo(50, 50), Region("b", box, image=1), Region("c", box, image=1))
    first, second = regions_of(render(Sample(parts, "vqa"), small, 2), small)
    assert [r.phrase for r in first] == ["a"] and [r.phrase for r in second] == ["b", "c"]
    assert second[0].boxes[0].x0 == pytest.approx(10, abs=0.05) and second[0].image == 1


def test_regions_of_a_dialogue_belong_to_the_picture_named(small: QwenTokenizer) -> None:
    box = (Box(10, 10, 20, 20),)
    turns = [
        Turn("user", (photo(), photo(50, 50), Text("Where is the star in Picture 1?"))),
        Turn("assistant", (Region("star in picture 2", box, image=0), Region("b", box, image=0))),
        Turn("user", (Text("And the dot?"),)),
        Turn("assistant", (Region("dot", box, image=1), Text(" and in 图1 "), Region("c", box, image=0))),
        Turn("user", (Text("Picture 9?"),)),
        Turn("assistant", (Region("d", box, image=1),)),
    ]
    for first_picture in (1, 2):
        sample = dialogue_sample(turns, first_picture=first_picture)
        first, second = regions_of(render(sample, small, 2), small)
        if first_picture == 1:
            assert [r.phrase for r in first] == ["star in picture 2", "b", "c"]
            assert [r.phrase for r in second] == ["dot", "d"]
        else:  # the first picture fell out of the window and has no number here
            assert not first and len(second) == 5


def test_text_without_picture(small: QwenTokenizer) -> None:
    only = render(Sample((Text("words", True),), "text"), small)
    assert regions_of(only, small) == []
    assert "0 pictures" in to_terminal(only, small) and "<figure>" not in to_html([only], small)


# -- drawing -------------------------------------------------------------------------------------------------------


def test_drawing_leaves_the_picture_alone_and_draws_any_place() -> None:
    picture = PILImage.new("L", (60, 40), 255)
    nowhere = Box(float("nan"), 0, float("inf"), 9)
    regions = [
        Region("左上角的红色大星星 " * 9, (Box(-50, -50, 1e9, 1e9), Box(30, 30, 5, 5), nowhere)),
        Region(None, (Box(3, 3, 3, 3),)),
        Region("\n", (Box(3, 3, 9, 9),)),
    ]
    drawn = draw_regions(picture, regions)
    assert drawn.mode == "RGB" and drawn.size == (60, 40)
    assert picture.getextrema() == (255, 255)
    assert drawn.getextrema() != ((255, 255),) * 3
    assert draw_regions(picture, regions, longest=300).size == (300, 200)
    assert draw_regions(picture, [], longest=10).size == (60, 40)


def test_one_colour_per_phrase_and_chinese_is_no_tofu() -> None:
    white = PILImage.new("RGB", (300, 200), "white")
    outline = draw_regions(
        white, [Region("a", (Box(50, 50, 90, 90),)), Region("b", (Box(150, 50, 190, 90),))], labels=False
    )
    assert outline.getpixel((50, 70)) != outline.getpixel((150, 70)) != (255, 255, 255)
    one, other = (draw_regions(white, [Region(c, (Box(50, 50, 90, 90),))]) for c in "红蓝")
    assert one.tobytes() != other.tobytes()
