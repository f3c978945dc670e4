"""Pick what a user left open, from the data and the machine, and say why."""

from collections.abc import Mapping
from dataclasses import dataclass

from patchword.data.source import Kind


@dataclass(frozen=True)
class Found:
    """What the choice depends on."""

    pictures: int  # to train on
    size: tuple[int, int]  # of the median picture: rows, columns
    same_size: bool  # whether all that were looked at have it
    grey: bool
    accelerator: bool  # whether there is a GPU
    kind: Kind = "class"  # what is known of the pictures
    minutes: float | None = None  # that all may take
    asked: tuple[int, int] | None = None  # image size that was said


@dataclass(frozen=True)
class Pick:
    """A choice, and the reasons for it in words."""

    model: str
    image_size: tuple[int, int]
    recipe: str
    reasons: tuple[str, ...]
    within: tuple[int, int] | None = None  # into which scenes are fitted


@dataclass(frozen=True)
class Way:
    """How scenes of a kind are learnt, if nobody says: a model, a recipe."""

    model: str
    on_any: Mapping[bool, str]  # head for a backbone that is given, by whether it has a pyramid
    recipe: str = "tiny_scenes"


SMALL = 64  # pixels; pictures up to here are read as they are
SCENES: Mapping[Kind, Way] = {
    "mask": Way("segformer_b0", {True: "segformer", False: "segmenter"}),
    "depth": Way("dpt_mit_b0", {True: "dpt", False: "dpt"}),
    "objects": Way(
        "deformable_detr_small_mit_b0",
        {True: "deformable_detr_small", False: "deformable_detr_small"},
        "tiny_detect",
    ),
    "panoptic": Way(
        "axial_deeplab_small_mit_b0",
        {True: "axial_deeplab_small", False: "axial_deeplab_small"},
        "tiny_panoptic",
    ),
}
WHOLE: tuple[Kind, ...] = ("objects", "panoptic")  # what whole pictures are needed to tell
STEP = 32  # pixels, of which windows are multiples
WINDOW, WINDOW_ON_GPU, WINDOW_IN_HASTE = 256, 512, 160  # sides of windows at most
HASTE = 5.0  # minutes below which windows are small
LONG = 4  # times the shorter side, to which pictures are cut in scale at most


def pick(found: Found) -> Pick:
    """Choose a model, an image size and a recipe."""
    if found.kind in SCENES:
        return _pick_scenes(found, SCENES[found.kind])
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


def _pick_scenes(found: Found, way: Way) -> Pick:
    """Choose a head, a window, and the size that pictures are fitted into."""
    most = WINDOW_ON_GPU if found.accelerator else WINDOW
    if not found.accelerator and (found.minutes or HASTE) < HASTE:
        most = WINDOW_IN_HASTE
    whole = found.kind in WHOLE
    shorter = min(min(found.size), most if whole else 2 * most)
    side = max(min(shorter, most) // STEP * STEP, STEP)
    size = found.asked if whole and found.asked else (side, side)
    shorter = min(size) if whole else shorter
    machine = "a GPU" if found.accelerator else "no GPU"
    how = (
        "pictures are seen whole, their shorter side made"
        if whole
        else "windows are cut from pictures whose shorter side is made"
    )
    why = (
        f"{found.pictures:,} pictures of {found.size[0]}x{found.size[1]} pixels and {machine}: "
        f"{how} {shorter}"
    )
    return Pick(way.model, size, way.recipe, (why,), within=(LONG * shorter, shorter))
