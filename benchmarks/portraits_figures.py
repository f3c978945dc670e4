"""Figure 7 of the ViT paper in numbers: of heads, positions and filters; trained or fresh."""

import torch

from patchword.inspection.attention import backbone_of, each_map
from patchword.inspection.distance import centres, mean_distance
from patchword.inspection.sanity import rank_correlation
from patchword.inspection.stem import filters, position_similarity

COMPONENTS = 8  # of the patch filters
SMALLEST = 3  # pixels a side of filters that can be called smooth or rough


def figures(model, read):
    """Return what can be measured of a network, as JSON values; None where it has no such part.

    Args:
        model: a classifier or a backbone.
        read: images as the model reads them.
    """
    return {
        "heads": heads(model, read),
        "positions": positions(position_similarity(backbone_of(model))),
        "filters": waves(backbone_of(model)),
    }


def heads(model, read):
    """Return each layer's heads' attention distance as shares of what even attention would have."""
    size, found = tuple(read.shape[2:]), []
    for image in read:  # maps of one at a time: of all they would not fit
        found.append(each_map(model, image[None], lambda seen: shares(seen, size)))
    layers = {name: [each[name] for each in found] for name in found[0]}
    return [
        torch.stack(kept).mean(0).tolist() for kept in layers.values() if kept[0] is not None
    ] or None


def shares(seen, size):
    """Return the heads' distance over that of attending to every cell of the image alike."""
    layout = seen.layout
    if not (layout.queries >= layout.prefix).any():
        return None  # class tokens alone ask
    even = torch.cdist(centres(layout.grid, size), centres(layout.key_grid, size)).mean()
    return mean_distance(seen, size)[0].double() / even


def growth(layers):
    """Return by how much the mean head of the last layer looks farther than that of the first."""
    first, last = (sum(layer) / len(layer) for layer in (layers[0], layers[-1]))
    return last - first


def ranked(layers):
    """Return the rank correlation of depth and distance, over all heads."""
    depth = [float(i) for i, layer in enumerate(layers) for _ in layer]
    every = [share for layer in layers for share in layer]
    return rank_correlation(torch.tensor([depth]), torch.tensor([every])).item()


def positions(similarity):
    """Return how the likeness of positions follows the grid.

    near: the mean cosine with the up to eight places around.
    far: with those half the grid's longer side away and more.
    follows: the rank correlation of a place's cosines with nearness, the mean of the places.
    lines: by how much places on the same row or column are more alike than places as far away
        that are on neither; two steps away and more, the mean over distances.
    """
    if similarity is None:
        return None
    grid = tuple(similarity.shape[:2])
    cosine = similarity.flatten(2).flatten(0, 1).double()
    rows, columns = torch.cartesian_prod(*map(torch.arange, grid)).T
    down, along = ((axis[:, None] - axis).abs() for axis in (rows, columns))
    apart, reach = (down**2 + along**2).double().sqrt(), torch.maximum(down, along)
    others = ~torch.eye(len(cosine), dtype=torch.bool)
    pairs = (part[others].view(len(cosine), -1) for part in (cosine, -apart))
    line = (down == 0) | (along == 0)
    contrasts = []
    for steps in range(2, max(grid)):
        as_far = apart.round() == steps
        on, off = cosine[as_far & line], cosine[as_far & ~line]
        if len(on) and len(off):
            contrasts.append((on.mean() - off.mean()).item())
    return {
        "near": cosine[reach == 1].mean().item(),
        "far": cosine[reach >= max(grid) / 2].mean().item(),
        "follows": rank_correlation(*pairs).mean().item(),
        "lines": sum(contrasts) / len(contrasts) if contrasts else None,
    }


def waves(backbone):
    """Return how smooth the first layer's principal components are, and how much they explain.

    roughness: the mean squared step between neighbouring pixels over twice their variance, 1 for
        noise and near 0 for long waves; the mean of the components.
    explained: share of the filters' variance in them.
    """
    first = filters(backbone, COMPONENTS)
    if first is None or min(first.shape[2:]) < SMALLEST:
        return None
    steps = torch.stack([first.diff(dim=axis).square().mean((1, 2, 3)) for axis in (2, 3)]).mean(0)
    spread = (first - first.mean((2, 3), keepdim=True)).square().mean((1, 2, 3))
    flat = read_by(backbone).flatten(1)
    variance = torch.linalg.svdvals(flat - flat.mean(0)).square()
    return {
        "side": min(first.shape[2:]),
        "roughness": (steps / (2 * spread)).mean().item(),
        "explained": (variance[:COMPONENTS].sum() / variance.sum()).item(),
    }


def read_by(backbone):
    """Return the weight of the convolution that reads images."""
    for part in backbone.modules():
        if isinstance(part, torch.nn.Conv2d) and part.in_channels == backbone.config.in_chans:
            return part.weight.detach().float()
    raise AssertionError("filters() found one")
