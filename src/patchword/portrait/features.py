"""What the features of a model hold: pictures near one another, and tokens level by level."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from patchword.data.frame import frame
from patchword.features import Tap
from patchword.inspection.drawn import titles
from patchword.inspection.embedding import neighbours, tsne_map
from patchword.inspection.similarity import cka, unbiased_hsic
from patchword.inspection.tokens import TIMES, Artifacts, longest, norms, principal_colours
from patchword.pages.inspect import Panel
from patchword.pages.pictures import colour
from patchword.pages.plates import Matrix, Point, Row, Scatter, Strip
from patchword.portrait.heads import images
from patchword.portrait.pictures import Picture
from patchword.portrait.sight import Sight, Sitter
from patchword.training.report import pixels
from patchword.training.worded import titled

NEIGHBOURS, ASKED = 5, 6
LEVELS = 8  # of a strip
LONG = ("#12203a", "#2f6db5", "#ffcf4f")  # of no length, half the cutoff, an artifact
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
                picture=thumbnail(seen.source.read(i)),
            )
        )
    return Panel(drawn=Scatter(points=tuple(points), groups=tuple(seen.source.classes)))


def tokens_panel(who: Sitter, shown: Sequence[Picture]) -> Panel:
    """Draw the tokens of some levels, their three main directions as red, green and blue."""
    taps = _tapped(who, shown)
    drawn = [(255 * principal_colours(tap.map.float())).round() for tap in taps.values()]
    return _levels(who, shown, taps, [level.to(torch.uint8).movedim(1, 3) for level in drawn])


def norms_panel(who: Sitter, shown: Sequence[Picture]) -> Panel:
    """Draw how long the tokens of some levels are, in medians of the level."""
    taps = _tapped(who, shown)
    cells = [norms(tap).cells for tap in taps.values()]
    found = [longest(each) for each in cells]
    drawn = [
        torch.from_numpy(colour((each / artifact.cutoff).clamp(0, 1).cpu().numpy(), LONG)[..., :3])
        for each, artifact in zip(cells, found, strict=True)
    ]
    words = [_length(*pair) for pair in zip(cells, found, strict=True)]
    return _levels(who, shown, taps, drawn, words)


def _length(cells: Float[Tensor, "b rows columns"], found: Artifacts) -> list[str]:
    """Say of each picture how long its longest token is, and how many are artifacts."""
    most = (TIMES * cells.amax(dim=(1, 2)) / found.cutoff).tolist()
    counts = found.cells.sum(dim=(1, 2)).tolist()
    return [
        f"{length:.1f} medians" + (f", {count} artifacts" if count else "")
        for length, count in zip(most, counts, strict=True)
    ]


def _tapped(who: Sitter, shown: Sequence[Picture]) -> dict[str, Tap]:
    """Return some levels that have a grid, from the first to the last, by name."""
    levels = [level for level in who.model.backbone.levels if level.stride is not None]
    picked = np.linspace(0, len(levels) - 1, min(LEVELS, len(levels))).round().astype(int)
    names = [levels[i].name for i in picked]
    with torch.no_grad():
        taps = who.model.backbone(images(who, shown), taps=names).taps if names else ()
    return dict(zip(names, taps, strict=True))


def _levels(
    who: Sitter,
    shown: Sequence[Picture],
    taps: dict[str, Tap],
    drawn: Sequence[UInt8[Tensor, "_ _ _ _"]],
    words: Sequence[Sequence[str]] = (),
) -> Panel:
    """Set pictures of levels beside the pictures that they are of."""
    if not taps:
        return Panel(absent=f"{who.card.model} has no level on which a grid is left.")
    rows = tuple(
        Row(
            title=picture.truth or picture.name,
            pictures=(
                pixels(frame(picture.pixels, who.card.preprocessing)),
                *(np.ascontiguousarray(level[i].cpu().numpy()) for level in drawn),
            ),
            words=("", *(each[i] for each in words)) if words else (),
        )
        for i, picture in enumerate(shown)
    )
    return Panel(drawn=Strip(columns=("picture", *titles(list(taps))), rows=rows))


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
