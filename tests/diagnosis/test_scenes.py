"""The doctor on scenes: maps that cannot be used, pictures of nothing, classes by what is shown."""

import json

import numpy as np
import pytest
from PIL import Image

from patchword import doctor
from patchword.cli import main
from tests.training.places import depths, masks


@pytest.fixture
def sick(tmp_path):
    """Masks of another size, with a value that is no class, of nothing; and one class in one."""
    root = masks(tmp_path / "data")
    first = root / "masks/train/0.png"
    Image.fromarray(np.zeros((5, 7), np.uint8)).save(first)
    for name, value in (("1", 77), ("2", 255)):
        path = root / f"masks/train/{name}.png"
        with Image.open(path) as image:
            size = image.size
        Image.fromarray(np.full(size[::-1], value, np.uint8)).save(path)
    for path in (root / "masks/val").iterdir():
        pixels = np.array(Image.open(path))
        Image.fromarray(np.where(pixels == 2, 1, pixels)).save(path)
    return root


def test_masks_are_looked_at(sick, tmp_path, capsys):
    found = doctor(str(sick), out=tmp_path / "out", workers=0).found
    why = {f.kind: f.why for f in found.findings}
    assert found.counts["scene"] == 2 and found.counts["empty"] == 1
    rows = {found.examined.name(f.row): f.why for f in found.findings if f.kind == "scene"}
    assert "its map is 7 x 5 pixels, the picture 36 x 24" in rows["images/train/0.png"]
    assert "has value 77, which is no class" in rows["images/train/1.png"]
    assert why["empty"] == "no pixel, box or reading that counts"
    remarks = {(r.kind, r.where) for r in found.remarks}
    assert ("missing", "validation/blue") in remarks
    kept = (tmp_path / "out/quarantine.csv").read_text()
    assert "images/train/0.png" in kept and "images/train/2.png" not in kept
    page = (tmp_path / "out/doctor.html").read_text(encoding="utf-8")
    for words in ("Unusable maps", "Nothing known", "Classes of pixels"):
        assert words in page
    assert main(["doctor", str(sick), "--out", str(tmp_path / "more"), "--json"]) == 1
    kinds = [json.loads(line)["kind"] for line in capsys.readouterr().out.splitlines()]
    assert kinds.count("scene") == 2


def test_sound_masks_and_depths_are_sound(tmp_path):
    for make, label in ((masks, "red, green, blue"), (depths, "depths")):
        root = make(tmp_path / make.__name__)
        found = doctor(str(root), out=tmp_path / f"{make.__name__}-out", workers=0).found
        assert not found.findings and found.examined.label(0) == label
        assert found.labels.startswith("not looked for")


def test_boxes_without_area_are_told(shared, tmp_path, capsys):
    words = ["doctor", str(shared / "sets/bccd_voc"), "--out", str(tmp_path / "out")]
    assert main([*words, "--workers", "0"]) in (0, 1)
    assert "2 boxes without area left out" in capsys.readouterr().out
