"""SegFormer on ADE20K, from an encoder that was trained on ImageNet-1k.

Paper      Xie et al. 2021, "SegFormer", arXiv:2105.15203, section 4.1
Reference  github.com/NVlabs/SegFormer, local_configs/segformer/B0/segformer.b0.512x512.ade.160k.py
Departures biases do not decay; the fall of the rate begins after the warm-up, theirs with it; the
           loss is a mean over the pixels that have a class, theirs over all
"""

from dataclasses import replace

from patchword.data.joint import Joint
from patchword.engine.optimizers import Optim
from patchword.engine.schedule import Schedule
from patchword.recipes.pick import Found
from patchword.recipes.recipe import Recipe

RECIPE = Recipe(
    name="segformer",
    steps=160_000,
    image_size=(512, 512),
    batch_size=16,
    optim=Optim(name="adamw", lr=6e-5, weight_decay=0.01, head_lr=10.0),
    schedule=Schedule(kind="poly", power=1.0, warmup_steps=1500, warmup_start=1e-6),
    within=(2048, 512),
    joint=Joint(scale=(0.5, 2.0), crop=0.75),
    drop_path_rate=0.1,
)


def fitted(model: str, found: Found) -> Recipe:
    """Fit the window to the model of the paper's that saw a larger one."""
    return replace(RECIPE, image_size=(640, 640)) if model == "segformer_b5" else RECIPE
