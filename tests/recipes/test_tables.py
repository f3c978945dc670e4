"""The recipes of the later papers: every number that their tables and commands give."""

from dataclasses import replace

import pytest

from patchword import recipes
from patchword.recipes.pick import Found

IMAGENET = Found(1_281_167, (375, 500), False, False, True)


def numbers(recipe):
    """Return a recipe's numbers under the names of its table."""
    optim, schedule, augment = recipe.optim, recipe.schedule, recipe.augment
    return {
        "length": recipe.steps or recipe.epochs,
        "pixels": recipe.image_size and recipe.image_size[0],
        "batch": recipe.batch_size,
        "optimizer": optim.name,
        "rate": optim.peak(recipe.batch_size),
        "rate falls": schedule.kind,
        "decay": optim.weight_decay,
        "warm-up": schedule.warmup_epochs or schedule.warmup_steps or 0,
        "clip": optim.clip,
        "smoothing": recipe.smoothing,
        "dropout": recipe.drop_rate,
        "depth": recipe.drop_path_rate,
        "repeats": recipe.repeats,
        "mixup": recipe.mixing.mixup,
        "cutmix": recipe.mixing.cutmix,
        "jitter": augment.color_jitter,
        "loss": recipe.class_loss,
    }


PLAIN = {
    "pixels": None,
    "warm-up": 0,
    "clip": None,
    "smoothing": 0.0,
    "dropout": 0.0,
    "depth": 0.0,
    "repeats": 1,
    "mixup": 0.0,
    "cutmix": 0.0,
    "jitter": 0.0,
    "loss": "cross_entropy",
}
LONG = {
    **PLAIN,
    "length": 800,
    "batch": 2048,
    "optimizer": "lamb",
    "rate": 0.003,
    "rate falls": "cosine",
    "decay": 0.05,
    "warm-up": 5,
    "clip": 1.0,
    "repeats": 3,
    "mixup": 0.8,
    "cutmix": 1.0,
    "jitter": 0.3,
    "loss": "binary",
}
WIDE = {
    **LONG,
    "length": 240,
    "rate": 0.001,
    "decay": 0.02,
    "smoothing": 0.1,
    "repeats": 1,
    "mixup": 0.0,
    "loss": "cross_entropy",
    "pixels": 224,
}
JFT = replace(IMAGENET, pictures=303_000_000)
PRETRAIN = {
    **PLAIN,
    "batch": 4096,
    "optimizer": "adamw",
    "rate falls": "linear",
    "decay": 0.1,
    "warm-up": 10_000,
}
FINETUNE = {
    **PLAIN,
    "pixels": 384,
    "batch": 512,
    "optimizer": "sgd",
    "rate": 0.03,
    "rate falls": "cosine",
    "decay": 0.0,
    "warm-up": 500,
    "clip": 1.0,
}
BIT = {
    **PLAIN,
    "batch": 512,
    "optimizer": "sgd",
    "rate": 0.003,
    "rate falls": "steps",
    "decay": 0.0,
}
ROWS = [
    (
        *("deit3", "deit3_small_patch16_224", IMAGENET),
        {**LONG, "rate": 0.004, "depth": 0.05, "pixels": 224},
    ),
    ("deit3", "deit3_base_patch16_224", IMAGENET, {**LONG, "depth": 0.2, "pixels": 192}),
    ("deit3", "deit3_large_patch16_224", IMAGENET, {**LONG, "depth": 0.45, "pixels": 192}),
    ("deit3", "deit3_huge_patch14_224", IMAGENET, {**LONG, "depth": 0.6, "pixels": 160}),
    ("deit3", "vit_tiny_patch16_224", IMAGENET, {**LONG, "depth": 0.05}),
    ("deit3_21k", "deit3_small_patch16_224", IMAGENET, {**WIDE, "depth": 0.05}),
    ("deit3_21k", "deit3_base_patch16_224", IMAGENET, {**WIDE, "depth": 0.1}),
    ("deit3_21k", "deit3_large_patch16_224", IMAGENET, {**WIDE, "depth": 0.3}),
    (
        *("deit3_21k", "deit3_huge_patch14_224", IMAGENET),
        {**WIDE, "depth": 0.5, "pixels": 126, "length": 90},
    ),
    (
        *("plain_vit", "vit_small_patch16_224", IMAGENET),
        {
            **PLAIN,
            "length": 90,
            "batch": 1024,
            "optimizer": "adamw",
            "rate": 0.001,
            "rate falls": "cosine",
            "decay": pytest.approx(0.1),  # 1e-4 that is not multiplied by the rate
            "warm-up": 10_000,
            "clip": 1.0,
            "mixup": 0.2,
        },
    ),
    ("vit_pretrain", "vit_base_patch16_224", JFT, {**PRETRAIN, "length": 7, "rate": 0.0008}),
    ("vit_pretrain", "vit_large_patch32_224", JFT, {**PRETRAIN, "length": 7, "rate": 0.0006}),
    ("vit_pretrain", "vit_large_patch16_224", JFT, {**PRETRAIN, "length": 7, "rate": 0.0004}),
    ("vit_pretrain", "vit_huge_patch14_224", JFT, {**PRETRAIN, "length": 14, "rate": 0.0003}),
    *(
        (
            *("vit_pretrain", name, replace(IMAGENET, pictures=14_000_000)),
            {**PRETRAIN, "length": epochs, "rate": 0.001, "decay": 0.03, "dropout": 0.1},
        )
        for name, epochs in (("vit_large_patch16_224", 30), ("vit_base_patch16_224", 90))
    ),
    ("vit_finetune", "vit_base_patch16_224", IMAGENET, {**FINETUNE, "length": 20_000}),
    (
        *("vit_finetune", "vit_base_patch16_224", replace(IMAGENET, pictures=50_000)),
        {**FINETUNE, "length": 10_000},
    ),
    (
        *("vit_finetune", "vit_base_patch16_224", replace(IMAGENET, pictures=3680)),
        {**FINETUNE, "length": 500},
    ),
    (
        *("bit_hyperrule", "resnetv2_50x1_bit", IMAGENET),
        {**BIT, "length": 20_000, "pixels": 480, "mixup": 0.1, "warm-up": 500},
    ),
    (
        *("bit_hyperrule", "resnetv2_50x1_bit", Found(50_000, (32, 32), True, False, True)),
        {**BIT, "length": 10_000, "pixels": 128, "mixup": 0.1, "warm-up": 500},
    ),
    (
        *("bit_hyperrule", "resnetv2_50x1_bit", replace(IMAGENET, pictures=19_999)),
        {**BIT, "length": 500, "pixels": 480, "warm-up": 100},
    ),
    (
        *("linear_probe", "vit_small_patch16_224", IMAGENET),
        {
            **PLAIN,
            "length": 100,
            "batch": 1024,
            "optimizer": "sgd",
            "rate": 0.004,
            "rate falls": "cosine",
            "decay": 0.0,
        },
    ),
]


@pytest.mark.parametrize(("name", "model", "found", "wanted"), ROWS)
def test_the_numbers_are_the_paper_s(name, model, found, wanted):
    recipe = recipes.fitted(name, model, found)
    assert numbers(recipe) == wanted
    assert recipe.name == name


def test_what_the_tables_say_in_other_words():
    deit3, wide = recipes.recipe("deit3"), recipes.recipe("deit3_21k")
    assert deit3.augment.three_augment and deit3.augment.crop_scale == (0.08, 1.0)
    assert deit3.augment.rand_augment is None and deit3.augment.erase == 0
    assert (wide.augment.crop_scale, wide.augment.plain_crop.pad) == (None, 4)
    assert not wide.augment.plain_crop.squeeze and wide.augment.plain_crop.resize == 1
    for recipe in (deit3, wide):
        rate, schedule = recipe.optim.lr, recipe.schedule
        assert rate * schedule.warmup_start == pytest.approx(1e-6)
        assert rate * schedule.end == pytest.approx(1e-5)
    randomly = recipes.recipe("plain_vit").augment.rand_augment
    assert (randomly.layers, randomly.magnitude) == (2, 10)
    for found in (JFT, IMAGENET):
        made = recipes.fitted("vit_pretrain", "vit_huge_patch14_224", found)
        assert made.optim.betas == (0.9, 0.999)
        assert made.optim.lr * made.schedule.end == pytest.approx(1e-5)
    crops = [
        recipes.fitted("bit_hyperrule", "x", Found(10, size, False, False, True))
        for size in ((95, 96), (96, 96))
    ]
    sides = [(r.image_size[0] * r.augment.plain_crop.resize, r.image_size[0]) for r in crops]
    assert sides == [(160, 128), (512, 480)]
    assert recipes.recipe("linear_probe").frozen == 1
