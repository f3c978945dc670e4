"""A trained network on other pictures, or larger ones: what `train --init` does if not told how.

A low rate, lower still towards the stem, a short warm-up and light augmentation: what is known
already is kept. Papers' own ways stand beside it: vit_finetune, bit_hyperrule, fixres and
linear_probe.

Paper      none; the recipe is ours. Rates fall towards the stem as in Clark et al. 2020, "ELECTRA",
           arXiv:2003.10555, and in Bao et al. 2021, "BEiT", arXiv:2106.08254
Reference  none
Departures none
"""

from dataclasses import replace

from patchword.data.augment import Augment
from patchword.engine.optimizers import Optim
from patchword.engine.schedule import Schedule
from patchword.recipes.pick import SMALL, Found
from patchword.recipes.recipe import Recipe

RECIPE = Recipe(
    name="finetune",
    epochs=20.0,
    batch_size=128,
    optim=Optim(name="adamw", lr=5e-4, weight_decay=0.05, clip=1.0, layer_decay=0.75),
    schedule=Schedule(kind="cosine", warmup_share=0.1),
    augment=Augment(crop_scale=(0.35, 1.0), hflip=0.5, interpolation="bicubic"),
)

VIEWS = 30_000  # that are learnt, in five epochs at least and a hundred at most
FEW = 1000  # pictures; so few are learnt in smaller batches


def fitted(model: str, found: Found) -> Recipe:
    """Fit the recipe to the data: how long, in which batches, and what may be done to a picture."""
    epochs = float(min(max(round(VIEWS / found.pictures), 5), 100))
    augment = RECIPE.augment
    if found.same_size and max(found.size) <= SMALL:
        moved = 0.0 if found.grey else 0.125
        augment = Augment(crop_scale=None, hflip=0.0 if found.grey else 0.5, translate=moved)
    batch = RECIPE.batch_size if found.pictures >= FEW else 32
    return replace(RECIPE, epochs=epochs, augment=augment, batch_size=batch)
