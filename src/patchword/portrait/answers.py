"""What each answer rests on: the pictures, and maps of them by several means, side by side."""

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor

from patchword.errors import ConfigError
from patchword.heads.classify import Classifier
from patchword.inspection.attention import looked_at
from patchword.inspection.attribution import gradcam, relevance
from patchword.inspection.rollout import rollout
from patchword.pages.inspect import Panel, Viewed
from patchword.pages.plates import Row, Strip, overlaid
from patchword.portrait.heads import images
from patchword.portrait.pictures import Picture
from patchword.portrait.sight import Sitter
from patchword.portrait.words import MEANS

Heat = Callable[[Classifier, Float[Tensor, "1 c h w"]], Float[Tensor, "1 rows columns"] | None]
Maps = dict[str, list[Float[Tensor, "1 rows columns"]]]
"""A map for each picture, by the means by which they were made."""


def attended(
    model: Classifier, image: Float[Tensor, "1 c h w"]
) -> Float[Tensor, "1 rows columns"] | None:
    """Return where the last layer looks, the mean of its heads."""
    found = looked_at(model, image)
    return None if found is None else found.mean(dim=1)


def camera(
    model: Classifier, image: Float[Tensor, "1 c h w"]
) -> Float[Tensor, "1 rows columns"] | None:
    """Return Grad-CAM of the answer, or None where no level with cells leads to it."""
    try:
        return gradcam(model, image)
    except ConfigError:
        return None


HEATS: dict[str, Heat] = {
    "attention": attended,
    "rollout": rollout,
    "relevance": relevance,
    "Grad-CAM": camera,
}


def heats(who: Sitter, shown: Sequence[Picture]) -> Maps:
    """Return what each picture's answer rests on, by each of the means that apply to a model."""
    read = images(who, shown)
    found = {name: [heat(who.model, image[None]) for image in read] for name, heat in HEATS.items()}
    had = {name: [each for each in maps if each is not None] for name, maps in found.items()}
    return {name: maps for name, maps in had.items() if len(maps) == len(read)}


def answers_caption(names: Sequence[str]) -> str:
    """Say what the columns show, of the means that are named."""
    pictures = "Each picture with its true class, where that is known, and the answer"
    if not names:
        return f"{pictures}."
    shown = "; ".join(f"{name}: {MEANS[name]}" for name in names)
    return (
        f"{pictures}; then, over a grey copy of it, {shown}. Bright is much, relative to the "
        "brightest of the same picture; a map that is bright all over says that every place counts "
        "alike. A glow beside the thing itself says what misled the model, or helped it for the "
        "wrong reason."
    )


def answers_panel(viewed: Sequence[Viewed], found: Maps) -> Panel:
    """Draw each picture, and where its answer comes from, by each of the means that apply."""
    rows = tuple(
        Row(
            title=each.title,
            note=f"{each.verdict}: {each.brief}" if each.verdict else each.brief,
            wrong=each.verdict == "wrong",
            pictures=(
                each.picture,
                *(overlaid(each.picture, maps[i][0].cpu().numpy()) for maps in found.values()),
            ),
        )
        for i, each in enumerate(viewed)
    )
    return Panel(drawn=Strip(columns=("picture", *found), rows=rows))
