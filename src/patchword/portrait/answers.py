"""What each answer rests on: the pictures, and maps of them by several means, side by side."""

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor

from patchword.data.frame import frame
from patchword.heads.classify import Classifier
from patchword.inspection.attention import looked_at
from patchword.inspection.rollout import rollout
from patchword.pages.inspect import Panel, Viewed
from patchword.pages.plates import Row, Strip, overlaid
from patchword.portrait.pictures import Picture
from patchword.portrait.sight import Sitter
from patchword.predictor import normalise

Heat = Callable[[Classifier, Float[Tensor, "1 c h w"]], Float[Tensor, "1 rows columns"] | None]


def attended(
    model: Classifier, image: Float[Tensor, "1 c h w"]
) -> Float[Tensor, "1 rows columns"] | None:
    """Return where the last layer looks, the mean of its heads."""
    found = looked_at(model, image)
    return None if found is None else found.mean(dim=1)


MEANS: dict[str, Heat] = {
    "last attention": attended,
    "rollout": rollout,
}


def answers_panel(who: Sitter, shown: Sequence[Picture], viewed: Sequence[Viewed]) -> Panel:
    """Draw each picture, and where its answer comes from, by each of the means that apply."""
    where = next(who.model.parameters()).device
    images = [
        normalise(frame(p.pixels, who.card.preprocessing)[None].to(where), who.card.preprocessing)
        for p in shown
    ]
    maps = {name: [heat(who.model, image) for image in images] for name, heat in MEANS.items()}
    had = {name: [m for m in found if m is not None] for name, found in maps.items()}
    kept = {name: found for name, found in had.items() if len(found) == len(images)}
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
