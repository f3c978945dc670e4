"""Small data on a small machine: a few hundred to a few hundred thousand pictures, minutes.

Paper      none; the recipe is ours
Reference  none
Departures none
"""

from dataclasses import replace

from patchword.data.augment import Augment
from patchword.engine.optimizers import Optim
from patchword.engine.schedule import Schedule
from patchword.recipes.pick import SMALL, Found
from patchword.recipes.recipe import Recipe

PLENTY = 20_000  # pictures; so many are seen too few times to need moved copies of them

RECIPE = Recipe(
    name="tiny",
    epochs=30.0,
    batch_size=128,
    optim=Optim(name="muon", lr=5e-3, weight_decay=0.05, momentum=0.95),
    schedule=Schedule(kind="cosine", warmup_share=0.05),
    augment=Augment(crop_scale=None, hflip=0.0, interpolation="bilinear"),
)


def fitted(model: str, found: Found) -> Recipe:
    """Fit the recipe to the data: how long, and what may be done to a picture."""
    small = found.same_size and max(found.size) <= SMALL
    views = 150_000 if small else 100_000  # photos have to be decoded
    epochs = float(min(max(round(views / found.pictures), 10), 300))
    if small and found.grey and found.pictures >= PLENTY:
        augment = Augment(crop_scale=None, hflip=0.0)  # figures and letters have a left and a right
    elif small and found.grey:
        augment = Augment(
            crop_scale=None, hflip=0.0, translate=0.1, rotate=10.0, zoom=0.1, shear=5.0
        )
    elif small:
        augment = Augment(crop_scale=None, hflip=0.5, translate=0.125)
    else:
        augment = Augment(crop_scale=(0.35, 1.0), hflip=0.5, color_jitter=0.3)
    batch = RECIPE.batch_size if found.pictures >= 2000 else 64
    return replace(RECIPE, epochs=epochs, augment=augment, batch_size=min(batch, found.pictures))
