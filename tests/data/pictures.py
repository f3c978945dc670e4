"""Pictures for the tests of `data`, made here."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def smooth(rows: int, columns: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return a smooth colour picture (rows, columns, 3), on which interpolations agree."""
    phase = np.random.default_rng(seed).uniform(0, 6, 6)
    y, x = np.mgrid[0:rows, 0:columns] / 9
    waves = [np.sin(x * (k + 1) / 2 + phase[k]) * np.cos(y + phase[k + 3]) for k in range(3)]
    return np.rint(127.5 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)


def folder(root: Path, counts: Mapping[str, int], size: tuple[int, int] = (12, 16)) -> Path:
    """Write JPEGs: so many in each folder that is named."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            picture = Image.fromarray(smooth(*size, seed=index))
            picture.save(root / name / f"{index}.jpg", quality=95)
    return root
