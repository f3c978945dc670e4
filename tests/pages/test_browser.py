"""The report in a real browser: nothing asked for, nothing complained of, usable by keys."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from patchword.pages.report import write_report

pytestmark = pytest.mark.browser
TAB, ENTER, SPACE, LEFT, RIGHT, HOME = 9, 13, 32, 37, 39, 36


@pytest.fixture
def path(make_report, tmp_path):
    names = (*(f"a class with a long name {i}" for i in range(28)), "</script><script>x()")
    write_report(make_report(names=names, mistakes=6, side=100), tmp_path / "report.html")
    return tmp_path / "report.html"


def shot(browser):
    data = browser.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
    return np.array(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def complaints(browser):
    methods = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
    browser.run("0")  # what was under way has been reported by now
    return [event for event in browser.events if event.get("method") in methods]


def requests(browser):
    sent = [e["params"] for e in browser.events if e.get("method") == "Network.requestWillBeSent"]
    return [s["request"]["url"] for s in sent if not s["request"]["url"].startswith("data:")]


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_opens_without_a_complaint_and_asks_for_nothing(browser, path, width, theme):
    browser.open(path, width=width, theme=theme)
    assert complaints(browser) == []
    assert requests(browser) == [path.as_uri()]
    assert browser.run("document.images.length") > 10
    assert browser.run("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    picture = shot(browser)
    assert picture.std() > 10
    assert (np.median(picture) > 200) == (theme == "light")


@pytest.mark.parametrize("width", [360, 768])
def test_a_narrow_page_does_not_scroll_sideways(browser, path, width):
    browser.open(path, width=width)
    assert browser.run("innerWidth") == width
    assert browser.run("document.documentElement.scrollWidth") <= width
    beyond = """[...document.querySelectorAll("main *")]
        .filter(e => !e.closest(".scroll, .file, pre, svg")
        && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
    assert browser.run(beyond) == []


def test_the_arrow_keys_read_a_plot(browser, path):
    browser.open(path)
    read = "document.querySelector('.legend').innerText.split(/\\s+/).join(' ')"
    assert "0.25" in browser.run(read) and "at the end" in browser.run(read)
    browser.run("document.querySelector('.plot').focus()")
    browser.press("Home", HOME)
    assert "training 2 " in browser.run(read) and "epoch 1" in browser.run(read)
    browser.press("ArrowRight", RIGHT)
    assert "training 1 " in browser.run(read) and "1.5" in browser.run(read)
    spoken = browser.run("document.querySelector('.plot').ariaValueText")
    assert spoken.startswith("epoch 2, training 1")
    browser.press("Tab", TAB)
    assert "at the end" in browser.run(read)


def test_a_pointer_reads_the_nearest_value(browser, path):
    browser.open(path)
    x, y = browser.run(
        """(() => { const plot = document.querySelector(".plot");
        plot.scrollIntoView({ block: "center", behavior: "instant" });
        const box = plot.getBoundingClientRect();
        return [box.left + 0.36 * box.width, box.top + 9]; })()"""
    )
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    assert browser.run("document.querySelector('.at').textContent") == "epoch 2"


def test_heads_are_picked_by_keys(browser, path):
    browser.open(path)
    shown = "[...document.querySelectorAll('.map.shown')].map(m => m.alt)"
    assert browser.run(shown) == ["Mean attention"]
    browser.run("document.querySelector('.heads :checked').focus()")
    browser.press("ArrowRight", RIGHT)
    assert browser.run(shown) == ["Attention of head 1"]
    for _ in range(2):
        browser.press("ArrowLeft", LEFT)
    assert browser.run(shown) == []


def test_tables_are_sorted_and_folds_opened_by_keys(browser, path):
    browser.open(path)
    browser.run("document.querySelectorAll('.sortable button')[2].focus()")
    browser.press("Enter", ENTER, "\r")
    first = "document.querySelector('.sortable tbody th').dataset.value"
    assert browser.run(first) == "28"
    assert browser.run("document.querySelectorAll('.sortable thead th')[2].ariaSort") == "ascending"
    browser.press("Enter", ENTER, "\r")
    assert browser.run(first) == "0"
    browser.run("document.querySelector('summary').focus()")
    browser.press(" ", SPACE, " ")
    assert browser.run("document.querySelector('details').open")


def test_the_theme_can_be_chosen(browser, path):
    browser.open(path, theme="light")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = browser.run(paper)
    browser.run("document.getElementById('theme').click()")
    dark = browser.run(paper)
    assert dark != light
    browser.open(path, theme="light")
    assert browser.run(paper) == dark, "the choice is forgotten on reload"
    browser.run("document.getElementById('theme').click()")
    assert browser.run(paper) == light


def test_what_has_the_focus_can_be_seen(browser, path):
    browser.open(path)
    seen = []
    for _ in range(12):
        browser.press("Tab", TAB)
        seen.append(browser.run("getComputedStyle(document.activeElement).outlineStyle"))
    assert set(seen) == {"solid"}
