"""Small data on a small machine: a few hundred to a few hundred thousand pictures, minutes.

Paper      none; the recipe is ours
Reference  none
Departures none
"""

from patchword.data.augment import Augment
from patchword.engine.optimizers import Optim
from patchword.engine.schedule import Schedule
from patchword.recipes.recipe import Recipe

RECIPE = Recipe(
    name="tiny",
    epochs=30.0,
    batch_size=128,
    optim=Optim(name="muon", lr=5e-3, weight_decay=0.05, momentum=0.95),
    schedule=Schedule(kind="cosine", warmup_share=0.05),
    augment=Augment(crop_scale=None, hflip=0.0, interpolation="bilinear"),
)
