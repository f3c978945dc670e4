"""Sparse R-CNN on COCO, from a ResNet that was trained on ImageNet-1k.

Paper      Sun et al. 2021, "Sparse R-CNN: End-to-End Object Detection with Learnable Proposals",
           arXiv:2011.12450, section 4
Reference  github.com/PeizeSun/SparseR-CNN, projects/SparseRCNN/configs
Departures norms, biases and the queries do not decay; pictures are cropped, half of the time, for
           100 proposals too, theirs for 300 alone
"""

from dataclasses import replace

from patchword.data.joint import Joint, Sizes
from patchword.engine.optimizers import Optim
from patchword.engine.schedule import Schedule
from patchword.recipes.pick import Found
from patchword.recipes.recipe import Recipe

RECIPE = Recipe(
    name="sparse_rcnn",
    steps=270_000,
    image_size=(800, 800),
    batch_size=16,
    optim=Optim(name="adamw", lr=2.5e-5, weight_decay=1e-4, clip=1.0),
    schedule=Schedule(
        kind="steps", falls=(210 / 270, 250 / 270), factor=0.1, warmup_steps=1000, warmup_start=0.01
    ),
    frozen=4 / 18,  # the stem and the first stage of ResNet-50
    within=(1333, 800),
    joint=Joint(scale=None, crop=None, distort=None, sizes=Sizes()),
)


def fitted(model: str, found: Found) -> Recipe:
    """Fit the share that stays as it is to the depth of the network."""
    return replace(RECIPE, frozen=4 / 35) if "resnet101" in model else RECIPE
