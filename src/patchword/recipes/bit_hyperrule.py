"""BiT's rule: what to do with a pre-trained network, told by size and number of the pictures alone.

Paper      Kolesnikov et al. 2020, "Big Transfer (BiT)", arXiv:1912.11370, section 3.3
Reference  github.com/google-research/big_transfer, bit_hyperrule.py and bit_pytorch/train.py
Departures the rate of the first step is not 0; pictures are mixed with their neighbours
"""

from dataclasses import replace

from patchword.data.augment import Augment, Mixing, PlainCrop
from patchword.engine.optimizers import Optim
from patchword.engine.schedule import Schedule
from patchword.recipes.pick import Found
from patchword.recipes.recipe import Recipe

RECIPE = Recipe(
    name="bit_hyperrule",
    steps=10_000,
    image_size=(480, 480),
    batch_size=512,
    optim=Optim(name="sgd", lr=0.003, momentum=0.9, weight_decay=0.0),
    schedule=Schedule(kind="steps", warmup_steps=500, falls=(0.3, 0.6, 0.9), factor=0.1),
    augment=Augment(
        crop_scale=None,
        plain_crop=PlainCrop(resize=512 / 480, squeeze=True, pad=0),
        hflip=0.5,
        interpolation="bilinear",
    ),
    mixing=Mixing(mixup=0.1),
)

SMALL_AREA = 96 * 96  # pixels; smaller pictures are enlarged to 160, and cut to 128
FEW = 20_000  # pictures; fewer are not mixed
MANY = 500_000


def fitted(model: str, found: Found) -> Recipe:
    """Fit image size, length and mixing to the pictures."""
    recipe = RECIPE
    if found.size[0] * found.size[1] < SMALL_AREA:
        crop = PlainCrop(resize=160 / 128, squeeze=True, pad=0)
        augment = replace(recipe.augment, plain_crop=crop)
        recipe = replace(recipe, image_size=(128, 128), augment=augment)
    if found.pictures < FEW:
        schedule = replace(recipe.schedule, warmup_steps=100, falls=(0.4, 0.6, 0.8))
        return replace(recipe, steps=500, schedule=schedule, mixing=Mixing())
    return recipe if found.pictures < MANY else replace(recipe, steps=20_000)
