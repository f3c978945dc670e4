"""Segmenter on ADE20K, from a ViT that was trained on ImageNet-21k.

Paper      Strudel et al. 2021, "Segmenter: Transformer for Semantic Segmentation",
           arXiv:2105.05633, section 4.2
Reference  github.com/rstrudel/segmenter, segm/config.yml and segm/train.py
Departures none
"""

from dataclasses import replace

from patchword.data.joint import Joint
from patchword.engine.optimizers import Optim
from patchword.engine.schedule import Schedule
from patchword.recipes.pick import Found
from patchword.recipes.recipe import Recipe

RECIPE = Recipe(
    name="segmenter",
    epochs=64.0,
    image_size=(512, 512),
    batch_size=8,
    optim=Optim(name="sgd", lr=0.001, momentum=0.9, weight_decay=0.0),
    schedule=Schedule(kind="poly", power=0.9, end=1e-5 / 0.001),
    within=(2048, 512),
    joint=Joint(scale=(0.5, 2.0), crop=0.75),
    drop_path_rate=0.1,
)


def fitted(model: str, found: Found) -> Recipe:
    """Fit the window to the model of the paper's that saw a larger one."""
    return replace(RECIPE, image_size=(640, 640)) if "vit_large" in model else RECIPE
