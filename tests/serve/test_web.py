"""The page in a real Chromium: pictures in, answers with boxes on them, boxes drawn, and everything that fails."""

from __future__ import annotations

import base64
import io
import json
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
sync_api = pytest.importorskip("playwright.sync_api")
from qwenvl.text.markup import strip, to_regions  # noqa: E402
from tests.serve.web_server import StandIn, answer, error, region  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
if not CHROMIUM:
    pytest.skip("no Chromium", allow_module_level=True)

WIDTH, HEIGHT = 200, 100
STAR = ("<ref>a star</ref><box>(100,200),(400,600)</box>", region("a star", [20, 20, 80, 60]))
MOON = ("<ref>the moon</ref><box>(600,500),(900,900)</box>", region("the moon", [120, 50, 180, 90]))
QUAD = (
    "<ref>sign</ref><quad>(500,100),(750,200),(725,450),(475,350)</quad>",
    region("sign", quads=[[[100, 10], [150, 20], [145, 45], [95, 35]]]),
)
RED, BLUE = (229, 72, 77), (28, 126, 214)  # the first two tones of stage.css


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    stand_in = StandIn()
    stand_in.start()
    yield stand_in
    stand_in.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
        )
        yield chromium
        chromium.close()


class Opened:
    """A page on the stand-in; whatever the browser complains about or asks of another host is kept."""

    def __init__(self, browser: Any, server: StandIn, **context: Any) -> None:
        server.reset()
        self.server = server
        self.context = browser.new_context(**{"viewport": {"width": 1200, "height": 760}, "locale": "en-GB"} | context)
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda problem: self.complaints.append(str(problem)))
        # A refused request stands in the console as well; that is not the page's fault.
        self.page.on(
            "console",
            lambda line: (
                self.complaints.append(line.text)
                if line.type == "error" and "Failed to load resource" not in line.text
                else None
            ),
        )
        self.page.on("request", lambda asked: self._own(asked.url))
        self.page.goto(server.url)
        self.page.wait_for_selector('#status[data-state="ready"]')

    def _own(self, url: str) -> None:
        if not url.startswith((self.server.url, "blob:", "data:")):
            self.complaints.append(f"asked {url}")

    def give(self, *files: dict[str, Any]) -> None:
        """Choose files; returns when all of them are taken as pictures."""
        before = self.page.locator(".draft-picture").count()
        self.page.set_input_files("#files", list(files))
        self.page.locator(".draft-picture").nth(before + len(files) - 1).wait_for()

    def ask(self, text: str, wait: bool = True) -> None:
        self.page.fill("textarea", text)
        self.page.keyboard.press("Enter")
        if wait:
            self.page.wait_for_selector(".turn:last-child .answer-foot .round")

    def drag(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Draw from one point of the picture to another, as shares of its sides."""
        frame = self.page.locator(".canvas").bounding_box()
        points = [(frame["x"] + x * frame["width"], frame["y"] + y * frame["height"]) for x, y in ((x0, y0), (x1, y1))]
        self.page.mouse.move(*points[0])
        self.page.mouse.down()
        self.page.mouse.move((points[0][0] + points[1][0]) / 2, (points[0][1] + points[1][1]) / 2)
        self.page.mouse.move(*points[1])
        self.page.mouse.up()

    def sees(self, colour: tuple[int, int, int], x: float, y: float) -> bool:
        """Whether a colour is to be seen at a pixel of the picture, or right beside it where an edge is smoothed."""
        shot = PILImage.open(io.BytesIO(self.page.locator(".canvas").screenshot())).convert("RGB")
        at_x, at_y = round(x / WIDTH * shot.width), round(y / HEIGHT * shot.height)
        around = [shot.getpixel((at_x + dx, at_y + dy)) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
        return any(all(abs(a - b) <= 25 for a, b in zip(seen, colour, strict=True)) for seen in around)

    def content(self) -> list[dict[str, Any]]:
        """The parts of the last message that was sent."""
        return self.server.asked[-1]["messages"][-1]["content"]  # type: ignore[no-any-return]


@pytest.fixture
def opened(browser: Any, server: StandIn) -> Iterator[Opened]:
    page = Opened(browser, server)
    yield page
    page.context.close()
    assert page.complaints == []


def picture(name: str = "grey.png", size: tuple[int, int] = (WIDTH, HEIGHT), **save: Any) -> dict[str, Any]:
    """A grey picture as the file chooser takes it."""
    buffer = io.BytesIO()
    kind = {"png": "PNG", "jpg": "JPEG", "tif": "TIFF"}[name.rsplit(".", 1)[1]]
    PILImage.new("RGB", size, (90, 90, 90)).save(buffer, kind, **save)
    return {"name": name, "mimeType": f"image/{kind.lower()}", "buffer": buffer.getvalue()}


def test_headers_and_files(server: StandIn) -> None:
    import httpx

    page = httpx.get(server.url)
    assert page.status_code == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'self';" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    again = httpx.get(server.url, headers={"If-None-Match": page.headers["etag"]})
    assert again.status_code == 304 and again.content == b""
    examples = httpx.get(server.url + "web/examples.json").json()
    assert len(examples) == 6
    for example in examples:
        shown = httpx.get(server.url + example["picture"])
        assert shown.headers["content-type"] == "image/png" and example["en"] and example["zh"]
        assert PILImage.open(io.BytesIO(shown.content)).size == (320, 320)
    for name in ("web/", "web/nothing.js", "web/..%2f..%2fpy.typed", "web/%2fetc%2fpasswd", "web/examples"):
        assert httpx.get(server.url + name).status_code == 404, name
    assert "/web/{name}" not in json.dumps(httpx.get(server.url + "openapi.json").json())


def test_the_page_asks_nobody_else_and_writes_no_html() -> None:
    from qwenvl.serve.web import FOLDER

    for path in FOLDER.rglob("*.*"):
        if path.suffix not in (".js", ".css", ".html"):
            continue
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), path
        assert set(re.findall(r"https?://[^\s\"')]+", text)) <= {"http://www.w3.org/2000/svg"}, path
        assert len(text.splitlines()) < 320, path
    html = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on\w+=", html)


def test_upload_ask_and_boxes_where_they_should_be(opened: Opened) -> None:
    page = opened.page
    opened.server.script = [answer("I see ", STAR, " and ", MOON, ", ", QUAD, ".", text="I see a star and the moon.")]
    given = picture()
    opened.give(given)
    opened.ask("What is here?")
    body = opened.server.asked[0]
    assert body["model"] == "nano" and body["stream"] and body["temperature"] == 0
    image, text = opened.content()
    assert base64.b64decode(image["image_url"]["url"].split(",")[1]) == given["buffer"]  # sent as it was
    assert text == {"type": "text", "text": "What is here?"}
    assert page.inner_text(".words") == "I see a star and the moon, sign."
    assert page.locator(".place").count() == 3
    for x, y in ((20, 40), (80, 40), (50, 20), (50, 60)):
        assert opened.sees(RED, x, y), (x, y)
    for x, y in ((120, 70), (150, 90)):
        assert opened.sees(BLUE, x, y), (x, y)
    for x, y in ((50, 40), (100, 70), (15, 40), (20, 90)):
        assert opened.sees((90, 90, 90), x, y), (x, y)
    assert opened.sees((47, 158, 87), 125, 15)  # the slanted upper edge of the quad


def test_a_phrase_and_its_box_light_each_other(opened: Opened) -> None:
    page = opened.page
    opened.server.script = [answer(STAR, " ", MOON)]
    opened.give(picture())
    opened.ask("Where?")
    star, moon = page.locator(".phrase").all()
    moon.hover()
    assert page.inner_text(".label") == "the moon"
    assert page.locator(".place.lit").get_attribute("data-region") == "1"
    page.mouse.move(5, 5)
    assert page.locator(".label").count() == 0
    star.click()
    page.mouse.move(5, 5)
    assert page.inner_text(".label") == "a star"  # stays when the pointer goes
    page.keyboard.press("Escape")
    assert page.locator(".label").count() == 0
    frame = page.locator(".canvas").bounding_box()
    page.mouse.click(frame["x"] + frame["width"] * 0.75, frame["y"] + frame["height"] * 0.7)
    page.mouse.move(5, 5)
    assert page.locator(".phrase.lit").inner_text() == "the moon"
    page.locator(".place[data-region='0']").focus()
    assert page.inner_text(".label") == "a star"


def test_draw_a_box_and_ask(opened: Opened) -> None:
    page = opened.page
    opened.give(picture(), picture("second.png"))
    opened.ask("Two pictures.")
    page.locator(".thumb").first.click()
    opened.drag(0.9, 0.8, 0.5, 0.2)  # from the lower right corner to the upper left one
    assert page.inner_text(".chip") == "Place in picture 1"
    assert page.locator(".asked").count() == 1
    opened.ask("What is there?")
    place, text = opened.content()
    assert (place["type"], place["image"], text["text"]) == ("region", 0, " What is there?")
    assert all(abs(a - b) <= 1 for a, b in zip(place["box"], (100, 20, 180, 80), strict=True))
    opened.drag(0.1, 0.1, 0.3, 0.3)
    page.get_by_role("button", name="Remove the place").click()
    assert page.locator(".composer .chip").count() == 0
    page.get_by_role("button", name="Mark a place").click()  # the same without a pointer
    for key in ("ArrowLeft", "ArrowUp", "Shift+ArrowRight", "Enter"):
        page.keyboard.press(key)
    page.keyboard.press("Enter")  # the composer has the focus now: a place alone is a question
    page.wait_for_selector(".turn:nth-child(3) .answer-foot .round")
    assert opened.content() == [{"type": "region", "box": [70, 35, 125, 60], "image": 0}]


def test_boxes_come_while_the_answer_does_and_stop_keeps_them(opened: Opened) -> None:
    page = opened.page
    opened.server.gate.clear()
    opened.server.script = [answer(STAR, " and more")]
    opened.give(picture())
    opened.ask("Go on.", wait=False)
    page.wait_for_selector(".place")
    assert page.locator(".answer[aria-busy=true]").count() == 1
    page.get_by_role("button", name="Stop").click()
    page.wait_for_selector("text=Stopped")
    assert page.inner_text(".words") == "a star and more"
    assert opened.server.left.wait(5)  # the server was told
    opened.server.gate.set()
    opened.server.script = [answer("Yes.")]
    opened.ask("And then?")
    said = opened.server.asked[-1]["messages"]
    assert [message["role"] for message in said] == ["user", "assistant", "user"]
    assert said[1]["content"] == STAR[0] + " and more"


def test_regenerate_edit_raw_and_clear(opened: Opened) -> None:
    page = opened.page
    opened.server.script = [answer("One."), answer(STAR), answer("Three.")]
    opened.give(picture())
    opened.ask("First?")
    page.get_by_role("button", name="Another answer").click()
    page.wait_for_selector(".phrase")
    assert opened.server.asked[1]["messages"] == opened.server.asked[0]["messages"]
    assert opened.server.asked[1]["temperature"] > 0 and "seed" in opened.server.asked[1]
    page.get_by_role("button", name="Raw markup").click()
    assert page.inner_text(".words pre") == STAR[0]
    opened.drag(0.5, 0.5, 0.7, 0.7)
    opened.ask("Second?")
    page.locator(".question").first.hover()
    page.get_by_role("button", name="Edit and send again").first.click()
    assert page.input_value("textarea") == "First?"
    assert page.locator(".turn.replaced").count() == 2
    opened.ask("Changed?")
    assert [part.get("text") for part in opened.content()] == [None, "Changed?"]
    assert len(opened.server.asked[-1]["messages"]) == 1 and page.locator(".turn").count() == 1
    page.get_by_role("button", name="New conversation").click()
    assert page.locator(".turn").count() == 0 and page.is_visible("#start") and not page.is_visible("#stage")


def test_copy(browser: Any, server: StandIn) -> None:
    opened = Opened(browser, server, permissions=["clipboard-read", "clipboard-write"])
    page = opened.page
    server.script = [answer(STAR, text="a star")]
    opened.give(picture())
    opened.drag(0, 0, 0.5, 0.5)
    opened.ask("Where?")
    page.get_by_role("button", name="Copy the answer").click()
    page.wait_for_selector("text=Copied")
    one = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert one["answer"]["regions"] == [STAR[1]] and one["answer"]["text"] == "a star"
    page.get_by_role("button", name="Copy the conversation").click()
    page.wait_for_function("navigator.clipboard.readText().then((text) => text.includes('turns'))")
    every = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert every["pictures"] == [{"name": "grey.png", "width": WIDTH, "height": HEIGHT}]
    assert every["turns"] == [one] and one["question"]["regions"] == [{"image": 0, "box": [0, 0, 100, 50]}]
    opened.context.close()


def test_pictures_from_everywhere(opened: Opened) -> None:
    page = opened.page
    data = base64.b64encode(picture()["buffer"]).decode()
    for kind in ("drop", "paste"):
        page.evaluate(
            """([kind, data]) => {
              const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
              const moved = new DataTransfer();
              moved.items.add(new File([bytes], `${kind}.png`, { type: "image/png" }));
              const drop = { dataTransfer: moved, bubbles: true, cancelable: true };
              const event = kind === "drop" ? new DragEvent("drop", drop)
                : new ClipboardEvent("paste", { clipboardData: moved, bubbles: true, cancelable: true });
              document.body.dispatchEvent(event);
            }""",
            [kind, data],
        )
        page.wait_for_selector(f"img[alt*='{kind}.png']")
    page.locator(".composer").get_by_role("button", name="Camera").click()
    page.wait_for_selector("video")
    while not page.evaluate("document.querySelector('video').videoWidth"):
        page.wait_for_timeout(20)
    page.get_by_role("button", name="Take the picture").click()
    page.wait_for_selector("img[alt*='photo']")
    assert page.locator(".draft-picture").count() == 3
    page.get_by_role("button", name="Remove picture 2").click()
    opened.ask("All of them.")
    assert [part["type"] for part in opened.content()] == ["image_url", "image_url", "text"]


def test_an_example_is_asked_at_once(opened: Opened) -> None:
    opened.page.locator(".example").nth(1).click()
    opened.page.wait_for_selector(".answer-foot .round")
    image, text = opened.content()
    assert text["text"] == "Find all objects."
    assert PILImage.open(io.BytesIO(base64.b64decode(image["image_url"]["url"].split(",")[1]))).size == (320, 320)


def test_orientation_and_size_are_what_the_server_counts(opened: Opened) -> None:
    page = opened.page
    exif = PILImage.Exif()
    exif[0x0112] = 6  # lies on its side: 200 × 100 stored, 100 × 200 upright
    opened.give(picture("side.jpg", exif=exif))
    page.wait_for_selector("img[alt*='100 × 200']")
    opened.drag(0.5, 0.5, 1, 1)
    opened.ask("There?")
    assert opened.content()[1]["box"] == [50, 100, 100, 200]
    opened.give(picture("huge.png", (6000, 4500)))
    page.wait_for_selector("text=Reduced from 6000 × 4500 to 2048 × 1536")
    opened.ask("And now?")
    sent = base64.b64decode(opened.content()[0]["image_url"]["url"].split(",")[1])
    assert PILImage.open(io.BytesIO(sent)).size == (2048, 1536)


def test_what_is_no_picture(opened: Opened) -> None:
    page = opened.page
    bad = {"name": "notes.png", "mimeType": "image/png", "buffer": b"not a picture"}
    page.set_input_files("#files", [bad, picture("scan.tif")])
    page.wait_for_selector("text=notes.png is not a picture")
    page.wait_for_selector("text=scan.tif is not a picture")
    assert page.locator(".draft-picture").count() == 0
    opened.server.script = [error(400, "messages[0].content[0]: the picture is broken")]
    opened.give(picture())
    opened.ask("Is it?", wait=False)
    page.wait_for_selector("text=did not accept this: messages[0].content[0]: the picture is broken")


def test_the_server_refuses_or_is_busy(opened: Opened) -> None:
    page = opened.page
    opened.server.script = [error(413, "12 MB at most"), error(429, "full", {"Retry-After": "1"}), answer("At last.")]
    opened.ask("Large?", wait=False)
    page.wait_for_selector("text=Too large for the server: 12 MB at most")
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector("text=The server is busy. Trying again in 1 s.")
    page.wait_for_selector("text=At last.")
    opened.server.script = [error(401, "no key"), answer("In.")]
    opened.ask("Key?", wait=False)
    page.fill("input[type=password]", "secret")
    opened.give(picture())  # the page is shown anew, and what was typed stays
    assert page.input_value("input[type=password]") == "secret"
    page.focus("input[type=password]")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=In.")
    assert len(opened.server.asked) == 5


def test_the_model_loads(opened: Opened) -> None:
    opened.server.loading = True
    opened.ask("Early?", wait=False)
    opened.page.wait_for_selector("text=is sent as soon as it is ready")
    opened.server.loading = False
    opened.page.wait_for_selector("text=Fine.")
    opened.server.script = [error(503, "it could not be loaded", code="failed")]
    opened.ask("Now?", wait=False)
    opened.page.wait_for_selector("text=The server failed: it could not be loaded")


def test_the_server_goes_and_comes(browser: Any) -> None:
    server = StandIn()
    server.start()
    opened = Opened(browser, server)
    page = opened.page
    server.script = [[{"content": "Half an "}, {"cut": True}]]
    opened.ask("Cut?", wait=False)
    page.wait_for_selector("text=The connection broke before the answer was complete.")
    assert page.inner_text(".words") == "Half an "
    server.stop()
    opened.ask("Anybody?", wait=False)
    page.wait_for_selector("text=The server does not answer.")
    server.start()
    server.script = [answer("Here again.")]
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector("text=Here again.")
    server.stop()
    opened.context.close()


def test_what_the_model_says_is_text(opened: Opened) -> None:
    evil = "<img src=x onerror=alert(1)><b>bold</b> <script>alert(2)</script>"
    opened.server.script = [
        answer(evil, (f"<ref>{evil}</ref><box>(100,200),(400,600)</box>", region(evil, [20, 20, 80, 60])))
    ]
    opened.give(picture())
    opened.ask(evil)
    assert evil in opened.page.inner_text(".bubble")
    assert opened.page.locator(".words b, .words script, .words img, .bubble b").count() == 0


def test_the_page_reads_markup_as_the_server_does(opened: Opened) -> None:
    random.seed(5)
    bits = [f"<{end}{name}>" for name in ("ref", "box", "quad", "img") for end in ("", "/")]
    bits += ["(1,2),(300,400)", "(5,6)", "(1,2),(3.5,4),(50,60),(7,80)"]
    bits += ["<box>(1,2),(3,4)</box>", "<ref>cat</ref>", " ", "a dog", "<|im_end|>", "。"]
    texts = ["".join(random.choices(bits, k=random.randint(1, 9))) for _ in range(1500)]
    texts += ["<Box>（1，2），（3，4）</BOX>", "a < b > c", "<ref", "<box>(1,2),(3,4) and so on", "<box>(1.5,2)</box>"]
    asked = "async (texts) => { const { pieces } = await import('/web/marks.js'); return texts.map((t) => pieces(t)) }"
    read = opened.page.evaluate(asked, texts)
    for text, found in zip(texts, read, strict=True):
        phrases = [piece["text"] or None for piece in found if piece["region"] is not None]
        assert phrases == [region.phrase or None for region in to_regions(text, 100, 100)], text
        assert sorted(piece["region"] for piece in found if piece["region"] is not None) == list(range(len(phrases)))
        said = "".join(piece["text"] for piece in found)
        assert "".join(said.split()) == "".join(strip(text).split()), text


def test_on_the_api_itself(browser: Any, tiny_folder: Path) -> None:
    """No stand-in: what the page sends and reads is what the API takes and gives."""
    for package in ("prometheus_client", "llguidance"):
        pytest.importorskip(package)
    from qwenvl.serve.api import Served, ServeSettings
    from qwenvl.text.tokenizer import QwenTokenizer
    from tests.serve.api_server import ScriptedEngine, live

    engine = ScriptedEngine(QwenTokenizer.load(tiny_folder))
    engine.says = "I see <ref>a star</ref><box>(100,200),(399,599)</box>."
    settings = ServeSettings(key="secret")
    with live(lambda: Served("tiny", engine.tokenizer, 4, 32, engine), settings) as server:
        stand_in = StandIn()
        stand_in.url = server.url + "/"
        opened = Opened(browser, stand_in)
        page = opened.page
        opened.give(picture())
        opened.drag(0.3, 0.3, 0.7, 0.7)
        page.fill("textarea", "What is it?")
        page.keyboard.press("Enter")
        page.fill("input[type=password]", "secret")
        page.keyboard.press("Enter")
        page.wait_for_selector(".answer-foot .round")
        assert page.inner_text(".words") == "I see a star."
        assert opened.sees(RED, 20, 40) and opened.sees(RED, 80, 40) and opened.sees(RED, 50, 60)
        assert "(700,700)</box> What is it?" in engine.tokenizer.decode(engine.asked[-1].example.ids)
        engine.gate.clear()
        page.fill("textarea", "And now?")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Stop").click()
        assert engine.cancelled.wait(5)
        page.get_by_role("button", name="Another answer").wait_for()
        engine.gate.set()
        engine.says = "A new one."
        page.get_by_role("button", name="Another answer").click()
        page.wait_for_selector("text=A new one.")
        assert engine.asked[-1].options.temperature > 0
        opened.context.close()
        assert opened.complaints == []


def test_phone_in_chinese_and_dark(browser: Any, server: StandIn, tmp_path: Path) -> None:
    opened = Opened(
        browser,
        server,
        viewport={"width": 375, "height": 667},
        locale="zh-CN",
        color_scheme="dark",
        has_touch=True,
        is_mobile=True,
    )
    page = opened.page

    def fits() -> bool:
        return bool(page.evaluate("document.scrollingElement.scrollWidth <= 375 && innerWidth === 375"))

    assert page.inner_text("h2") == "向图片提问" and fits()
    server.script = [
        answer(
            "有",
            ("<ref>一颗星</ref><box>(100,200),(400,600)</box>", region("一颗星", [20, 20, 80, 60])),
            "。" + "长" * 300,
        )
    ]
    opened.give(picture("很长的名字" * 20 + ".png"), picture("b.png"), picture("c.png"))
    frame = page.locator(".canvas").bounding_box()
    finger = opened.context.new_cdp_session(page)
    for kind, share in (("touchStart", 0.2), ("touchMove", 0.4), ("touchMove", 0.6), ("touchEnd", None)):
        point = (
            {}
            if share is None
            else {"x": frame["x"] + share * frame["width"], "y": frame["y"] + share * frame["height"]}
        )
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point] if point else []})
    opened.ask("这是什么？")
    assert fits() and page.locator(".place").count() == 0  # picture 3 is shown; the star is in picture 1
    page.locator(".phrase").tap()
    assert page.inner_text(".label") == "一颗星" and fits()
    place = opened.content()[3]
    assert place["image"] == 2 and all(abs(a - b) <= 1 for a, b in zip(place["box"], (40, 20, 120, 60), strict=True))
    page.get_by_role("button", name="English").tap()
    assert page.get_attribute("html", "lang") == "en" and fits()
    page.reload()
    assert page.inner_text("h2") == "Ask a picture"  # remembered
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(25, 24, 23)"
    opened.context.close()
    assert opened.complaints == []
