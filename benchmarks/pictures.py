"""What the pictures of our trained models say beside what the ViT paper says of its own.

    python benchmarks/pictures.py RUN [RUN ...] [--out docs/pictures.md]

Every figure is measured on held-out pictures of the run's own data, and on the same network with
fresh weights, and goes into one page.
"""

import argparse
import json
from pathlib import Path

import torch

from patchword.engine.run import Run
from patchword.inspection.attention import backbone_of
from patchword.inspection.distance import attention_distance, centres
from patchword.inspection.sanity import rank_correlation
from patchword.inspection.stem import filters, position_similarity
from patchword.portrait.heads import images
from patchword.portrait.pictures import Picture
from patchword.portrait.sight import sample, sitter
from patchword.training.settings import stored
from tests.parity.page import measured

PICTURES = 32
NEAR, FAR = 0.5, 0.9  # of the distance of even attention: a local head, one that sees the whole

HEAD = """# What the pictures say

Figures 7 of Dosovitskiy et al. 2021 (arXiv:2010.11929), read on models that were trained here for
minutes, beside the same networks with fresh weights. Made by

    {command}

Measured on: {measured}. {pictures} held-out pictures of each run's own data.

| run | model | data | pictures seen | test top-1 |
| --- | --- | --- | ---: | ---: |
"""
DISTANCE = """
## Near and far heads

The paper: "some heads attend to most of the image already in the lowest layers", others have
"consistently small attention distances in the low layers", and the distance grows with depth.

Mean attention distance in percent of what attending to every place alike gives. A head is local
below {near:.0%} and sees the whole above {far:.0%}; the two counts are of the first layer's heads.
Grows: the rank correlation of layer and distance, over all heads.

| run | weights | first layer: nearest, farthest head | local | whole | last layer | grows |
| --- | --- | --- | ---: | ---: | --- | ---: |
"""
POSITIONS = """
## Positions that learn the grid

The paper: "closer patches tend to have more similar position embeddings", and "patches in the same
row/column have similar embeddings".

Cosines after the mean is taken away. Near: the mean over the up to eight places around. Row,
column: the mean over the same row or column, two places away and more; elsewhere: over the rest.
Most alike is a neighbour: of how many places, and by chance. Distance: the rank correlation of a
place's cosines with how near the others are, the mean over places.

| run | weights | near | row, column | elsewhere | most alike is a neighbour | distance |
| --- | --- | ---: | ---: | ---: | ---: | ---: |
"""
FILTERS = """
## Filters

The paper: the main components of the filters "resemble plausible basis functions for a
low-dimensional representation of the fine structure within each patch".

Roughness of the first eight components: the mean squared step between neighbouring pixels over
twice the variance, 1 for noise and near 0 for smooth waves. Variance: how much of the filters' the
eight explain.

| run | weights | roughness | variance |
| --- | --- | ---: | ---: |
"""


def row(*cells):
    return f"| {' | '.join(map(str, cells))} |\n"


def seen(run, who):
    scores = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    settings = stored(run)
    count = Run(run).rows()[-1]["step"] * settings.recipe.batch_size
    right = f"{scores['test']['top1']:.1%}" if "test" in scores else ""
    data = Path(str(settings.request.data)).name
    return row(f"`{run.name}`", f"`{who.card.model}`", data, f"{count:,}", right)


def distances(model, read):
    """Return each layer's heads' distance, as a share of even attention's."""
    size = tuple(read.shape[2:])
    found = [attention_distance(model, image[None]) for image in read]
    backbone = backbone_of(model)
    shares = []
    for name in found[0]:
        heads = torch.stack([each[name] for each in found]).mean(0)
        stride = backbone.levels[0].stride
        grid = tuple(side // step for side, step in zip(size, stride, strict=True))
        places = centres(grid, size)
        shares.append(heads / torch.cdist(places, places).mean().item())
    return shares


def distance_row(name, weights, model, read):
    shares = distances(model, read)
    first, last = shares[0], shares[-1]
    heads = torch.cat(shares)[None]
    depth = torch.cat([torch.full_like(s, i) for i, s in enumerate(shares)])[None]
    between = [f"{s.min():.0%} to {s.max():.0%}" for s in (first, last)]
    local, whole = int((first < NEAR).sum()), int((first > FAR).sum())
    total = len(first)
    grows = f"{rank_correlation(depth, heads).item():+.2f}"
    return row(
        name, weights, between[0], f"{local} of {total}", f"{whole} of {total}", between[1], grows
    )


def position_row(name, weights, model):
    found = position_similarity(backbone_of(model))
    if found is None:
        return ""
    grid = found.shape[:2]
    cosine = found.flatten(2).flatten(0, 1)
    down, along = ((p[:, None] - p).abs() for p in torch.cartesian_prod(*map(torch.arange, grid)).T)
    apart, reach = (down**2 + along**2).sqrt(), torch.maximum(down, along)
    near, line = reach == 1, ((down == 0) | (along == 0)) & (reach > 1)
    else_ = (down > 0) & (along > 0) & (reach > 1)
    best = cosine.where(reach > 0, -2).argmax(1)
    hits = near[torch.arange(len(best)), best].float().mean()
    chance = near.float().sum(1).mean() / (len(best) - 1)
    others = ~torch.eye(len(best), dtype=torch.bool)
    follows = rank_correlation(
        cosine[others].view(len(best), -1), -apart[others].view(len(best), -1)
    ).mean()
    means = [f"{cosine[where].mean():+.2f}" for where in (near, line, else_)]
    return row(name, weights, *means, f"{hits:.0%} (chance {chance:.0%})", f"{follows:+.2f}")


def filter_row(name, weights, model):
    backbone = backbone_of(model)
    first = filters(backbone, 8)
    every = next(m for m in backbone.modules() if isinstance(m, torch.nn.Conv2d)).weight.detach()
    flat = every.flatten(1) - every.flatten(1).mean(0)
    variance = torch.linalg.svdvals(flat.float()) ** 2
    steps = (first.diff(dim=2) ** 2).mean(), (first.diff(dim=3) ** 2).mean()
    spread = (first - first.mean((2, 3), keepdim=True)).square().mean()
    roughness = (sum(steps) / 2 / (2 * spread)).item()
    return row(name, weights, f"{roughness:.2f}", f"{variance[:8].sum() / variance.sum():.0%}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures.md"))
    given = parser.parse_args()
    models, near, grid, waves = "", "", "", ""
    for run in given.runs:
        who = sitter(run, "cpu")
        source = sample(who.data.test, PICTURES)
        read = images(who, [Picture(source.name(i), source.read(i)) for i in range(len(source))])
        torch.manual_seed(0)
        fresh = backbone_of(who.model).config.build().eval()
        models += seen(run, who)
        for weights, model in (("trained", who.model), ("fresh", fresh)):
            name = f"`{run.name}`" if weights == "trained" else ""
            near += distance_row(name, weights, model, read)
            grid += position_row(name, weights, model)
            waves += filter_row(name, weights, model)
    command = "python benchmarks/pictures.py " + " ".join(f"runs/{r.name}" for r in given.runs)
    head = HEAD.format(command=command, measured=measured(), pictures=PICTURES)
    distance = DISTANCE.format(near=NEAR, far=FAR)
    page = head + models + distance + near + POSITIONS + grid + FILTERS + waves
    given.out.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
