"""Pick what a user left open, from the data and the machine, and say why."""

from dataclasses import dataclass


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
