"""Recorded attention as pages draw it: who attends to whom, cell by cell, layer by layer."""

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from patchword.features import Backbone
from patchword.inspection.attention import each_map
from patchword.inspection.drawn import titles
from patchword.inspection.watch import AttentionMap
from patchword.pages.maps import Layer, Places


def layers(backbone: Backbone, image: Float[Tensor, "c h w"]) -> tuple[Layer, ...]:
    """Return what each place attends to in a normalised picture, in order of depth.

    Weights below 0, of operators that are no softmax, are taken by their size. Empty where nothing
    attends, or nothing whose places lie on the picture.
    """
    found = each_map(backbone, image[None], lambda seen: layer(backbone, seen))
    kept = {name: each for name, each in found.items() if each is not None}
    words = titles(list(kept))
    return tuple(
        Layer(
            name=word,
            weights=each.weights,
            queries=each.queries,
            keys=each.keys,
            window=each.window,
            members=each.members,
        )
        for word, each in zip(words, kept.values(), strict=True)
    )


def layer(backbone: Backbone, seen: AttentionMap) -> Layer | None:
    """Return one recorded map of one picture, or None where nobody asks."""
    asked, keys = (part.cpu().numpy() for part in seen.places())
    weights = seen.weights[0].abs().float().cpu().numpy()  # parts heads n m
    prefix = tokens(backbone, seen.layout.prefix)
    part, place = np.nonzero(asked >= 0)
    token = asked[part, place]
    order = np.argsort(token, kind="stable")
    part, place, token = part[order], place[order], token[order]
    first = np.unique(token, return_index=True)[1]  # who asks in two parts is shown in one
    part, place, token = part[first], place[first], token[first]
    if not len(token):
        return None
    queries = _asking(token, prefix, seen.layout.grid)
    kept = weights[part, :, place].transpose(1, 0, 2)  # heads tokens m
    rows, columns = seen.layout.key_grid
    held = Places(rows=rows, columns=columns, prefix=prefix)
    whole = len(keys) == 1 and np.array_equal(keys[0], np.arange(held.count))
    return Layer(
        name="",
        weights=kept,
        queries=queries,
        keys=held,
        window=None if whole else part,
        members=None if whole else keys,
    )


def _asking(token: Int[np.ndarray, " n"], prefix: tuple[str, ...], grid: tuple[int, ...]) -> Places:
    names = tuple(name for i, name in enumerate(prefix) if i in token[: len(prefix)])
    cells = len(token) > len(names)
    rows, columns = grid if cells else (0, 0)
    return Places(rows=rows, columns=columns, prefix=names)


def tokens(backbone: Backbone, count: int) -> tuple[str, ...]:
    """Name the tokens that stand before the cells."""
    read = ("class token", "distillation token")[: backbone.class_tokens]
    further = [f"register {i + 1}" for i in range(count - len(read))]
    return (*read, *further)[:count]
