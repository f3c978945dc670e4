"""Pick what a user left open, from the data and the machine, and say why."""

from dataclasses import dataclass, replace

from patchword.data.augment import Augment
from patchword.recipes.recipe import Recipe


@dataclass(frozen=True)
class Found:
    """What the choice depends on."""

    pictures: int  # to train on
    size: tuple[int, int]  # of the median picture: rows, columns
    same_size: bool  # whether all that were looked at have it
    grey: bool
    accelerator: bool  # whether there is a GPU


@dataclass(frozen=True)
class Pick:
    """A choice, and the reasons for it in words."""

    model: str
    image_size: tuple[int, int]
    recipe: str
    reasons: tuple[str, ...]


SMALL = 64  # pixels; pictures up to here are read as they are
PLENTY = 20_000  # pictures; so many are seen too few times to need moved copies of them


def pick(found: Found) -> Pick:
    """Choose a model, an image size and a recipe."""
    side = max(found.size)
    if found.same_size and side <= SMALL:
        even = side <= 16 and all(length % 2 == 0 for length in found.size)
        model = "vit_micro_patch2_8" if even else "vitc_mini_32"
        why = (
            f"the pictures are {found.size[0]}x{found.size[1]} pixels, so they are read as they are"
        )
        return Pick(model, found.size, "tiny", (why,))
    if found.accelerator and found.pictures >= 10_000:
        why = f"{found.pictures:,} pictures and a GPU: a small ViT by DeiT's recipe"
        return Pick("deit_small_patch16_224", (224, 224), "deit", (why,))
    machine = "" if found.accelerator else " and no GPU"
    why = f"{found.pictures:,} pictures{machine}: a mini ViT with a convolutional stem at 64 pixels"
    return Pick("vitc_mini_64", (64, 64), "tiny", (why,))


def fitted(recipe: Recipe, found: Found) -> Recipe:
    """Fit the tiny recipe to the data: how long, and what may be done to a picture."""
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
    batch = recipe.batch_size if found.pictures >= 2000 else 64
    return replace(recipe, epochs=epochs, augment=augment, batch_size=min(batch, found.pictures))
