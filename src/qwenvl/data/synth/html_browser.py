"""A Chromium that draws pages of strangers and can reach nothing: no network, no script, no file, no other page."""

from __future__ import annotations

import base64
import json
import math
import os
import secrets
import shutil
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from qwenvl.data.synth.html_lines import MEASURE, UNKNOWN, Piece, lines, pieces, window
from qwenvl.data.synth.html_source import harmless
from qwenvl.data.synth.html_style import VIEW, Look

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
_PIECES = 4000
_RECYCLE = 300
"""Pages after which a browser is started anew: what it leaks and remembers ends with it."""
_REWRITES = 20
"""Pages written into one document; a new document takes a third of a page's time."""
_BESIDE = 8
"""Pixels of ground beside text that makes a picture wider."""

# The proxy has a name that nothing resolves, and no address is excepted from it.
_FLAGS = (
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--proxy-bypass-list=<-loopback>",
    "--dns-prefetch-disable",
    "--disable-gpu",
    "--disable-remote-fonts",
    "--renderer-process-limit=1",
    "--font-render-hinting=none",
    "--force-color-profile=srgb",
    "--js-flags=--max-old-space-size=512",
)
_DEAD_PROXY = "http://nothing.invalid:9"


class BrowserGone(RuntimeError):
    """The browser ended in the midst of a page, or was killed because the page took too long (`slow`)."""

    def __init__(self, slow: bool) -> None:
        super().__init__("the page took too long" if slow else "the browser ended")
        self.slow = slow


class NoBrowser(ImportError):
    """There is no Chromium, or it does not start; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A page as drawn: the lines around the picture in CSS pixels of the window, the part of it that the picture shows.

    `letters` counts the whole page's text; `full` says that the window had more pieces than are looked at; `missing`
    are characters that no font here has.
    """

    image: bytes
    lines: tuple[Piece, ...]
    top: float
    bottom: float
    width: int
    letters: int
    full: bool
    missing: str = ""


def find(browser: str | None = None) -> str:
    """The path of the Chromium to use: `browser`, or one that is installed. Raises NoBrowser."""
    if browser:
        found = shutil.which(browser)
        if not found:
            raise NoBrowser(f"{browser}: no program there; --browser takes the path or name of a Chromium or Chrome")
        return found
    for name in NAMES:
        if found := shutil.which(name):
            return found
    raise NoBrowser(
        "web pages need an installed Chromium or Chrome, and none was found: apt-get install chromium fonts-noto-cjk, "
        "or name one with --browser"
    )


class Browser:
    """Draws pages, one after the other. Not for several threads; `close` it at the end."""

    def __init__(self, path: str, seconds: float) -> None:
        """`seconds` is a page's time limit. Raises NoBrowser where the browser or Playwright is missing."""
        try:
            from playwright.sync_api import sync_playwright
        except ImportError as error:
            raise NoBrowser("web pages need the package playwright: pip install 'qwenvl[html]'") from error
        self._path, self._seconds = path, seconds
        self._playwright = sync_playwright().start()
        self._browser: Any = None
        self.pid = 0
        self._drawn = 0
        self._nonce = ""
        self._late = False
        self._fonts: dict[str, bool] = {}

    def close(self) -> None:
        """End the browser and its driver."""
        self._end()
        with suppress(Exception):
            self._playwright.stop()

    def draw(self, source: str, look: Look) -> Shot:
        """Draw a page's HTML; without a picture where the window shows no text that can be cut out whole.

        Raises BrowserGone where the browser died of it or the time was over; the next call starts another one.
        """
        if self._browser is None or self._drawn >= _RECYCLE:
            self._end()
            self._start()
        self._drawn += 1
        self._late = False
        watch = threading.Timer(self._seconds, self._kill, (self.pid,))
        watch.start()
        try:
            return self._draw(source, look)
        except Exception as error:
            self._end()
            raise BrowserGone(self._late) from error
        finally:
            watch.cancel()

    def _draw(self, source: str, look: Look) -> Shot:
        limit = 1000 * self._seconds
        if self._drawn % _REWRITES == 1:
            # policies stay with a document, whatever is written into it later: one nonce serves as long as it does
            self._page.goto("about:blank", timeout=limit)
            self._nonce = secrets.token_urlsafe(12)
        self._page.set_content(harmless(source, look.css, self._nonce), timeout=limit, wait_until="domcontentloaded")
        call = f"{MEASURE}({VIEW[0]}, {VIEW[1]}, {look.part:.4f}, {_PIECES})"
        asked = self._tools.send("Runtime.evaluate", {"expression": call, "returnByValue": True, "timeout": limit})
        found = asked["result"]["value"]
        around = lines(pieces(found))
        # a scrolled page may begin a little lower, where no line is cut
        top, _ = window(around, look.height, look.part > 0)
        _, bottom = window([line for line in around if line.y1 > top], min(VIEW[1], top + look.height), False)
        bottom = min(bottom, max(found["height"], 1))
        if bottom - top < 1:
            return Shot(b"", (), 0, 0, 0, found["letters"], found["full"])
        # what can not wrap, such as a wide table, makes the picture wider
        shown = [line.x1 for line in around if line.y0 < bottom and line.y1 > top]
        width = min(VIEW[0], max(look.width, *(math.ceil(x1) + _BESIDE for x1 in shown))) if shown else look.width
        clip = {"x": 0, "y": found["y"] + top, "width": width, "height": bottom - top, "scale": look.scale}
        asked = self._tools.send(
            "Page.captureScreenshot",
            {"format": look.format, "clip": clip, "optimizeForSpeed": True}
            | ({"quality": look.quality} if look.format == "jpeg" else {}),
        )
        image = base64.b64decode(asked["data"])
        missing = self._missing("".join(line.text for line in around))
        return Shot(image, tuple(around), top, bottom, width, found["letters"], found["full"], missing)

    def _missing(self, text: str) -> str:
        """The characters that the browser draws as it draws one that is in no font."""
        characters = {one for one in text if not one.isascii()}
        if new := "".join(sorted(one for one in characters - self._fonts.keys() if one.isprintable())):
            call = f"{UNKNOWN}({json.dumps(new)})"
            asked = self._tools.send("Runtime.evaluate", {"expression": call, "returnByValue": True})
            self._fonts.update(dict.fromkeys(new, True) | dict.fromkeys(asked["result"]["value"], False))
        return "".join(sorted(one for one in characters if not self._fonts.get(one, True)))

    def _start(self) -> None:
        from playwright.sync_api import Error

        try:
            self._browser = self._playwright.chromium.launch(
                executable_path=self._path,
                # Chromium refuses its sandbox to root
                chromium_sandbox=not _is_root(),
                proxy={"server": _DEAD_PROXY},
                args=list(_FLAGS),
                timeout=60_000,
            )
            process = self._browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
            self.pid = next(one["id"] for one in process if one["type"] == "browser")
            context = self._browser.new_context(
                java_script_enabled=False,
                accept_downloads=False,
                service_workers="block",
                offline=True,
                viewport={"width": VIEW[0], "height": VIEW[1]},
            )
            context.route("**/*", lambda route: route.abort())
            self._page = context.new_page()
            # without a listener Playwright dismisses dialogs; another page has no business here
            context.on("page", lambda page: page.close())
            self._tools = context.new_cdp_session(self._page)
        except Error as error:
            self._end()
            why = str(error).strip().splitlines()
            raise NoBrowser(f"{self._path} does not start as a browser: {why[0] if why else error}") from error
        self._drawn = 0

    def _end(self) -> None:
        browser, self._browser = self._browser, None
        if browser is None:
            return
        watch = threading.Timer(self._seconds, _stop, (self.pid,))
        watch.start()
        try:
            browser.close()
        except Exception:
            _stop(self.pid)
        finally:
            watch.cancel()

    def _kill(self, pid: int) -> None:
        self._late = True
        _stop(pid)


def _stop(pid: int) -> None:
    if pid:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0
