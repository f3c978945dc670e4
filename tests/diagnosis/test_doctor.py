"""The doctor on small data sets that are ill on purpose."""

import csv
import hashlib
import json
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

from benchmarks.damage import damage
from patchword import create_model, doctor
from patchword.cli import main
from patchword.conversion import save
from patchword.data import Pixels, open_data
from patchword.diagnosis.checkup import checkup
from patchword.errors import ConfigError, DataError
from tests.data.pictures import smooth


def photos(root, each=8, splits=("train", "val"), size=(48, 64)):
    """Write pictures that differ much, as PNGs: two classes of so many per split."""
    seed = 0
    for split in splits:
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for index in range(each):
                rng = np.random.default_rng(seed)
                blocks = rng.uniform(-60, 60, (6, 8, 3)).repeat(8, 0).repeat(8, 1)
                picture = np.clip(smooth(*size, seed=seed) / 2 + 64 + blocks, 0, 255)
                Image.fromarray(picture.astype(np.uint8)).save(root / split / name / f"{index}.png")
                seed += 1
    return root


def hashes(root):
    return {
        str(path.relative_to(root)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat())
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def found(root, kind):
    result = checkup(root, workers=0)
    return {result.examined.name(f.row): f for f in result.findings if f.kind == kind}


@pytest.fixture
def clean(tmp_path):
    return photos(tmp_path / "photos")


def test_a_sound_set_has_no_findings(clean, tmp_path, capsys):
    result = doctor(str(clean), out=tmp_path / "out", workers=0)
    assert result.found.findings == () and result.found.remarks == ()
    assert result.found.sound
    assert main(["doctor", str(clean), "--out", str(tmp_path / "out"), "--workers", "0"]) == 0
    assert "found         nothing to put right\n" in capsys.readouterr().out


def test_what_cannot_be_read_and_what_shows_nothing(clean):
    whole = (clean / "train/cat/0.png").read_bytes()
    (clean / "train/cat/0.png").write_bytes(whole[: len(whole) // 2])
    (clean / "val/dog/1.png").write_bytes(b"")
    Image.new("RGB", (64, 48), (9, 99, 199)).save(clean / "train/dog/2.png")
    result = checkup(clean, workers=0)
    assert [(result.examined.name(f.row), f.kind) for f in result.findings] == [
        ("train/cat/0.png", "unreadable"),
        ("val/dog/1.png", "unreadable"),
        ("train/dog/2.png", "constant"),
    ]
    assert {f.row for f in result.quarantine} == {f.row for f in result.findings}
    assert not result.sound


def test_the_same_pixels_in_another_file_format_are_exact_and_one_stays(clean):
    Image.open(clean / "val/cat/3.png").save(clean / "train/cat/copy.bmp")
    result = checkup(clean, workers=0)
    assert result.counts == {"exact": 2}
    assert all("across splits" in f.why for f in result.findings)
    assert [result.examined.name(f.row) for f in result.quarantine] == ["train/cat/copy.bmp"]


def test_copies_under_different_labels_all_leave_the_training_split(clean):
    Image.open(clean / "train/cat/3.png").save(clean / "train/dog/copy.png")
    result = checkup(clean, workers=0)
    assert all("different labels" in f.why for f in result.findings)
    left = {result.examined.name(f.row) for f in result.quarantine}
    assert left == {"train/cat/3.png", "train/dog/copy.png"}


CHANGES = {
    "encoded": lambda image: (image, {"quality": 50}, ".jpg"),
    "smaller": lambda image: (image.resize((40, 30)), {}, ".png"),
    "brighter": lambda image: (image.point(lambda v: v * 0.85), {}, ".png"),
    "cropped": lambda image: (image.crop((2, 1, 63, 47)), {}, ".png"),
    "mirrored": lambda image: (image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), {}, ".png"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_nearly_the_same_pixels(clean, change):
    with Image.open(clean / "train/dog/5.png") as image:
        changed, options, suffix = change(image)
        changed.save(clean / f"val/dog/copy{suffix}", **options)
    assert set(found(clean, "near")) == {"train/dog/5.png", f"val/dog/copy{suffix}"}


def test_turned_misnamed_and_unusual_pictures_are_named_and_kept(clean):
    for split in ("train", "val"):  # one in twenty is unusual, so there have to be more
        for name in ("cat", "dog"):
            for index in range(8):
                rng = np.random.default_rng((ord(split[0]), ord(name[0]), index))
                values = rng.integers(0, 255, (48, 64, 3)).astype(np.uint8)
                Image.fromarray(values).save(clean / split / name / f"noise{index}.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(clean / "train/cat/0.png") as image:
        image.transpose(Image.Transpose.ROTATE_90).save(clean / "train/cat/0.png", exif=exif)
    (clean / "train/cat/1.png").rename(clean / "train/cat/1.jpg")
    with Image.open(clean / "train/cat/2.png") as image:
        image.convert("L").save(clean / "train/cat/2.png")
    result = checkup(clean, workers=0)
    told = {f.kind: (result.examined.name(f.row), f.why) for f in result.findings}
    assert told == {
        "rotated": ("train/cat/0.png", "EXIF orientation 6"),
        "suffix": ("train/cat/1.jpg", "is PNG, called .jpg"),
        "mode": ("train/cat/2.png", "L, 8 bits"),
    }
    assert result.quarantine == () and result.sound


def test_a_renamed_class_is_told_and_its_name_guessed(clean):
    (clean / "val/cat").rename(clean / "val/Cat")
    result = checkup(clean, workers=0)
    told = {(r.kind, r.where): r.why for r in result.remarks}
    assert told.keys() == {("stray", "validation/Cat"), ("missing", "validation/cat")}
    assert "is it 'cat'?" in told["stray", "validation/Cat"]
    assert not result.sound


def test_a_class_of_few_pictures(tmp_path):
    photos(tmp_path, each=12, splits=("train",))
    for index in range(2, 12):
        (tmp_path / f"train/dog/{index}.png").unlink()
    (tmp_path / "train/bird").mkdir()
    for index in range(12):
        Image.fromarray(smooth(30, 30, seed=100 + index)).save(tmp_path / f"train/bird/{index}.png")
    assert [(r.kind, r.where) for r in checkup(tmp_path, workers=0).remarks] == [
        ("rare", "train/dog")
    ]


def test_wrong_labels_of_digits_are_found_and_left_to_the_eye(tmp_path):
    truth = damage("digits", tmp_path, seed=5, limit=300, share=0.01, kinds=("label",))
    result = checkup(tmp_path / "data", workers=0)
    suspects = {result.examined.name(f.row) for f in result.findings if f.kind == "label"}
    wrong = {row.file for row in truth}
    assert len(suspects & wrong) > 0.6 * len(wrong)
    assert len(suspects - wrong) < 0.2 * len(suspects)
    assert not any(f.kind == "label" for f in result.quarantine)


def test_labels_are_not_judged_where_neighbours_know_little(clean):
    assert checkup(clean, workers=0).labels.startswith("not looked for: ")


def test_nothing_is_written_into_the_data(tmp_path):
    damage("digits", tmp_path, seed=6, limit=150, share=0.02, kinds=("exact", "unreadable"))
    before = hashes(tmp_path / "data")
    doctor(str(tmp_path / "data"), out=tmp_path / "out", workers=0)
    after = hashes(tmp_path / "data")
    assert {k: v[0] for k, v in after.items()} == {k: v[0] for k, v in before.items()}
    assert {k: v[1].st_mtime_ns for k, v in after.items()} == {
        k: v[1].st_mtime_ns for k, v in before.items()
    }
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "doctor.html",
        "findings.csv",
        "quarantine.csv",
    ]


@pytest.mark.parametrize("place", ["", "train", "new/results"])
def test_no_results_go_into_the_data(clean, place):
    with pytest.raises(ConfigError, match="only read"):
        doctor(str(clean), out=clean / place)


def test_processes_find_what_a_thread_finds(clean):
    Image.open(clean / "val/cat/3.png").save(clean / "train/cat/copy.bmp")
    one, two = (checkup(clean, workers=workers) for workers in (0, 2))
    assert one.findings == two.findings


def test_only_broken_pictures_are_an_error(tmp_path):
    for path in photos(tmp_path, each=2).rglob("*.png"):
        path.write_bytes(b"broken")
    with pytest.raises(DataError, match="shows anything"):
        checkup(tmp_path, workers=0)


def test_the_command_prints_lines_of_json(clean, tmp_path, capsys):
    (clean / "train/cat/0.png").write_bytes(b"")
    words = ["doctor", str(clean), "--out", str(tmp_path / "out"), "--json", "--workers", "0"]
    assert main(words) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["file"] == "train/cat/0.png"
    with (tmp_path / "out/quarantine.csv").open(newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == ["train/cat/0.png"]


def test_the_command_shows_a_table(clean, tmp_path, capsys):
    Image.open(clean / "val/cat/3.png").save(clean / "train/cat/copy.bmp")
    assert main(["doctor", str(clean), "--out", str(tmp_path / "o"), "--workers", "0"]) == 1
    said = capsys.readouterr().out
    assert "same pixels as another" in said and "--quarantine" in said


def test_labels_are_judged_by_a_models_features(clean, tmp_path):
    model = create_model("vit_mini_patch4_32", num_classes=2)
    save(model, tmp_path / "model")
    said = checkup(clean, run=tmp_path / "model", workers=0).labels
    assert f"by features of {tmp_path / 'model'}" in said


@pytest.mark.parametrize("layout", ["flat", "one folder", "shard"])
def test_pictures_without_classes_are_looked_at(clean, tmp_path, layout):
    pictures = sorted((clean / "train" / "cat").iterdir())
    broken, twin = pictures[0].read_bytes()[:200], pictures[1].read_bytes()
    where = tmp_path / "bare" / ("inner" if layout == "one folder" else "")
    where.mkdir(parents=True)
    if layout == "shard":
        with tarfile.open(where / "train-0.tar", "w") as tar:
            for path in pictures:
                tar.add(path, path.name)
            tar.add(pictures[1], "twin.png")
            (tmp_path / "broken.png").write_bytes(broken)
            tar.add(tmp_path / "broken.png", "broken.png")
    else:
        for path in pictures:
            shutil.copy(path, where / path.name)
        (where / "twin.png").write_bytes(twin)
        (where / "broken.png").write_bytes(broken)
    result = checkup(tmp_path / "bare", workers=0)
    assert len(result.examined.rows) == len(pictures) + 2
    assert result.counts == {"exact": 2, "unreadable": 1}
    assert result.remarks == () and "no classes" in result.labels
    with pytest.raises(DataError, match=r"class|label"):
        open_data(tmp_path / "bare", pixels=Pixels(), seed=0)
