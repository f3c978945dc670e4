"""Scenes that a small network learns in seconds: what lies at a place can be told by its colour."""

import json

import numpy as np
from PIL import Image

COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]])
HEAD = ("--model", "segformer", "--backbone", "vit_micro_patch2_8", "--image-size", "16")
QUICK = (
    *("--precision", "fp32", "--workers", "0", "--batch-size", "4", "--settings"),
    *("joint.scale=[0.8,1.25]", "optim.lr=0.003", "drop_path_rate=0.0"),
)


def blocks(draw, rows, columns):
    """Return classes of pixels in blocks of 8."""
    coarse = draw.integers(0, 3, (rows // 8 + 1, columns // 8 + 1))
    return coarse.repeat(8, axis=0).repeat(8, axis=1)[:rows, :columns].astype(np.uint8)


def sized(number):
    return 24 + 3 * (number % 3), 36 - 5 * (number % 2)


def painted(draw, mask):
    return (COLOURS[mask] + draw.integers(-30, 30, (*mask.shape, 3))).clip(0, 255).astype(np.uint8)


def masks(root, splits=(("train", 12), ("val", 4)), names=("red", "green", "blue")):
    """Write pictures of several sizes and masks beside them."""
    draw = np.random.default_rng(0)
    for split, count in splits:
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for number in range(count):
            mask = blocks(draw, *sized(number))
            Image.fromarray(painted(draw, mask)).save(root / f"images/{split}/{number}.png")
            Image.fromarray(mask).save(root / f"masks/{split}/{number}.png")
    (root / "classes.txt").write_text("\n".join((*names, "void")))
    return root


def depths(root, splits=(("train", 12), ("val", 4))):
    """Write pictures the brighter the nearer, and their depths in centimetres."""
    draw = np.random.default_rng(0)
    for split, count in splits:
        for kind in ("rgb", "depth"):
            (root / kind / split).mkdir(parents=True)
        for number in range(count):
            metres = 1.0 + blocks(draw, *sized(number))
            levels = (240 / metres)[..., None] + draw.integers(-5, 5, (*metres.shape, 3))
            Image.fromarray(levels.clip(0, 255).astype(np.uint8)).save(
                root / f"rgb/{split}/{number}.png"
            )
            stored = (100 * metres).astype(np.uint16)
            stored[:2] = 0  # no reading
            Image.fromarray(stored).save(root / f"depth/{split}/{number}.png")
    (root / "depth.json").write_text(json.dumps({"unit": 0.01, "far": 10}))
    return root
