"""Web pages without a browser: encodings, the harmless document, lines from pieces, looks, filters."""

import random
import re

import pytest

from qwenvl.data.sources.report import DataError
from qwenvl.data.synth.documents_colour import ratio
from qwenvl.data.synth.html import units
from qwenvl.data.synth.html_browser import NoBrowser, find
from qwenvl.data.synth.html_filter import HtmlLimits, check_source, check_text
from qwenvl.data.synth.html_lines import Piece, lines, text_lines, window
from qwenvl.data.synth.html_source import decode, harmless
from qwenvl.data.synth.html_style import look
from qwenvl.data.synth.pages import PageError

CHINESE = "<p>今天天气很好，我们去公园。</p>"


@pytest.mark.parametrize(
    ("data", "header", "text"),
    [
        (CHINESE.encode("gb18030"), "text/html; charset=GB2312", CHINESE),
        (b"<meta charset=gbk>" + CHINESE.encode("gb18030"), "", "<meta charset=gbk>" + CHINESE),
        (CHINESE.encode("gb18030"), "", CHINESE),
        (CHINESE.encode(), "", CHINESE),
        # what the page says is not the truth
        (CHINESE.encode(), "text/html; charset=ascii", CHINESE),
        (b"\xff\xfe" + CHINESE.encode("utf-16-le"), "text/html; charset=utf-8", CHINESE),
        (b"\xef\xbb\xbf" + CHINESE.encode(), "text/html; charset=gbk", CHINESE),
        ("<p>“café”".encode("cp1252"), "text/html; charset=iso-8859-1", "<p>“café”"),
        ('<?xml version="1.0" encoding="big5"?>中文'.encode("big5"), "", '<?xml version="1.0" encoding="big5"?>中文'),
        # not encodings of text
        (b"<p>hello", "text/html; charset=zlib", "<p>hello"),
        (rb"<p>\u0041", "text/html; charset=unicode_escape", r"<p>\u0041"),
    ],
)
def test_encodings(data: bytes, header: str, text: str) -> None:
    assert decode(data, header) == text


def test_bytes_without_a_meaning_are_told() -> None:
    broken = decode(b"<meta charset=utf-8>" + b"\xff\xfa\x80 " * 50)
    with pytest.raises(PageError, match="encoding"):
        check_source(broken + "\ufffd" * 5)
    with pytest.raises(PageError, match="no HTML"):
        check_source("plain words")


def test_what_fetches_by_itself_is_taken_out() -> None:
    source = '<META HTTP-EQUIV=refresh content="0;url=http://x/"><link/rel=preload href=x><base href="//x">a<meta\n>b'
    made = harmless(source, "p{}", "abc")
    after = made.split("</style>")[1]
    assert not re.search(r"<(meta|link|base)\b", after, re.IGNORECASE)
    assert after.endswith("a<basefont\n>b")
    assert "'nonce-abc'" in made and '<style nonce="abc">p{}</style>' in made


def test_pieces_become_lines() -> None:
    found = lines(
        [
            Piece(10, 10, 50, 26, "Some ", 0),
            Piece(50, 9, 90, 27, "bold", 0),
            Piece(0, 0, 0, 0, " ", 0),
            Piece(95, 10, 130, 26, "words\u00ad ", 0),
            Piece(10, 40, 60, 56, "next\n line", 0),
            Piece(64, 40, 90, 56, "cell", 1),
            Piece(300, 40, 340, 56, "far", 1),
        ]
    )
    assert [line.text for line in found] == ["Some bold words", "next line", "cell", "far"]
    assert (found[0].x0, found[0].y0, found[0].x1, found[0].y1) == (10, 9, 130, 27)


def test_a_window_cuts_no_line() -> None:
    found = [Piece(0, -5, 10, 15, "a", 0), Piece(0, 20, 10, 40, "b", 0), Piece(50, 30, 60, 50, "c", 0)]
    top, bottom = window(found, 45, scrolled=True)
    assert (top, bottom) == (15, 20)
    assert window(found, 60, scrolled=True) == (15, 60)
    kept = text_lines(found, 15, 60, 55, 2.0)
    assert [line.text for line in kept] == ["b", "c"]
    assert kept[1].quad.points == ((100, 30), (110, 30), (110, 70), (100, 70))


def test_looks_keep_their_contrast_and_differ() -> None:
    seen = set()
    for seed in range(60):
        made = look(random.Random(seed))
        assert made == look(random.Random(seed))
        seen.add(made.css)
        colour = r"rgb\((\d+),(\d+),(\d+)\)"
        paper = _colour(re.search(rf"html{{background:{colour}", made.css))
        inks = re.findall(rf"{{color:{colour}", made.css)
        assert len(inks) == 4
        assert all(ratio(paper, (int(b), int(g), int(r))) >= 3.9 for r, g, b in inks)
    assert len(seen) == 60


def _colour(found: re.Match[str] | None) -> tuple[int, int, int]:
    assert found
    red, green, blue = map(int, found.groups())
    return blue, green, red


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Words \ue123", "private"),
        ("Words \ufffd", "meaning"),
        ("Слова по-русски", "neither"),
        ("かなで書く", "neither"),
    ],
)
def test_texts_that_are_left_out(text: str, why: str) -> None:
    with pytest.raises(PageError, match=why):
        check_text(text, HtmlLimits())
    check_text("Words — and 中文，“café” → 10 µm", HtmlLimits())


def test_units(tmp_path) -> None:
    for name in ("b.html", "a/x.HTM", "a/y.txt", "c.warc.gz", "z.xhtml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    found = units([tmp_path], each=2)
    assert [unit.files for unit in found] == [("a/x.HTM", "b.html"), ("z.xhtml",), ()]
    assert found[2].root.endswith("c.warc.gz")
    assert [unit.files for unit in units([tmp_path / "b.html", tmp_path / "z.xhtml"])] == [("b.html", "z.xhtml")]
    with pytest.raises(DataError, match="no such file"):
        units([tmp_path / "none"])
    with pytest.raises(DataError, match=r"no file there.*\.html"):
        units([_empty(tmp_path)])


def _empty(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


def test_no_browser_says_what_to_do(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoBrowser, match="apt-get install chromium"):
        find()
    with pytest.raises(NoBrowser, match="--browser"):
        find("/no/such/browser")
