"""The study of few photos gets through, with every cell on its page."""

import json

import pytest

from benchmarks import little
from tests.training.runs import photos


@pytest.mark.slow
def test_it_gets_through(tmp_path, monkeypatch):
    photos(tmp_path / "sets" / "photos", splits=("train", "validation", "test"))
    photos(tmp_path / "sets" / "start", classes=("owl", "hen"))
    monkeypatch.setattr(little, "SOURCE", "start")
    monkeypatch.setattr(little, "PHOTOS", "photos")
    monkeypatch.setattr(little, "RATES", {"scratch": (5e-3,), "start": (5e-4, 1e-3)})
    words = [str(tmp_path / "sets"), "--out", str(tmp_path / "out"), "--steps", "2", "--seeds", "2"]
    assert little.main([*words, "--minutes", "0"]) == 0
    assert json.loads((tmp_path / "out" / "results.json").read_text())["cells"] == {}
    assert little.main(words) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["whole"] and len(found["cells"]) == 1 + 3 + 2 * 2 * 3
    for cell in ("start/0", "start/all/0", "start/held out/0"):
        splits = found["cells"][cell]["scores"].keys()
        assert splits == {"test", *(["validation"] if "all" not in cell else [])}
    rows = (tmp_path / "out" / "page.md").read_text().splitlines()
    assert sum(row.startswith(("| scratch |", "| start |")) for row in rows) == 6
