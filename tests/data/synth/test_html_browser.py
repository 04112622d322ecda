"""Web pages in a real Chromium: lines on their ink, nothing fetched, time limits, a browser that is killed."""

from __future__ import annotations

import http.server
import io
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from qwenvl.data.shards import ShardReader
from qwenvl.data.synth import html as html_module
from qwenvl.data.synth.html import HtmlPages, html_pages, units
from qwenvl.data.synth.html_browser import NoBrowser, find
from qwenvl.data.synth.pages import PageError
from qwenvl.data.synth.run import Tally, make
from qwenvl.sample import Record
from tests.data.warcs import warc_record

Error = pytest.importorskip("playwright.sync_api").Error
try:
    find()
except NoBrowser:
    pytest.skip("no Chromium", allow_module_level=True)

WORDS = "The quick brown fox jumps over the lazy dog while seven wizards gaze at an old map of the harbour. "
PAGE = f"""<html><head><title>no</title><style>p{{color:red;position:absolute}}</style></head><body>
<h1>A heading</h1><ul><li>first <b>point</b></li><li>second</li></ul><ol><li>one</li></ol>
<p>{WORDS * 3}<i>and</i>, <a href="http://x.example/">a link</a> x<sup>2</sup>{WORDS}</p><hr>
<table border=1><tr><td>left cell</td><td>right cell</td></tr></table><pre>def f(x):
    return x + 1</pre><img src="x.png" alt="ALT TEXT"><form><input value="FORM VALUE"><button>Press</button>
<select><option>OPTION</select><textarea>AREA</textarea><input type=checkbox checked></form>
<details><summary>More</summary>CLOSED</details><div hidden>HIDDEN</div><script>document.write("SCRIPT")</script>
<q>quoted</q><svg width=90 height=30><text y=20>DRAWN</text></svg><p>{WORDS * 12}</p></body></html>"""


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    html_module.OPEN.close()


@pytest.fixture(scope="module")
def maker() -> HtmlPages:
    return html_pages(seed=3)


def drawn(maker: HtmlPages, name: str, page: str) -> Record:
    return maker.record(name, page.encode())


def pixels(record: Record) -> np.ndarray:
    source = record.images[0].source
    assert isinstance(source, bytes)
    return np.asarray(PILImage.open(io.BytesIO(source)).convert("RGB")).astype(int)


def ink(picture: np.ndarray) -> np.ndarray:
    """Pixels that differ from one beside them by more than a soft ground's edge or JPEG does."""
    near = np.zeros(picture.shape[:2], int)
    down, across = np.abs(np.diff(picture, axis=0)).max(2), np.abs(np.diff(picture, axis=1)).max(2)
    near[1:] = down
    near[:, 1:] = np.maximum(near[:, 1:], across)
    return near > 60


def inside(record: Record, margin: float = 1.0) -> np.ndarray:
    mask = np.zeros((record.images[0].height, record.images[0].width), bool)
    for line in record.lines:
        box = line.quad.box
        left, top = max(0, int(box.x0 - margin)), max(0, int(box.y0 - margin))
        mask[top : int(box.y1 + margin) + 1, left : int(box.x1 + margin) + 1] = True
    return mask


def test_lines_cover_the_ink_and_every_line_has_some(maker: HtmlPages) -> None:
    shares = []
    for number in range(12):
        record = drawn(maker, f"ink {number}", PAGE)
        marks = ink(pixels(record))
        assert marks.sum() > 500
        shares.append((marks & inside(record)).sum() / marks.sum())
        for line in record.lines:
            box = line.quad.box
            within = marks[int(box.y0) : int(box.y1) + 1, int(box.x0) : int(box.x1) + 1]
            assert within.any(), line.text
    assert min(shares) >= 0.98


def test_texts_are_the_visible_ones_in_order(maker: HtmlPages) -> None:
    texts = [line.text for number in range(8) for line in drawn(maker, f"text {number}", PAGE).lines]
    joined = " ".join(texts)
    for unseen in ("SCRIPT", "ALT", "FORM", "OPTION", "AREA", "CLOSED", "HIDDEN", "DRAWN", "document"):
        assert unseen not in joined
    assert {"first point", "left cell", "right cell", "def f(x):", "return x + 1", "Press", "quoted"} <= set(texts)
    assert " x2The quick" in joined
    top = next(r for r in (drawn(maker, f"text {n}", PAGE) for n in range(20)) if r.lines[0].text == "A heading")
    assert [line.text for line in top.lines[:4]] == ["A heading", "first point", "second", "one"]
    flow = " ".join(line.text for line in top.lines)
    assert WORDS.strip() in flow


def test_chinese_lines(maker: HtmlPages) -> None:
    text = "中文网页的每一行文字都应当有自己的方框，不能多也不能少。"
    record = drawn(maker, "zh", f"<meta charset=utf-8><p>{text * 12}")
    got = "".join(line.text for line in record.lines)
    assert got in text * 12 and len(got) > 50
    marks = ink(pixels(record))
    assert (marks & inside(record)).sum() >= 0.98 * marks.sum()


def test_the_same_name_and_seed_give_the_same_picture(maker: HtmlPages) -> None:
    one, two, other = (drawn(maker, name, PAGE) for name in ("a", "a", "b"))
    assert one.images[0].source == two.images[0].source and one.lines == two.lines
    assert one.images[0].source != other.images[0].source


def test_a_page_reaches_nothing(maker: HtmlPages, tmp_path: Path) -> None:
    asked: list[str] = []

    class Ear(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_POST = do_HEAD = do_OPTIONS = do_CONNECT = do_GET

        def log_message(self, *_: object) -> None:
            pass

    (tmp_path / "secret.html").write_text("<p>SECRET</p>" * 50)
    secret = (tmp_path / "secret.html").as_uri()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ear) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for host in ("127.0.0.1", "localhost"):
            at = f"http://{host}:{server.server_port}"
            page = f"""<html manifest="{at}/manifest"><head><base href="{at}/">
            <meta http-equiv="refresh" content="0;url={at}/refresh"><META/HTTP-EQUIV='refresh'CONTENT='0;{secret}'>
            <link rel=stylesheet href="{at}/sheet"><link rel=preload as=image href="{at}/preload">
            <link rel=prefetch href="{at}/prefetch"><link rel=preconnect href="{at}"><link rel=icon href="{at}/icon">
            <style>@import "{at}/import"; body{{background:url({at}/ground)}}
            @font-face{{font-family:x;src:url({at}/font)}} *{{font-family:x}}</style>
            <script src="{at}/script"></script><script>new WebSocket("ws://{host}:{server.server_port}/ws");
            fetch("{at}/fetch");window.open("{at}/open");location="{at}/location";document.forms[0].submit();
            navigator.sendBeacon("{at}/beacon");new Image().src="{at}/image2"</script></head>
            <body background="{at}/body" onload="location='{at}/onload'" style="background:url({at}/style)">
            <p>{WORDS * 6}</p><img src="{at}/img" srcset="{at}/set 2x" onerror="location='{at}/error'">
            <iframe src="{at}/frame"></iframe><iframe src="{secret}"></iframe><iframe srcdoc="<img src={at}/doc>DOC">
            </iframe><iframe src="data:text/html,<p>DATA<img src={at}/data>"></iframe><object data="{at}/object">
            </object><embed src="{at}/embed"><video src="{at}/video" poster="{at}/poster" autoplay></video>
            <audio src="{at}/audio" autoplay></audio><picture><source srcset="{at}/source"><img></picture>
            <svg><image href="{at}/svg"/><use href="{at}/use#x"/></svg><input type=image src="{at}/input">
            <form action="{at}/form" method=post><input autofocus></form><a href="{at}/a" ping="{at}/ping">link</a>
            <table background="{at}/table"><tr><td background="{at}/cell">cell</table><p>{WORDS}</p></body></html>"""
            record = drawn(maker, f"hostile {host}", page)
            text = " ".join(line.text for line in record.lines)
            assert not any(word in text for word in ("SECRET", "DOC", "DATA"))
            marks = ink(pixels(record))
            assert (marks & inside(record)).sum() >= 0.98 * marks.sum()
        # what was begun would have come by now
        time.sleep(0.3)
        drawn(maker, "after", PAGE)
        # the ear does hear
        urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/control", timeout=5).close()
        server.shutdown()
    assert asked == ["/control"]


def test_the_layers_left_refuse_when_others_are_taken_away(maker: HtmlPages) -> None:
    """Going somewhere on purpose, past the policy and the taking out of tags, fails in the browser too."""
    drawn(maker, "layers", PAGE)
    browser = html_module.OPEN.get((maker.browser, maker.seconds), pytest.fail)
    hit: list[int] = []

    class Ear(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hit.append(1)
            self.send_response(200)
            self.end_headers()

        do_CONNECT = do_GET

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ear) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"http://127.0.0.1:{server.server_port}/"
        context = browser._page.context
        with pytest.raises(Error, match="ERR_"):
            browser._page.goto(at)
        context.unroute_all()
        with pytest.raises(Error, match="ERR_"):
            browser._page.goto(at)
        context.set_offline(False)
        with pytest.raises(Error, match="ERR_"):
            browser._page.goto(at)
        server.shutdown()
    assert not hit
    html_module.OPEN.close()


def test_too_slow_a_page_ends_and_the_next_goes_on() -> None:
    quick = html_pages(seconds=1.0)
    try:
        drawn(quick, "any", PAGE)
        # columns within columns: layout takes for ever
        nest = "<table><tr><td>" * 480 + "x" * 20 + "<div>" * 20
        slow = f"{nest}{'<table><td>word <td>' * 60000}"
        began = time.monotonic()
        with pytest.raises(PageError, match="took too long"):
            drawn(quick, "slow", slow)
        assert time.monotonic() - began < 20
        assert drawn(quick, "any", PAGE).lines
    finally:
        html_module.OPEN.close()


def test_a_browser_killed_in_the_midst_of_a_run_loses_nothing(tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    for number in range(12):
        (pages / f"{number:02d}.html").write_text(PAGE.replace("A heading", f"Heading {number}"))
    (pages / "05.html").write_text("plain words")
    own = html_pages(seed=1)
    plain = list(own.records(units([pages])[0], Tally()))
    html_module.OPEN.close()
    tally, made = Tally(), []
    for record in own.records(units([pages])[0], tally):
        made.append(record)
        if len(made) in (2, 5):
            os.kill(html_module.OPEN.get((own.browser, own.seconds), pytest.fail).pid, signal.SIGKILL)
    assert [r.images[0].source for r in made] == [r.images[0].source for r in plain]
    assert tally.dropped == {"no HTML": 1} and tally.counted["pages seen"] == 12


def test_a_run_makes_shards_and_goes_on(tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    for number in range(6):
        (pages / f"{number}.html").write_text(PAGE)
    shares = units([pages], each=3)
    made = make(html_pages(), shares, tmp_path / "out", workers=2, quiet=True)
    assert made.rows == 6 and made.counted["pages seen"] == 6
    whole = (tmp_path / "out" / "00001.parquet").read_bytes()
    for lost in ("00001.parquet", "stats/00001.json", "manifest.json"):
        (tmp_path / "out" / lost).unlink()
    assert make(html_pages(), shares, tmp_path / "out", workers=1, quiet=True) == made
    assert (tmp_path / "out" / "00001.parquet").read_bytes() == whole
    assert (tmp_path / "out" / "contact.png").exists()
    reader = ShardReader(tmp_path / "out")
    records = [record for shard in range(len(reader.shards)) for record in reader.read_shard(shard)]
    assert [record.id for record in records] == [f"html-0-pages/{number}.html" for number in range(6)]


def test_a_program_that_is_no_browser() -> None:
    own = html_pages(browser="true")
    try:
        with pytest.raises(NoBrowser, match="does not start"):
            own.record("x", b"<p>x")
    finally:
        html_module.OPEN.close()


def test_pages_of_a_web_archive(tmp_path: Path) -> None:
    pytest.importorskip("fastwarc")
    chinese = "<p>" + "中文网页的每一行文字都应当有自己的方框。" * 20
    content = [
        warc_record("http://a.example/", PAGE.encode(), "text/html; charset=utf-8"),
        warc_record("http://a.example/x.pdf", b"%PDF", "application/pdf"),
        warc_record("http://b.example/", chinese.encode("gb18030"), "text/html; charset=gb2312"),
        warc_record("http://c.example/", PAGE.encode(), "text/html", length=9_000_000),
    ]
    (tmp_path / "some.warc").write_bytes(b"".join(content))
    tally = Tally()
    records = list(html_pages().records(units([tmp_path])[0], tally))
    assert [record.id for record in records] == ["html-0-some.warc/0", "html-0-some.warc/2"]
    assert records[1].lines[0].text[0] in chinese
    assert tally.dropped["archive: other content type"] == 1
    assert sum(tally.dropped.values()) == 2
