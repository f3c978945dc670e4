"""torchvision's data sets by name, where they are on disk."""

import numpy as np
import pytest
from PIL import Image

from patchword.cli import main
from patchword.data.open import named, open_data
from patchword.data.pixels import Pixels
from patchword.errors import DataError
from tests.data.pictures import folder, smooth
from tests.data.test_cifar import images, write
from tests.data.test_formats import idx


def opened(where):
    return open_data(where, pixels=Pixels(), seed=0)


def test_cifar_and_mnist_are_read_by_us(tmp_path):
    write(tmp_path / "cifar-10-batches-py", {"data_batch_1": images(4)}, {"test_batch": images(2)})
    data = opened(f"torchvision:CIFAR10:{tmp_path}")
    assert len(data.train) == 4 and data.train.classes == ("cat", "dog")
    raw = tmp_path / "FashionMNIST/raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((3, 4, 5), np.uint8)))
    (raw / "train-labels-idx1-ubyte").write_bytes(idx(np.array([0, 1, 2], np.uint8)))
    assert len(opened(f"torchvision:FashionMNIST:{tmp_path}").train) == 3


def test_a_set_that_torchvision_reads(tmp_path):
    """EuroSAT: class folders, no split; its pictures keep our contract."""
    folder(tmp_path / "eurosat/2750", {"Forest": 5, "River": 5})
    data = opened(f"torchvision:EuroSAT:{tmp_path}")
    assert data.name == "EuroSAT" == named(f"torchvision:EuroSAT:{tmp_path}")
    assert data.train.classes == ("Forest", "River")
    assert (len(data.train), len(data.validation)) == (8, 2)
    first = int(data.train.indices[0])
    file = tmp_path / f"eurosat/2750/Forest/{first}.jpg"
    with Image.open(file) as picture:
        wanted = np.asarray(picture)
    assert np.array_equal(data.train.read(0).permute(1, 2, 0), wanted)
    assert data.train.header(0).size == (12, 16)
    file.write_bytes(b"broken")
    with pytest.raises(DataError, match=rf"train\[{first}\]: cannot be read"):
        data.train.read(0)


def test_a_set_with_splits(tmp_path):
    """DTD: lists of files by split."""
    root = tmp_path / "dtd/dtd"
    folder(root / "images", {"dots": 3, "lines": 3})
    (root / "labels").mkdir()
    for split, names in (("train", "01"), ("val", "2"), ("test", "1")):
        lines = "".join(f"{kind}/{n}.jpg\n" for kind in ("dots", "lines") for n in names)
        (root / f"labels/{split}1.txt").write_text(lines)
    data = opened(f"torchvision:DTD:{tmp_path}")
    assert (len(data.train), len(data.validation), len(data.test)) == (4, 2, 2)
    found = data.test.read(0).permute(1, 2, 0).numpy()
    assert np.abs(found.astype(int) - smooth(12, 16, 1)).mean() < 9


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("torchvision:CIFAR10", "write torchvision:NAME:ROOT"),
        ("torchvision:CIFAR01:ROOT", "did you mean 'CIFAR10'"),
        ("torchvision:CIFAR10:ROOT/no", "there is no folder"),
        ("torchvision:CIFAR10:ROOT", "nothing is downloaded"),
        ("torchvision:SVHN:ROOT", "nothing is downloaded"),
    ],
)
def test_what_is_not_there(tmp_path, where, said, capsys):
    where = where.replace("ROOT", str(tmp_path))
    assert main(["train", where, "--out", str(tmp_path / "run")]) == 2
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
