"""Looking inside models that answer place by place, end to end."""

import json
import re

import pytest

import patchword
from patchword.cli import main
from tests.training import cells, places


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return runs of a few steps by what they answer."""
    folder = tmp_path_factory.mktemp("runs")
    quick = ("--epochs", "1", "--out")
    with cells.tiny_heads():
        data = {
            "objects": (cells.coco(folder / "a"), cells.SPOTTER),
            "panoptic": (cells.panoptic(folder / "b"), cells.PARTER),
            "mask": (places.masks(folder / "c"), (*places.HEAD, *places.QUICK)),
        }
        for kind, (root, words) in data.items():
            words = ["segmenter" if word == "segformer" else word for word in words]
            assert main(["train", str(root), *quick, str(folder / kind), *words]) == 0
        yield {kind: folder / kind for kind in data}


WORDS = {"objects": "What queries look at", "panoptic": "centres", "mask": "Where classes are"}


@pytest.mark.parametrize("kind", WORDS)
def test_a_run_shows_answers_what_they_rest_on_and_features(runs, kind):
    found = patchword.inspect(runs[kind], device="cpu")
    page = found.path.read_text(encoding="utf-8")
    assert WORDS[kind] in page and {"answers", "rests", "tokens"} == set(found.figures)
    assert all(path.is_file() for path in found.figures.values())
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert found.said.keys() == {"answers", "rests", "tokens"}


def test_pictures_may_be_named(runs, tmp_path, capsys):
    run, picture = runs["objects"], runs["objects"].parent / "a/images/val/000007.png"
    words = ["inspect", str(run), str(picture), "--out", str(tmp_path / "out"), "--json"]
    assert main(words) == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert row["page"] == str(tmp_path / "out/inspect.html")
    assert "shown 1 pictures" in (tmp_path / "out/inspect.html").read_text(encoding="utf-8")


def test_what_is_of_classifiers_is_refused_in_a_line(runs, capsys):
    for more in (["--checks"], ["--against", str(runs["mask"])]):
        assert main(["inspect", str(runs["objects"]), *more]) == 2
        said = capsys.readouterr().err
        assert "are of classifiers" in said and said.count("\n") == 1
