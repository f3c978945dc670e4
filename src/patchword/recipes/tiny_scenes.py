"""Few scenes on a small machine: some dozens to some thousands, minutes.

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

VIEWS = 3000  # windows that are seen, where no length is said

RECIPE = Recipe(
    name="tiny_scenes",
    epochs=100.0,
    batch_size=8,
    optim=Optim(name="adamw", lr=1e-3, weight_decay=0.05, clip=1.0),
    schedule=Schedule(kind="poly", power=0.9, warmup_share=0.05),
    joint=Joint(scale=(0.5, 2.0), crop=0.75),
)


def fitted(model: str, found: Found) -> Recipe:
    """Fit the length and the batch to the pictures; a scene's depths go with its size."""
    epochs = float(min(max(round(VIEWS / found.pictures), 5), 300))
    joint = RECIPE.joint
    if found.kind == "depth":
        joint = Joint(scale=(1.0, 1.5), crop=1.0, distort=None)
    batch = min(RECIPE.batch_size, found.pictures)
    return replace(RECIPE, epochs=epochs, batch_size=batch, joint=joint)
