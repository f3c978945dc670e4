"""Pages in headless Chromium: what they complain of, whether they answer, and pictures of them."""

import base64
import io
import shutil
import tempfile
import time

from PIL import Image

from patchword.files import replacing
from tests.pages.conftest import Browser
from tests.pages.test_browser import complaints, requests

WINDOWS = {  # by the name of a picture: pixels wide, pixels high, theme
    "light": (1280, 900, "light"),
    "dark": (1280, 900, "dark"),
    "phone": (390, 844, "light"),
}
COLOURS = 256  # of a picture that is kept
READY = "document.querySelectorAll('.viewer:not([hidden]) .layers label').length"
VIEWERS = "document.querySelectorAll('.viewer').length"
SAID = "document.querySelector('.said').textContent"
FOCUS = "document.querySelector('.stage').focus()"
HOVER = """(() => { const stage = document.querySelector(".stage");
    stage.scrollIntoView({ block: "center", behavior: "instant" });
    const box = stage.getBoundingClientRect();
    return [box.left + 0.9 * box.width, box.top + 0.1 * box.height]; })()"""
KEYS = {"ArrowDown": 40, "ArrowLeft": 37, "PageUp": 33, "PageDown": 34}
END = "document.querySelector('#attention').getBoundingClientRect().bottom + scrollY"


def looked_at(page, folder):
    """Open a page as it is read, and keep pictures of it; None where there is no browser."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    found = {"complaints": 0, "requests": 0, "sideways": 0}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(chromium, profile)
        try:
            for name, (width, height, theme) in WINDOWS.items():
                browser.open(page.absolute(), width=width, height=height, theme=theme)
                ready(browser)
                found["sideways"] += browser.run("document.documentElement.scrollWidth") > width
                whole = browser.run("document.documentElement.scrollHeight")
                shot(browser, folder / f"{name}.png", (width, min(whole, 16000)))
                shot(browser, folder / f"{name}-top.png", (width, round(browser.run(END)) + 24))
                found["complaints"] += len(complaints(browser))
                found["requests"] += len(requests(browser)) - 1  # the page itself
            found["answers"] = answers(browser) if browser.run(VIEWERS) else None
            found["complaints"] += len(complaints(browser))
        finally:
            browser.close()
    return found


def ready(browser):
    """Wait until maps are unpacked, where there are any."""
    for _ in range(500):
        if browser.run(READY) or not browser.run(VIEWERS):
            return
        time.sleep(0.02)
    raise AssertionError("the page does not unpack its maps")


def answers(browser):
    """Return how many of a pointer and some keys change what the page says, and of how many."""
    changed, before = 0, browser.run(SAID)
    x, y = browser.run(HOVER)
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    for key in (None, *KEYS):
        if key is not None:
            browser.run(FOCUS)
            browser.press(key, KEYS[key])
        now = browser.run(SAID)
        changed, before = changed + (now != before), now
    return [changed, 1 + len(KEYS)]


def shot(browser, path, size):
    """Keep a picture of the page's upper left part, in few colours."""
    width, height = size
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    data = browser.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
    image = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
    few = image.quantize(COLOURS, dither=Image.Dither.NONE)
    with replacing(path) as part:
        few.save(part, "png", optimize=True)
