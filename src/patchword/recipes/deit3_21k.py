"""DeiT III on ImageNet-21k: a simple random crop, for there is enough to see.

Paper      Touvron et al. 2022, "DeiT III: Revenge of the ViT", arXiv:2204.07118, table 1 (column
           ImageNet-21k) and section 3.2
Reference  github.com/facebookresearch/deit, README_revenge.md (the commands on ImageNet-21k)
Departures the rate is the commands' for a batch of 2048; those of `deit3` but for the weight decay
"""

from dataclasses import replace

from patchword.data.augment import Mixing, PlainCrop
from patchword.recipes import deit3
from patchword.recipes.pick import Found
from patchword.recipes.recipe import Recipe

RECIPE = replace(
    deit3.RECIPE,
    name="deit3_21k",
    epochs=240.0,
    optim=replace(deit3.RECIPE.optim, lr=0.001, weight_decay=0.02),
    schedule=replace(deit3.RECIPE.schedule, warmup_start=1e-6 / 0.001, end=1e-5 / 0.001),
    augment=replace(deit3.RECIPE.augment, crop_scale=None, plain_crop=PlainCrop(pad=4)),
    mixing=Mixing(cutmix=1.0),
    repeats=1,
    class_loss="cross_entropy",
    smoothing=0.1,
)

SIZES = {"small": (0.05, 224), "base": (0.1, 224), "large": (0.3, 224), "huge": (0.5, 126)}
HUGE_EPOCHS = 90.0


def fitted(model: str, found: Found) -> Recipe:
    """Fit stochastic depth, image size and length to a model of the paper's."""
    recipe = deit3.sized(RECIPE, model, SIZES)
    return replace(recipe, epochs=HUGE_EPOCHS) if model.startswith("deit3_huge_") else recipe
