"""What each answer rests on: the pictures, and maps of them by several means, side by side."""

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor

from patchword.heads.classify import Classifier
from patchword.inspection.attention import looked_at
from patchword.inspection.rollout import rollout
from patchword.pages.inspect import Panel, Viewed
from patchword.pages.plates import Row, Strip, overlaid
from patchword.portrait.heads import images
from patchword.portrait.pictures import Picture
from patchword.portrait.sight import Sitter
from patchword.portrait.words import MEANS

Heat = Callable[[Classifier, Float[Tensor, "1 c h w"]], Float[Tensor, "1 rows columns"] | None]


def attended(
    model: Classifier, image: Float[Tensor, "1 c h w"]
) -> Float[Tensor, "1 rows columns"] | None:
    """Return where the last layer looks, the mean of its heads."""
    found = looked_at(model, image)
    return None if found is None else found.mean(dim=1)


HEATS: dict[str, Heat] = {"attention": attended, "rollout": rollout}


def answers_caption() -> str:
    """Say what the columns show."""
    shown = "; ".join(f"{name}: {MEANS[name]}" for name in HEATS)
    return (
        f"Each picture with its true class and the answer; then, over a grey copy of it, {shown}. "
        "Bright is much, relative to the brightest of the same picture. A glow beside the thing "
        "itself says what misled the model, or helped it for the wrong reason."
    )


def answers_panel(who: Sitter, shown: Sequence[Picture], viewed: Sequence[Viewed]) -> Panel:
    """Draw each picture, and where its answer comes from, by each of the means that apply."""
    read = images(who, shown)
    maps = {name: [heat(who.model, image[None]) for image in read] for name, heat in HEATS.items()}
    had = {name: [m for m in found if m is not None] for name, found in maps.items()}
    kept = {name: found for name, found in had.items() if len(found) == len(read)}
    rows = tuple(
        Row(
            title=each.title,
            note=f"{each.verdict}: {each.brief}" if each.verdict else each.brief,
            wrong=each.verdict == "wrong",
            pictures=(
                each.picture,
                *(overlaid(each.picture, found[i][0].cpu().numpy()) for found in kept.values()),
            ),
        )
        for i, each in enumerate(viewed)
    )
    return Panel(drawn=Strip(columns=("picture", *kept), rows=rows))
