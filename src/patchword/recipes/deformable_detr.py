"""Deformable DETR on COCO, from a ResNet that was trained on ImageNet-1k.

Paper      Zhu et al. 2021, "Deformable DETR: Deformable Transformers for End-to-End Object
           Detection", arXiv:2010.04159, section 5 and appendix A.4
Reference  github.com/fundamentalvision/Deformable-DETR, main.py
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
    name="deformable_detr",
    epochs=50.0,
    image_size=(800, 800),
    batch_size=32,
    optim=Optim(
        name="adamw",
        lr=2e-5,
        weight_decay=1e-4,
        head_lr=10.0,
        rates=(("*.offsets.*", 0.1), ("*.head.refer.*", 0.1)),
        clip=0.1,
    ),
    schedule=Schedule(kind="steps", falls=(0.8,), factor=0.1),
    frozen=4 / 18,  # the stem and the first stage of ResNet-50
    within=(1333, 800),
    joint=Joint(scale=None, crop=None, distort=None, sizes=Sizes()),
)


def fitted(model: str, found: Found) -> Recipe:
    """Fit the share that stays as it is to the depth of the network."""
    return replace(RECIPE, frozen=4 / 35) if "resnet101" in model else RECIPE
