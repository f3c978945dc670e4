"""What the features of a model hold: pictures near one another, and tokens level by level."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from patchword.data.frame import frame
from patchword.inspection.embedding import neighbours, tsne_map
from patchword.inspection.similarity import cka, unbiased_hsic
from patchword.inspection.tokens import principal_colours
from patchword.pages.inspect import Panel
from patchword.pages.plates import Matrix, Point, Row, Scatter, Strip
from patchword.portrait.attention import titles
from patchword.portrait.heads import images
from patchword.portrait.pictures import Picture
from patchword.portrait.sight import Sight, Sitter
from patchword.training.report import pixels
from patchword.training.worded import titled

NEIGHBOURS, ASKED = 5, 6
LEVELS = 8  # of a strip
FEWEST = 12  # pictures in numbers
NOTHING = "No held-out pictures are at hand: the model does not say what it was trained on."


def neighbours_panel(seen: Sight | None) -> Panel:
    """Draw the held-out pictures whose features are most alike to those of a few."""
    if seen is None or len(seen.pooled) <= NEIGHBOURS:
        return Panel(absent=NOTHING)
    asked = torch.linspace(0, len(seen.pooled) - 1, ASKED).int().tolist()
    found = neighbours(seen.pooled[asked], seen.pooled, NEIGHBOURS + 1)
    rows = list[Row]()
    for place, near, cosines in zip(asked, *(part.tolist() for part in found), strict=True):
        pairs = [(i, c) for i, c in zip(near, cosines, strict=True) if i != place][:NEIGHBOURS]
        title = titled(seen.source, place)
        places = [i for i, _ in pairs]
        names = [titled(seen.source, i) for i in places]
        rows.append(
            Row(
                title=title,
                note=f"{names.count(title)} of {len(pairs)} alike",
                wrong=title not in names,
                pictures=tuple(thumbnail(seen.source.read(i)) for i in (place, *places)),
                words=("", *(f"{n} {c:.2f}" for n, (_, c) in zip(names, pairs, strict=True))),
            )
        )
    columns = ("picture", *(f"nearest {i + 1}" for i in range(NEIGHBOURS)))
    return Panel(drawn=Strip(columns=columns, rows=tuple(rows)))


def map_panel(seen: Sight | None) -> Panel:
    """Draw each held-out picture as a point, near those whose features are like its own."""
    if seen is None or len(seen.pooled) < FEWEST:
        return Panel(absent=NOTHING if seen is None else "Too few held-out pictures for a map.")
    perplexity = min(30.0, (len(seen.pooled) - 1) / 3)
    right = seen.right or (True,) * len(seen.pooled)
    points = list[Point]()
    for i, (x, y) in enumerate(tsne_map(seen.pooled, perplexity).tolist()):
        title = f"{titled(seen.source, i)}, {seen.source.name(i)}"
        points.append(
            Point(
                x=x,
                y=y,
                group=int(seen.source.labels[i]),
                title=title if right[i] else f"{title}: answered wrongly",
                wrong=not right[i],
            )
        )
    return Panel(drawn=Scatter(points=tuple(points), groups=tuple(seen.source.classes)))


def tokens_panel(who: Sitter, shown: Sequence[Picture]) -> Panel:
    """Draw the tokens of some levels, their three main directions as red, green and blue."""
    levels = [level for level in who.model.backbone.levels if level.stride is not None]
    if not levels:
        return Panel(absent=f"{who.card.model} has no level on which a grid is left.")
    picked = np.linspace(0, len(levels) - 1, min(LEVELS, len(levels))).round().astype(int)
    names = [levels[i].name for i in picked]
    with torch.no_grad():
        seen = who.model.backbone(images(who, shown), taps=names)
    drawn = [principal_colours(tap.map.float()) for tap in seen.taps]
    rows = tuple(
        Row(
            title=picture.truth or picture.name,
            pictures=(
                pixels(frame(picture.pixels, who.card.preprocessing)),
                *(pixels((255 * level[i]).round().to(torch.uint8).cpu()) for level in drawn),
            ),
        )
        for i, picture in enumerate(shown)
    )
    return Panel(drawn=Strip(columns=("picture", *titles(names)), rows=rows))


def cka_panel(seen: Sight | None, other: Sight | None) -> Panel:
    """Draw how alike what levels know of the pictures is, of one model or between two."""
    if seen is None or other is None:
        return Panel(absent=NOTHING)
    if len(seen.pooled) < FEWEST:
        return Panel(absent="Too few held-out pictures to compare levels by.")
    rows, columns = (
        torch.stack([level.double() @ level.double().T for level in each.levels.values()])
        for each in (seen, other)
    )
    named = [tuple(titles(list(each.levels))) for each in (seen, other)]
    values = cka(rows, columns, unbiased_hsic).cpu().numpy()
    return Panel(drawn=Matrix(rows=named[0], columns=named[1], values=values))


def thumbnail(image: UInt8[Tensor, "c h w"]) -> UInt8[np.ndarray, "h w c"]:
    """Return a picture as pages want it, of about as many pixels as they show."""
    step = max(1, max(image.shape[1:]) // 224)
    return pixels(image[:, ::step, ::step])
