"""ViT on data that is large: JFT-300M or ImageNet-21k, to be fine-tuned afterwards.

Paper      Dosovitskiy et al. 2021, arXiv:2010.11929, section 4.1 and table 3
Reference  github.com/google-research/vision_transformer, vit_jax/utils.py (schedule) and
           vit_jax/input_pipeline.py (crops)
Departures what the paper calls Adam with a weight decay is AdamW, as flax's Adam is. A warm-up is a
           fifth of all steps at most. The epochs are the shorter ones of table 3. The head of two
           layers is not used. The rows of ImageNet-21k are held against what the authors say in the
           repository's issues 2 and 34; those of JFT are from memory of the table
"""

from dataclasses import replace

from patchword.data.augment import Augment
from patchword.engine.optimizers import Optim
from patchword.engine.schedule import Schedule
from patchword.recipes.pick import Found
from patchword.recipes.recipe import Recipe

END = 1e-5  # the rate at the end

RECIPE = Recipe(
    name="vit_pretrain",
    epochs=7.0,
    batch_size=4096,
    optim=Optim(name="adamw", lr=0.0008, weight_decay=0.1, betas=(0.9, 0.999)),
    schedule=Schedule(kind="linear", warmup_steps=10_000, end=END / 0.0008),
    augment=Augment(crop_scale=(0.05, 1.0), hflip=0.5, interpolation="bilinear"),
)

JFT = {  # the start of a model's name: epochs, rate
    "vit_large_patch32": (7.0, 0.0006),
    "vit_large_patch16": (7.0, 0.0004),
    "vit_huge_patch14": (14.0, 0.0003),
}
LARGE = 100_000_000  # pictures; between ImageNet-21k's 14 million and JFT's 303

IMAGENET_21K = replace(
    RECIPE,
    epochs=90.0,  # of the large models 30, or 90
    optim=replace(RECIPE.optim, lr=0.001, weight_decay=0.03),
    schedule=replace(RECIPE.schedule, end=END / 0.001),
    drop_rate=0.1,
)


def fitted(model: str, found: Found) -> Recipe:
    """Take the row of table 3 for a model and for so many pictures."""
    if found.pictures < LARGE:
        large = model.startswith("vit_large_")
        return replace(IMAGENET_21K, epochs=30.0) if large else IMAGENET_21K
    epochs, lr = next((row for name, row in JFT.items() if model.startswith(name)), (7.0, 0.0008))
    schedule = replace(RECIPE.schedule, end=END / lr)
    return replace(RECIPE, epochs=epochs, optim=replace(RECIPE.optim, lr=lr), schedule=schedule)
