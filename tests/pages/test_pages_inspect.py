"""The page of "Look inside": complete, harmless, light, and it answers pointer and keys."""

import re
import time
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from patchword.pages.inspect import Inside, Run, Viewed, render_inside, view, write_inside
from tests.pages.inside import inside, viewed, whole
from tests.pages.test_browser import complaints, requests

DOWN, HOME, NEXT, RIGHT, UP = 40, 36, 34, 39, 38


@pytest.fixture
def pictures(make_picture):
    return [make_picture(64, 96, seed=seed) for seed in range(3)]


@pytest.fixture(params=[1, 2], ids=["one run", "two runs"])
def path(request, pictures, tmp_path):
    write_inside(inside(pictures, runs=request.param), tmp_path / "inspect.html")
    return tmp_path / "inspect.html"


def test_names_are_escaped_and_nothing_is_fetched(pictures, hostile):
    page = render_inside(inside(pictures, f"{hostile}\udcff", runs=2))
    assert hostile not in page and "<img src=http" not in page
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)


def test_what_is_absent_is_a_sentence_and_no_empty_frame(pictures):
    nothing = Viewed(picture=pictures[0], title="hat", answer="hat")
    run = Run(name="resnet", viewed=(nothing,), absent="A ResNet convolves.")
    page = render_inside(Inside(title="t", runs=(run,)))
    assert "A ResNet convolves." in page and page.count("<section") == 1
    assert 'class="viewer"' not in page and "<fieldset" not in page


def test_each_figure_is_a_file_of_its_own(pictures, tmp_path):
    found = write_inside(inside(pictures), tmp_path / "inspect.html")
    assert set(found) == {"chart", "dots", "matrix", "mosaic", "scatter", "sheet", "strip"}
    for path in found.values():
        assert path.parent == tmp_path / "inspect"
        if path.suffix == ".svg":
            root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
            assert "dress" in "".join(root.itertext())
        else:
            with Image.open(path) as image:
                assert np.asarray(image).std() > 10


def test_sixteen_pictures_of_a_small_vit_are_under_8_mb(make_picture):
    rng = np.random.default_rng(0)
    grid = (14, 14)
    layers = tuple(whole(rng, f"block {i + 1}", grid=grid) for i in range(12))
    six = tuple(
        type(layer)(
            name=layer.name,
            weights=layer.weights.repeat(3, 0),
            queries=layer.queries,
            keys=layer.keys,
        )
        for layer in layers
    )
    shown = tuple(viewed(make_picture(224, 224, seed=i), layers=six) for i in range(16))
    kept = view(Run(name="vit_small_patch16_224", viewed=shown))["pictures"]
    assert kept[0]["exact"] and {layer["heads"] for layer in kept[0]["layers"]} == {6}
    assert {layer["heads"] for each in kept[1:] for layer in each["layers"]} == {1}
    assert sum(len(layer["data"]) for each in kept for layer in each["layers"]) < 7_000_000


STATE = "JSON.stringify(document.querySelector('.viewer').dataset)"
GLOW = "document.querySelector('.stage canvas').toDataURL()"
READY = "document.querySelectorAll('.viewer:not([hidden]) .layers label').length"


def until(browser, condition):
    """Wait until a condition holds: maps are unpacked behind the page's back."""
    for _ in range(500):
        if browser.run(condition):
            return
        time.sleep(0.02)
    raise AssertionError(condition)


def opened(browser, path, **window):
    browser.open(path, **window)
    until(browser, READY)


@pytest.mark.browser
@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (1280, "dark"), (360, "light")])
def test_it_opens_without_a_complaint_and_asks_for_nothing(browser, path, width, theme):
    opened(browser, path, width=width, theme=theme)
    assert complaints(browser) == [] and requests(browser) == [path.as_uri()]
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("[...document.images].every(i => i.complete && i.naturalWidth > 0)")


@pytest.mark.browser
def test_the_pointer_picks_a_patch(browser, path):
    opened(browser, path)
    x, y = browser.run(
        """(() => { const stage = document.querySelector(".stage");
        stage.scrollIntoView({ block: "center", behavior: "instant" });
        const box = stage.getBoundingClientRect();
        return [box.left + 0.9 * box.width, box.top + 0.1 * box.height]; })()"""
    )
    before = browser.run(GLOW)
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    said = browser.run("document.querySelector('.said').textContent")
    assert said.startswith("block 3, mean of the heads. Patch in row 1, column 6")
    assert browser.run(GLOW) != before
    others = "[...document.querySelectorAll('.viewer')].map(v => v.dataset.x)"
    assert len(set(browser.run(others))) == 1, "two runs are asked for the same patch"
    assert complaints(browser) == []


@pytest.mark.browser
def test_the_keys_move_turn_and_ask_the_class_token(browser, path):
    opened(browser, path)
    said = "document.querySelector('.said').textContent"
    browser.run("document.querySelector('.stage').focus()")
    assert "row 3, column 4" in browser.run(said)
    for key, code in (("ArrowUp", UP), ("ArrowRight", RIGHT)):
        browser.press(key, code)
    assert "row 2, column 5" in browser.run(said)
    browser.press("PageUp", 33)
    assert browser.run(said).startswith("block 2") and browser.run(STATE).count('"layer":"1"') == 1
    browser.press("PageUp", 33)
    glow = browser.run(GLOW)
    browser.press("Home", HOME)
    assert "The class token: most on" in browser.run(said) and browser.run(GLOW) != glow
    assert browser.run("document.querySelector('.mark').hidden")
    browser.press("PageDown", NEXT)
    assert "no class token asks" in browser.run(said)
    browser.press("ArrowDown", DOWN)
    assert "Patch in row 3, column 5" in browser.run(said)


@pytest.mark.browser
def test_layers_heads_and_pictures_are_picked_by_keys(browser, path):
    opened(browser, path)
    said = "document.querySelector('.said').textContent"
    glow = browser.run(GLOW)
    browser.run("document.querySelector('.of-heads :checked').focus()")
    browser.press("ArrowRight", RIGHT)
    assert "head 1" in browser.run(said) and browser.run(GLOW) != glow
    browser.run("document.querySelector('.layers :checked').focus()")
    browser.press("ArrowUp", UP)
    assert "block 2, head 1" in browser.run(said)
    browser.run("document.querySelector('.choice :checked').focus()")
    browser.press("ArrowRight", RIGHT)
    until(browser, "document.querySelector('.kept').textContent.includes('pooled')")
    assert browser.run("document.querySelector('.verdict').textContent").startswith("dress 1.")
    assert browser.run("document.querySelector('.of-heads').hidden")
    assert complaints(browser) == []


@pytest.mark.browser
def test_points_are_read_by_keys(browser, path):
    opened(browser, path)
    browser.run("document.querySelector('.scatter svg').focus()")
    browser.press("ArrowRight", RIGHT)
    assert browser.run("!document.querySelector('.scatter .seen')")
    browser.press("ArrowRight", RIGHT)
    assert browser.run("document.querySelector('.scatter .at').textContent") == "dress 1"
    until(browser, "document.querySelector('.scatter .seen').naturalWidth")
    assert browser.run("document.querySelector('.scatter .seen').checkVisibility()")


@pytest.mark.browser
def test_dots_are_read_by_pointer_and_keys(browser, path):
    opened(browser, path)
    said = "document.querySelector('.dots .at').textContent"
    x, y = browser.run(
        """(() => { const plane = document.querySelector(".dots svg");
        plane.scrollIntoView({ block: "center", behavior: "instant" });
        const box = plane.getBoundingClientRect();
        return [box.left + 0.83 * box.width, box.top + 0.01 * box.height]; })()"""
    )
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    assert browser.run(said) == "dress 2, head 2: 2.5 pixels"
    browser.run("document.querySelector('.dots svg').focus()")
    for _ in range(2):
        browser.press("ArrowRight", RIGHT)
    assert browser.run(said) == "dress 0, head 2: 0.5 pixels"
    assert browser.run("document.querySelectorAll('.dots .picked').length") == 1
    assert complaints(browser) == []


@pytest.mark.browser
def test_maps_are_drawn_as_they_were_given(browser, pictures, tmp_path):
    rng = np.random.default_rng(3)
    layer = whole(rng, "block 1")
    run = Run(name="a", viewed=(viewed(pictures[0], layers=(layer,)),))
    write_inside(Inside(title="t", runs=(run,)), tmp_path / "inspect.html")
    opened(browser, tmp_path / "inspect.html")
    said = browser.run("document.querySelector('.said').textContent")
    row = layer.weights.mean(0)[1 + 2 * 6 + 3]
    best = int(row[1:].argmax())
    assert f"most on row {best // 6 + 1}, column {best % 6 + 1}" in said
    share = float(re.search(r"([\d.]+) % on the class token", said)[1])
    assert share == pytest.approx(100 * row[0], abs=0.5)
    size = browser.run("(c => [c.width, c.height])(document.querySelector('.stage canvas'))")
    assert size == [6, 4]
