"""The recipes of scenes: the numbers of their papers' configurations, and what they refuse."""

from dataclasses import replace

import pytest

from patchword import recipes
from patchword.config import dump, parse
from patchword.data.augment import Mixing
from patchword.errors import ConfigError
from patchword.recipes.pick import SCENES, Found, pick
from patchword.recipes.recipe import Recipe

ADE20K = Found(20_210, (512, 683), False, False, True, kind="mask")

TABLE = {  # optimizer, rate, decay, head's factor, power, floor, batch, window
    "segformer": ("adamw", 6e-5, 0.01, 10.0, 1.0, 0.0, 16, 512),
    "setr": ("sgd", 1e-3, 0.0, 10.0, 0.9, 1e-4, 16, 512),
    "segmenter": ("sgd", 1e-3, 0.0, 1.0, 0.9, 1e-5, 8, 512),
}


@pytest.mark.parametrize("name", TABLE)
def test_papers_numbers(name):
    recipe = recipes.fitted(name, "segformer_b0", ADE20K)
    optim, schedule = recipe.optim, recipe.schedule
    found = (
        *(optim.name, optim.peak(recipe.batch_size), optim.weight_decay, optim.head_lr),
        *(schedule.power, optim.lr * schedule.end, recipe.batch_size, recipe.image_size[0]),
    )
    assert found == pytest.approx(TABLE[name]) and schedule.kind == "poly"
    assert (recipe.within, recipe.joint.scale, recipe.joint.crop) == ((2048, 512), (0.5, 2.0), 0.75)
    assert recipe.steps == (None if name == "segmenter" else 160_000)


def test_larger_models_saw_larger_windows():
    assert recipes.fitted("segformer", "segformer_b5", ADE20K).image_size == (640, 640)
    large = "segmenter_vit_large_patch16"
    assert recipes.fitted("segmenter", large, ADE20K).image_size == (640, 640)


@pytest.mark.parametrize("name", ["segformer", "setr", "segmenter", "dpt", "tiny_scenes"])
def test_a_recipe_of_scenes_is_read_back(name):
    recipe = recipes.recipe(name)
    assert parse(Recipe, dump(recipe)) == recipe
    with pytest.raises(ConfigError, match=f"mixing is of whole pictures, and {name} learns places"):
        replace(recipe, mixing=Mixing(mixup=0.2))


@pytest.mark.parametrize("kind", SCENES)
def test_windows_and_sides_by_pictures_and_machine(kind):
    found = Found(36, (360, 480), True, False, False, kind=kind)
    picked = pick(found)
    assert (picked.image_size, picked.within) == ((256, 256), (1440, 360))
    assert pick(replace(found, minutes=2.0)).image_size == (160, 160)
    assert pick(replace(found, accelerator=True)).image_size == (352, 352)
    large = pick(replace(found, size=(3000, 4000)))
    assert (large.image_size, large.within) == ((256, 256), (2048, 512))
    assert pick(replace(found, size=(20, 30))).image_size == (32, 32)


def test_the_small_recipe_goes_by_the_pictures():
    few = recipes.fitted("tiny_scenes", "segformer_b0", Found(5, (90, 90), True, False, False))
    assert (few.batch_size, few.epochs) == (5, 300)
    depth = Found(1000, (90, 90), True, False, False, kind="depth")
    assert recipes.fitted("tiny_scenes", "dpt_mit_b0", depth).joint.distort is None
