"""Take the pictures of docs/demo.md from a running server with the packaged nano model; its answers are as they come.

Needs playwright and an installed Chromium:

    python scripts/shoot_demo.py http://127.0.0.1:8000/ docs/images
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

from PIL import Image as PILImage
from playwright.sync_api import Page, sync_playwright

from qwenvl.data.synth.html_browser import find

DESKTOP: dict[str, Any] = {"viewport": {"width": 1200, "height": 720}, "locale": "en-GB"}
PHONE: dict[str, Any] = {
    "viewport": {"width": 375, "height": 720},
    "locale": "zh-CN",
    "color_scheme": "dark",
    "has_touch": True,
    "is_mobile": True,
}


def main(url: str, folder: Path) -> None:
    """Write demo.png and demo-phone.png to `folder`."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=["--no-sandbox"])
        page = _opened(browser.new_context(**DESKTOP).new_page(), url)
        page.locator(".example").nth(1).click()
        _answered(page, 1)
        page.fill("textarea", "Where is the red cross?")
        page.keyboard.press("Enter")
        _answered(page, 2)
        page.locator(".turn:first-child .phrase").nth(2).hover()
        _shoot(page, folder / "demo.png")
        page = _opened(browser.new_context(**PHONE).new_page(), url)
        page.locator(".example").nth(2).tap()
        _answered(page, 1)
        page.locator(".phrase").first.tap()
        _shoot(page, folder / "demo-phone.png")
        browser.close()


def _opened(page: Page, url: str) -> Page:
    page.goto(url)
    page.wait_for_selector('#status[data-state="ready"]')
    return page


def _answered(page: Page, count: int) -> None:
    page.wait_for_selector(f".turn:nth-child({count}) .answer-foot .round")


def _shoot(page: Page, path: Path) -> None:
    page.wait_for_timeout(400)
    PILImage.open(io.BytesIO(page.screenshot())).convert("RGB").save(path, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], Path(sys.argv[2]))
