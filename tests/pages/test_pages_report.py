"""The report as a document: well-formed, self-contained, safe and whole, whatever it is given."""

import re
from dataclasses import fields, replace
from html.parser import HTMLParser

import numpy as np
import pytest

from patchword.errors import ConfigError
from patchword.pages.report import (
    Attended,
    Chart,
    Confusion,
    Mistake,
    Report,
    Series,
    render_report,
    write_report,
)

VOID = {"meta", "link", "img", "input", "br", "hr"}
PARTS = [field.name for field in fields(Report) if field.name != "title"]


class Document(HTMLParser):
    """Collect the elements of a page; fail where one is not closed in its place."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.words = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    def count(self, tag):
        return sum(each == tag for each, _ in self.elements)


def check(text):
    """Hold what must be true of every page, and return it parsed."""
    document = Document(text)
    assert document.count("script") == document.count("style") == 1
    ids = [attrs["id"] for _, attrs in document.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for tag, attrs in document.elements:
        assert not [name for name in attrs if name.startswith("on")], (tag, attrs)
        assert not {"srcset", "action", "poster", "background"} & attrs.keys(), (tag, attrs)
        for name in ("src", "href"):
            link = attrs.get(name, "#")
            assert link.startswith(("data:", "#")), (tag, link)
            assert not link.startswith("#") or link == "#" or link[1:] in ids, link
        if tag == "img":
            assert "alt" in attrs
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style
    return document


def test_a_full_report_is_well_formed_and_needs_nothing_else(make_report):
    document = check(render_report(make_report(names=("cat", "dog", "owl"))))
    policy = [a["content"] for t, a in document.elements if "http-equiv" in a]
    assert policy == [
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    ]
    assert "http" not in re.sub("http-equiv", "", render_report(make_report(("cat", "dog"))))


def test_hostile_names_stay_words(make_report, hostile):
    text = render_report(make_report())
    document = check(text)
    assert "<script>document.title" not in text and "<img src=http" not in text
    assert hostile in "".join(document.words)
    alts = [attrs["alt"] for tag, attrs in document.elements if tag == "img"]
    assert any(hostile in alt for alt in alts)


def test_a_name_that_is_no_text_can_be_written(make_report, tmp_path):
    write_report(make_report(), tmp_path / "report.html")
    assert "\\udcff0.png" in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.parametrize("part", PARTS)
def test_every_part_can_be_missing(make_report, part):
    empty = getattr(Report(title=""), part)
    full = make_report(names=("cat", "dog", "owl"))
    text = render_report(replace(full, **{part: empty}))
    check(text)
    assert len(text) < len(render_report(full))


def test_classes_of_pixels_have_an_iou(make_report):
    plain = make_report(names=("cat", "dog", "owl"))
    measures = {"counted": "pixels", "measures": (("IoU", 0.125),)}
    rows = tuple(replace(row, **measures) for row in plain.per_class)
    text = render_report(replace(plain, per_class=rows))
    check(text)
    assert text.count("12.5 %") == 3 and ">Pixels<" in text and ">Images<" not in text
    assert ">IoU<" not in render_report(plain) and ">Images<" in render_report(plain)
    assert "Of 40 classes those are left out" in render_report(plain)
    assert "left out" not in render_report(replace(plain, classes=3))


def test_a_report_may_be_a_title_alone():
    document = check(render_report(Report(title="nothing yet")))
    assert document.count("section") == document.count("figure") == 0


@pytest.mark.parametrize("classes", [1, 2, 30, 31, 100])
def test_any_number_of_classes(make_report, classes):
    names = tuple(f"class {i}" for i in range(classes))
    document = check(render_report(make_report(names=names)))
    tables = [attrs.get("class", "") for tag, attrs in document.elements if tag == "table"]
    assert ("matrix" in " ".join(tables)) == (classes <= 30)


def test_a_table_has_its_header_cells(make_report):
    text = render_report(make_report(names=("a", "b")))
    assert text.count('scope="row"') == 4 and text.count('scope="col"') == 6


def test_the_page_stays_under_two_megabytes(make_report, make_picture):
    report = make_report(names=tuple(f"class {i}" for i in range(100)))
    rng = np.random.default_rng(0)
    photographs = [make_picture(224, 224, seed=i) for i in range(40)]
    mistakes = tuple(
        Mistake(picture=p, name="a.jpg", truth="a", answer="b", confidence=0.9)
        for p in photographs[:24]
    )
    attention = tuple(
        Attended(title="a.jpg", picture=p, maps=rng.random((12, 14, 14))) for p in photographs[24:]
    )
    positions = rng.uniform(-1, 1, (14, 14, 14, 14))
    heavy = replace(report, mistakes=mistakes, attention=attention, positions=positions)
    assert len(render_report(heavy).encode()) < 2_000_000


def test_the_write_is_whole_or_not_at_all(make_report, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write_report(make_report(), path)
    before = path.read_bytes()

    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        write_report(Report(title="another"), path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_the_same_report_is_the_same_page(make_report):
    assert render_report(make_report()) == render_report(make_report())


def test_what_does_not_fit_is_said():
    with pytest.raises(ConfigError, match="is 2 x 2 for 3 class names"):
        Confusion(names=("a", "b", "c"), counts=np.eye(2, dtype=int))
    with pytest.raises(ConfigError, match="2 x and 1 y"):
        Series(name="loss", x=(1, 2), y=(1.0,))


def test_a_chart_of_nothing_finite_says_so():
    series = Series(name="loss", x=(1, 2), y=(float("nan"), float("inf")))
    chart = Chart(title="Loss", x_label="step", y_label="loss", series=(series,))
    text = render_report(Report(title="diverged", curves=(chart,)))
    check(text)
    assert "No finite value was recorded" in text
