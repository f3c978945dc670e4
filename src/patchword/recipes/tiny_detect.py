"""Few pictures of objects on a small machine, from scratch: some hundreds, minutes.

Paper      none; the recipe is ours
Reference  none
Departures none
"""

from dataclasses import replace

from patchword.data.joint import Joint
from patchword.engine.optimizers import Optim
from patchword.engine.schedule import Schedule
from patchword.recipes.pick import Found
from patchword.recipes.recipe import Recipe

VIEWS = 10_000  # pictures that are seen, where no length is said

RECIPE = Recipe(
    name="tiny_detect",
    epochs=100.0,
    batch_size=8,
    optim=Optim(name="adamw", lr=5e-4, weight_decay=0.01, clip=0.1),
    schedule=Schedule(kind="cosine", warmup_share=0.05),
    joint=Joint(scale=(0.75, 1.25), crop=None),
)


def fitted(model: str, found: Found) -> Recipe:
    """Fit the length and the batch to the pictures."""
    epochs = float(min(max(round(VIEWS / found.pictures), 5), 300))
    return replace(RECIPE, epochs=epochs, batch_size=min(RECIPE.batch_size, found.pictures))
