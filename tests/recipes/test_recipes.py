"""The recipes hold their papers' numbers, and are values."""

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from patchword import recipes
from patchword.config import dump, parse
from patchword.data.augment import Augment
from patchword.errors import ConfigError
from patchword.recipes.pick import Found
from patchword.recipes.recipe import Recipe
from patchword.training.settings import Request, changed, overridden

# Touvron et al. 2021, arXiv:2012.12877, table 9: columns ViT-B and DeiT-B
TABLE = {
    "epochs": (lambda r: r.epochs, 300, 300),
    "batch size": (lambda r: r.batch_size, 4096, 1024),
    "optimizer": (lambda r: r.optim.name, "adamw", "adamw"),
    "learning rate": (lambda r: r.optim.lr, 0.003, 0.0005),
    "for a batch of": (lambda r: r.optim.lr_batch, None, 512),
    "learning rate decay": (lambda r: r.schedule.kind, "cosine", "cosine"),
    "weight decay": (lambda r: r.optim.weight_decay, 0.3, 0.05),
    "warm-up epochs": (lambda r: r.schedule.warmup_epochs, 3.4, 5),
    "label smoothing": (lambda r: r.smoothing, 0.0, 0.1),
    "dropout": (lambda r: r.drop_rate, 0.1, 0.0),
    "stochastic depth": (lambda r: r.drop_path_rate, 0.0, 0.1),
    "repeated augmentation": (lambda r: r.repeats > 1, False, True),
    "gradient clipping": (lambda r: r.optim.clip is not None, True, False),
    "RandAugment": (lambda r: r.augment.rand_augment is not None, False, True),
    "Mixup": (lambda r: r.mixing.mixup, 0.0, 0.8),
    "CutMix": (lambda r: r.mixing.cutmix, 0.0, 1.0),
    "erasing": (lambda r: r.augment.erase, 0.0, 0.25),
}


@pytest.mark.parametrize("row", TABLE)
def test_vit_and_deit_are_as_their_table_has_them(row):
    read, vit, deit = TABLE[row]
    assert (read(recipes.recipe("vit")), read(recipes.recipe("deit"))) == (vit, deit)


def test_what_the_table_says_in_other_words():
    vit, deit = recipes.recipe("vit"), recipes.recipe("deit")
    assert vit.optim.peak(vit.batch_size) == 0.003
    assert deit.optim.peak(deit.batch_size) == 0.0005 * 1024 / 512
    assert (deit.augment.rand_augment.magnitude, deit.augment.rand_augment.std) == (9, 0.5)
    assert deit.repeats == 3  # the reference's


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_is_a_value(name):
    recipe = recipes.recipe(name)
    assert recipe.name == name
    with pytest.raises(FrozenInstanceError):
        recipe.epochs = 1.0
    with pytest.raises(FrozenInstanceError):
        recipe.optim.lr = 1.0
    assert hash(recipe) == hash(replace(recipe))


@pytest.mark.parametrize("name", recipes.names())
def test_it_survives_being_written_and_read(name):
    recipe = recipes.recipe(name)
    assert parse(Recipe, json.loads(json.dumps(dump(recipe)))) == recipe


def test_the_directory_is_the_registry():
    assert recipes.names() == [
        *("axial_deeplab", "bit_hyperrule", "deformable_detr", "deit", "deit3", "deit3_21k"),
        *("deit_distilled", "detr", "dpt", "finetune", "fixres", "linear_probe", "max_deeplab"),
        *("noisy_student", "plain_vit", "segformer", "segmenter", "setr", "sparse_rcnn", "tiny"),
        *("tiny_detect", "tiny_panoptic", "tiny_scenes", "vit", "vit_finetune", "vit_pretrain"),
    ]
    with pytest.raises(ConfigError, match=r"did you mean .*'deit'"):
        recipes.recipe("diet")


def test_settings_change_what_their_path_names_and_nothing_else():
    deit = recipes.recipe("deit")
    assert changed(deit, ()) == deit
    found = changed(deit, ("augment.hflip=0.25", "optim.name=sgd", "average=null"))
    assert found == replace(
        deit,
        augment=replace(deit.augment, hflip=0.25),
        optim=replace(deit.optim, name="sgd"),
        average=None,
    )
    found = changed(deit, ("augment.crop_scale=[0.5, 1]", "augment.rand_augment.layers=1"))
    assert found.augment.crop_scale == (0.5, 1.0)
    assert found.augment.rand_augment == replace(deit.augment.rand_augment, layers=1)
    assert changed(deit, ("augment.crop_scale=null",)).augment.crop_scale is None


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("augment.hfilp=0.5", "did you mean 'hflip'"),
        ("augmnt.hflip=0.5", "augmnt.hflip: no such setting"),
        ("epochs.hflip=0.5", "no such setting"),
        ("augment.hflip", "PATH=VALUE"),
        ("augment.hflip=often", "'often'"),
        ("augment.hflip=2", "from 0 to 1"),
        ("optim.name=adamax", "adamax"),
        ("batch_size=0.5", "0.5"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(setting, words):
    with pytest.raises(ConfigError, match=words) as caught:
        changed(recipes.recipe("deit"), (setting,))
    assert "\n" not in str(caught.value)


def test_flags_stand_in_place_of_the_recipes_numbers():
    deit = recipes.recipe("deit")
    request = Request(data="x", epochs=2.0, batch_size=64, lr=0.01, settings=("optim.lr=0.02",))
    found = overridden(deit, request)
    assert (found.epochs, found.batch_size) == (2, 64)
    assert found.optim.peak(64) == 0.02  # as it was given: not scaled with the batch
    assert found.augment == deit.augment
    assert overridden(deit, Request(data="x")) == deit


@pytest.mark.parametrize(
    ("found", "augment", "epochs"),
    [
        (Found(1437, (8, 8), True, True, False), {"hflip": 0.0, "translate": 0.1}, 104),
        (Found(60_000, (28, 28), True, True, False), {"hflip": 0.0, "translate": 0.0}, 10),
        (Found(50_000, (32, 32), True, False, False), {"hflip": 0.5, "crop_scale": None}, 10),
        (
            Found(400, (300, 400), False, False, False),
            {"hflip": 0.5, "crop_scale": (0.35, 1.0)},
            250,
        ),
    ],
    ids=["few figures", "many figures", "small photos", "photos"],
)
def test_tiny_is_fitted_to_the_pictures(found, augment, epochs):
    recipe = recipes.fitted("tiny", "vit_micro_patch2_8", found)
    assert recipe.epochs == epochs
    assert {name: getattr(recipe.augment, name) for name in augment} == augment
    assert isinstance(recipe.augment, Augment)
    assert recipe.batch_size == (128 if found.pictures >= 2000 else 64)
