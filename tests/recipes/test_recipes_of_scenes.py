"""The recipes of scenes: the numbers of their papers' configurations, and what they refuse."""

from dataclasses import replace

import pytest
import torch

from patchword import create_model, models, recipes
from patchword.config import dump, parse
from patchword.data.augment import Mixing
from patchword.data.joint import Sizes
from patchword.engine.optimizers import freeze, optimizer
from patchword.errors import ConfigError
from patchword.recipes.pick import SCENES, WHOLE, Found, pick
from patchword.recipes.recipe import Recipe
from patchword.tasks.detect import Detect
from patchword.tasks.panoptic import BottomUp
from patchword.tasks.slots import SlotLoss

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


OBJECTS = {  # rate, head's factor, norm of the gradient, batch, length, falls of the rate
    "detr": (1e-5, 10.0, 0.1, 16, 300, (200 / 300,)),
    "deformable_detr": (2e-5, 10.0, 0.1, 32, 50, (40 / 50,)),
    "sparse_rcnn": (2.5e-5, 1.0, 1.0, 16, 270_000, (210 / 270, 250 / 270)),
}
SEGMENTS = {  # rate, head's factor, batch, length, window
    "axial_deeplab": (1e-3, 1.0, 64, 200_000, 640),
    "max_deeplab": (1e-4, 10.0, 64, 100_000, 1024),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_detectors_numbers(name):
    recipe = recipes.fitted(name, f"{name}_resnet50", replace(ADE20K, kind="objects"))
    optim, schedule = recipe.optim, recipe.schedule
    found = (optim.lr, optim.head_lr, optim.clip, recipe.batch_size, recipe.steps or recipe.epochs)
    assert (*found, schedule.falls) == OBJECTS[name]
    assert (schedule.kind, schedule.factor, optim.name) == ("steps", 0.1, "adamw")
    assert (optim.weight_decay, recipe.within, recipe.joint.sizes) == (1e-4, (1333, 800), Sizes())
    assert recipe.joint.distort is None


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("depth", ["resnet50", "resnet101"])
def test_the_stem_and_the_first_stage_stay(name, depth):
    recipe = recipes.fitted(name, f"{name}_{depth}", ADE20K)
    with torch.device("meta"):
        network = models.config(depth).build()
    kept = freeze(network.spine(), recipe.frozen)
    assert kept == (network.stem, *network.stages[0].children())


def test_what_deformable_attention_says_learns_slowly():
    optim = recipes.recipe("deformable_detr").optim
    with torch.device("meta"):
        model = create_model("deformable_detr_resnet50", num_classes=3)
    task = Detect(model)
    slow = {id(p) for n, p in task.named_parameters() if ".offsets." in n or ".refer." in n}
    groups = optimizer(replace(optim, name="sgd"), task, model.backbone.spine(), 32).param_groups
    rates = {id(p): g["peak"] for g in groups for p in g["params"]}
    spine = {id(p) for part in model.backbone.spine() for p in part.parameters()}
    assert len(slow) == 2 * 12 + 2
    for key, rate in rates.items():
        wanted = 2e-5 if key in spine or key in slow else 2e-4
        assert rate == pytest.approx(wanted)


@pytest.mark.parametrize("name", SEGMENTS)
def test_panoptic_numbers(name):
    recipe = recipes.recipe(name)
    optim, schedule, joint = recipe.optim, recipe.schedule, recipe.joint
    found = (optim.lr, optim.head_lr, recipe.batch_size, recipe.steps, recipe.image_size[0])
    assert found == SEGMENTS[name]
    assert (optim.name, optim.weight_decay, schedule.kind, schedule.power) == (
        "adam",
        0,
        "poly",
        0.9,
    )
    assert (joint.scale, joint.crop, joint.distort) == ((0.5, 1.5), 1.0, None)
    assert recipe.slots == SlotLoss(pq=3.0, mask_id=0.3, instance=1.0, semantic=1.0, alpha=0.75)
    assert recipe.bottom_up == BottomUp(hardest=0.2, centre=200.0, offset=0.01, small_weight=3.0)


def test_larger_models_saw_larger_windows():
    assert recipes.fitted("segformer", "segformer_b5", ADE20K).image_size == (640, 640)
    large = "segmenter_vit_large_patch16"
    assert recipes.fitted("segmenter", large, ADE20K).image_size == (640, 640)


@pytest.mark.parametrize(
    "name", [*TABLE, *OBJECTS, *SEGMENTS, "dpt", "tiny_scenes", "tiny_detect", "tiny_panoptic"]
)
def test_a_recipe_of_scenes_is_read_back(name):
    recipe = recipes.recipe(name)
    assert parse(Recipe, dump(recipe)) == recipe
    with pytest.raises(ConfigError, match=f"mixing is of whole pictures, and {name} learns places"):
        replace(recipe, mixing=Mixing(mixup=0.2))


@pytest.mark.parametrize("kind", ["mask", "depth"])
def test_windows_and_sides_by_pictures_and_machine(kind):
    found = Found(36, (360, 480), True, False, False, kind=kind)
    picked = pick(found)
    assert (picked.image_size, picked.within) == ((256, 256), (1440, 360))
    assert pick(replace(found, minutes=2.0)).image_size == (160, 160)
    assert pick(replace(found, accelerator=True)).image_size == (352, 352)
    large = pick(replace(found, size=(3000, 4000)))
    assert (large.image_size, large.within) == ((256, 256), (2048, 512))
    assert pick(replace(found, size=(20, 30))).image_size == (32, 32)


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_pictures_are_fitted_into_the_side_that_the_machine_bears(kind):
    found = Found(36, (360, 480), True, False, False, kind=kind)
    picked = pick(found)
    assert (picked.image_size, picked.within) == ((256, 256), (1024, 256))
    assert picked.model == SCENES[kind].model and picked.recipe == SCENES[kind].recipe
    assert "seen whole, their shorter side made 256" in picked.reasons[0]
    assert pick(replace(found, accelerator=True)).within == (1408, 352)
    asked = pick(replace(found, asked=(96, 128)))
    assert (asked.image_size, asked.within) == ((96, 128), (384, 96))
    assert asked.reasons[0].endswith("shorter side made 96")
    assert pick(replace(found, size=(20, 30))).image_size == (32, 32)


def test_the_small_recipe_goes_by_the_pictures():
    few = recipes.fitted("tiny_scenes", "segformer_b0", Found(5, (90, 90), True, False, False))
    assert (few.batch_size, few.epochs) == (5, 300)
    for name in ("tiny_detect", "tiny_panoptic"):
        few = recipes.fitted(name, "x", Found(5, (90, 90), True, False, False))
        assert (few.batch_size, few.epochs) == (5, 300)
    depth = Found(1000, (90, 90), True, False, False, kind="depth")
    assert recipes.fitted("tiny_scenes", "dpt_mit_b0", depth).joint.distort is None
