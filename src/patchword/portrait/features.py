"""What the features of a model hold: pictures near one another, and tokens level by level."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from patchword.data.frame import frame
from patchword.pages.inspect import Panel
from patchword.pages.plates import Matrix, Point, Row, Scatter, Strip
from patchword.portrait.attention import titles
from patchword.portrait.pictures import Picture
from patchword.portrait.sight import Sight, Sitter
from patchword.predictor import normalise
from patchword.training.report import pixels
from patchword.training.worded import titled

NEIGHBOURS, ASKED = 5, 6
LEVELS = 8  # of a strip
NOTHING = "No held-out pictures are at hand: the model does not say what it was trained on."


def neighbours_panel(seen: Sight | None) -> Panel:
    """Draw the held-out pictures whose features are most alike to those of a few."""
    if seen is None or len(seen.pooled) <= NEIGHBOURS:
        return Panel(absent=NOTHING)
    unit = F.normalize(seen.pooled, dim=1)
    alike = unit @ unit.T
    asked = torch.linspace(0, len(unit) - 1, ASKED).int().tolist()
    rows = list[Row]()
    for place in asked:
        order = alike[place].argsort(descending=True, stable=True).tolist()
        near = [i for i in order if i != place][:NEIGHBOURS]
        same = [titled(seen.source, i) == titled(seen.source, place) for i in near]
        rows.append(
            Row(
                title=titled(seen.source, place),
                note=f"{sum(same)} of {len(near)} alike",
                wrong=not any(same),
                pictures=tuple(thumbnail(seen.source.read(i)) for i in (place, *near)),
                words=(
                    "",
                    *(f"{titled(seen.source, i)} {float(alike[place, i]):.2f}" for i in near),
                ),
            )
        )
    columns = ("picture", *(f"nearest {i + 1}" for i in range(NEIGHBOURS)))
    return Panel(drawn=Strip(columns=columns, rows=tuple(rows)))


def map_panel(seen: Sight | None) -> Panel:
    """Draw each held-out picture as a point: the two directions in which features differ most."""
    if seen is None or len(seen.pooled) < 3:
        return Panel(absent=NOTHING)
    centred = seen.pooled - seen.pooled.mean(dim=0)
    left, size, _ = torch.linalg.svd(centred, full_matrices=False)
    places = (left[:, :2] * size[:2]).tolist()
    right = seen.right or (True,) * len(places)
    points = list[Point]()
    for i, (x, y) in enumerate(places):
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


@torch.no_grad()
def tokens_panel(who: Sitter, shown: Sequence[Picture]) -> Panel:
    """Draw the tokens of some levels, their three main directions as red, green and blue."""
    backbone = who.model.backbone
    levels = [level for level in backbone.levels if level.stride is not None]
    if not levels:
        return Panel(absent=f"{who.card.model} has no level on which a grid is left.")
    picked = np.linspace(0, len(levels) - 1, min(LEVELS, len(levels))).round().astype(int)
    names = [levels[i].name for i in picked]
    framed = torch.stack([frame(p.pixels, who.card.preprocessing) for p in shown])
    where = next(who.model.parameters()).device
    seen = backbone(normalise(framed.to(where), who.card.preprocessing), taps=names)
    drawn = [components(tap.map) for tap in seen.taps]
    rows = tuple(
        Row(
            title=picture.truth or picture.name,
            pictures=(pixels(image), *(level[i] for level in drawn)),
        )
        for i, (picture, image) in enumerate(zip(shown, framed, strict=True))
    )
    return Panel(drawn=Strip(columns=("picture", *titles(names)), rows=rows))


def components(level: Float[Tensor, "b c h w"]) -> list[UInt8[np.ndarray, "h w 3"]]:
    """Colour cells by the three directions in which they differ most, over all pictures at once.

    Each direction's sign is that in which its greatest weight is positive, so that the colours are
    the same whenever they are worked out.
    """
    flat = level.float().cpu().permute(0, 2, 3, 1)
    cells = flat.flatten(0, 2)
    cells = cells - cells.mean(dim=0)
    main = torch.linalg.svd(cells, full_matrices=False).Vh[:3]
    main = main * main.gather(1, main.abs().argmax(dim=1, keepdim=True)).sign()
    found = cells @ F.pad(main, (0, 0, 0, 3 - len(main))).T
    low, high = torch.quantile(found, torch.tensor([0.02, 0.98]), dim=0)
    scaled = ((found - low) / (high - low).clamp(min=1e-12)).clamp(0, 1) * 255
    return list(scaled.round().to(torch.uint8).view(*flat.shape[:3], 3).numpy())


def cka_panel(seen: Sight | None, other: Sight | None = None) -> Panel:
    """Draw how alike what levels know of the pictures is, of one model or between two."""
    if seen is None:
        return Panel(absent=NOTHING)
    rows, columns = seen.levels, (other or seen).levels
    values = np.array([[cka(a, b) for b in columns.values()] for a in rows.values()])
    named = (tuple(titles(list(names))) for names in (rows, columns))
    return Panel(drawn=Matrix(rows=next(named), columns=next(named), values=values))


def cka(a: Float[Tensor, "n d"], b: Float[Tensor, "n e"]) -> float:
    """Return the linear centred kernel alignment (Kornblith et al. 2019, arXiv:1905.00414)."""
    a, b = (x.double() - x.double().mean(dim=0) for x in (a, b))
    shared = (a.T @ b).square().sum()
    sizes = (a.T @ a).norm() * (b.T @ b).norm()
    return float(shared / sizes.clamp(min=1e-30))


def thumbnail(image: UInt8[Tensor, "c h w"]) -> UInt8[np.ndarray, "h w c"]:
    """Return a picture as pages want it, of about as many pixels as they show."""
    step = max(1, max(image.shape[1:]) // 224)
    return pixels(image[:, ::step, ::step])
