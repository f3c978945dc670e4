"""The doctor's page: complete, harmless whatever the files are called, light."""

import re

import pytest

from patchword.pages.doctor import ClassCounts, Doctor, Facts, Figure, Kind, Shown, write_doctor


@pytest.fixture
def path(tmp_path, make_picture, hostile):
    def shown(number, **changes):
        values = {
            "picture": make_picture(40, 60, seed=number),
            "name": f"{hostile}/\udcff{number}.png",
            "label": hostile,
            "split": "train",
            "why": hostile,
        }
        return Shown(**{**values, **changes})

    groups = ((shown(0), shown(1, why="")), (shown(2),), (shown(3, picture=None),))
    page = Doctor(
        title=hostile,
        subtitle=hostile,
        headline=(Figure(label=hostile, value="4", note=hostile),),
        notes=(hostile,),
        kinds=(Kind(id="near", title="Near", lead=hostile, count=9, groups=groups),),
        splits=("train", "test"),
        classes=(ClassCounts(name=hostile, counts=(3, 0), remark=hostile),),
        facts=(Facts(title=hostile, rows=((hostile, hostile),)),),
    )
    write_doctor(page, tmp_path / "doctor.html")
    return tmp_path / "doctor.html"


def test_everything_is_there_and_nothing_is_run(path, hostile):
    text = path.read_text(encoding="utf-8")
    assert hostile not in text
    assert text.count("data:image/png") == 3
    assert "4 of 9 are shown" in text
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text)


def test_an_empty_page_has_no_empty_parts(tmp_path):
    write_doctor(Doctor(title="photos"), tmp_path / "doctor.html")
    assert "<section" not in (tmp_path / "doctor.html").read_text(encoding="utf-8")


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 360])
def test_it_opens_without_a_complaint_and_does_not_scroll_sideways(browser, path, width):
    browser.open(path, width=width)
    browser.run("0")
    methods = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
    assert [event for event in browser.events if event.get("method") in methods] == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert browser.run("document.title") != "owned"
