"""Few pictures of segments on a small machine, from scratch: some hundreds, minutes.

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
from patchword.tasks.panoptic import BottomUp

VIEWS = 6000  # windows that are seen, where no length is said

RECIPE = Recipe(
    name="tiny_panoptic",
    epochs=100.0,
    batch_size=8,
    optim=Optim(name="adamw", lr=1e-3, weight_decay=0.05, clip=1.0),
    schedule=Schedule(kind="poly", power=0.9, warmup_share=0.05),
    joint=Joint(scale=(0.75, 1.5), crop=1.0),
    bottom_up=BottomUp(small_area=640, sigma=4.0),  # the paper's, for sides that are 0.4 times its
)


def fitted(model: str, found: Found) -> Recipe:
    """Fit the length and the batch to the pictures."""
    epochs = float(min(max(round(VIEWS / found.pictures), 5), 300))
    return replace(RECIPE, epochs=epochs, batch_size=min(RECIPE.batch_size, found.pictures))
