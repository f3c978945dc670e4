"""DETR on COCO, from a ResNet that was trained on ImageNet-1k; the 300 epochs of its ablations.

Paper      Carion et al. 2020, "End-to-End Object Detection with Transformers", arXiv:2005.12872,
           section 4 and appendix A.4
Reference  github.com/facebookresearch/detr, main.py and datasets/coco.py, on eight GPUs
Departures norms, biases and the queries do not decay; the sides of pictures that are scored are
           rounded to the nearest pixel
"""

from dataclasses import replace

from patchword.data.joint import Joint, Sizes
from patchword.engine.optimizers import Optim
from patchword.engine.schedule import Schedule
from patchword.recipes.pick import Found
from patchword.recipes.recipe import Recipe

RECIPE = Recipe(
    name="detr",
    epochs=300.0,
    image_size=(800, 800),
    batch_size=16,
    optim=Optim(name="adamw", lr=1e-5, weight_decay=1e-4, head_lr=10.0, clip=0.1),
    schedule=Schedule(kind="steps", falls=(2 / 3,), factor=0.1),
    frozen=4 / 18,  # the stem and the first stage of ResNet-50
    within=(1333, 800),
    joint=Joint(scale=None, crop=None, distort=None, sizes=Sizes()),
)


def fitted(model: str, found: Found) -> Recipe:
    """Fit the share that stays as it is to the depth of the network."""
    return replace(RECIPE, frozen=4 / 35) if "resnet101" in model else RECIPE
