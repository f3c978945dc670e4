"""A pre-trained ViT on a task of its own, at a higher resolution.

Paper      Dosovitskiy et al. 2021, arXiv:2010.11929, section 4.1 and table 4
Reference  github.com/google-research/vision_transformer, vit_jax/configs/common.py,
           vit_jax/input_pipeline.py
Departures of the rates that the paper tries, the code's is taken; data sets of other names have the
           steps of the paper's set of a similar size; the 500 of the smallest are from memory of
           the table, the rest stands in the code. A warm-up is a fifth of all steps at most.
           Momentum is in fp32
"""

from dataclasses import replace

from patchword.data.augment import Augment
from patchword.engine.optimizers import Optim
from patchword.engine.schedule import Schedule
from patchword.recipes.pick import Found
from patchword.recipes.recipe import Recipe

RECIPE = Recipe(
    name="vit_finetune",
    steps=10_000,
    image_size=(384, 384),
    batch_size=512,
    optim=Optim(name="sgd", lr=0.03, momentum=0.9, weight_decay=0.0, clip=1.0),
    schedule=Schedule(kind="cosine", warmup_steps=500),
    augment=Augment(crop_scale=(0.05, 1.0), hflip=0.5, interpolation="bilinear"),
)

STEPS = {  # fewer pictures than this: steps
    20_000: 500,  # as Pets and Flowers
    500_000: 10_000,  # as CIFAR
}
MOST_STEPS = 20_000  # as ImageNet


def fitted(model: str, found: Found) -> Recipe:
    """Fit the length to the number of pictures."""
    steps = next((s for limit, s in STEPS.items() if found.pictures < limit), MOST_STEPS)
    return replace(RECIPE, steps=steps)
