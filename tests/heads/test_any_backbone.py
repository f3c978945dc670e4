"""Every head on one backbone of every family: it answers, or says in a line what would fit."""

import copy

import pytest
import torch

from patchword import heads
from patchword.errors import ConfigError
from tests.contract.tiny import FIXED, images, made
from tests.families import FAMILIES
from tests.heads import HEADS

FIRST = {family: next(iter(it.TINY)) for family, it in FAMILIES.items()}
ALSO = ("setr-mla", "setr-pup", "segmenter-linear", "dpt-add", "dpt-mask", "deformable_detr-refine")


def any_level(head):
    """Tell whether a head's config leaves it to the backbone which levels it reads."""
    said = [vars(head).get(name) for name in ("level", "levels", "aux")]
    return not any(isinstance(one, str | tuple) and one for one in said)


KINDS = {head: [k for k, (_, c) in it.TINY.items() if any_level(c)] for head, it in HEADS.items()}
SMALL = {
    f"{head}-{kind}": HEADS[head].TINY[kind][1]
    for head, kinds in KINDS.items()
    for kind in kinds
    if kind == kinds[0] or f"{head}-{kind}" in ALSO
}


def unfit(head, backbone):
    """Return what a refusal says; empty where the head has to answer."""
    settings, levels = vars(head), [backbone.level(name) for name in backbone.pyramid()]
    if backbone.level("final").stride is None:
        return "has no grid left at .*; this head reads levels that are maps"
    alike = len({(level.channels, level.stride) for level in levels}) == 1
    if settings.get("decoder") == "mla" and not alike:
        return "each on a grid of its own; this head reads levels of one width on one grid"
    tokens = {level.channels for level in levels if level.prefix}
    bare = not tokens or any(not level.prefix and level.channels in tokens for level in levels)
    if settings.get("readout") == "add" and bare:
        return "no class token to add; this head reads one at every level of tokens"
    return ""


def test_all_heads_are_tried():
    assert {name.partition("-")[0] for name in SMALL} == {*heads.index().values()}
    assert {*SMALL} >= {*ALSO}


@pytest.mark.parametrize("family", FIRST)
def test_heads_answer_on_it_or_say_what_would_fit(family):
    name = f"{family}-{FIRST[family]}"
    config = FAMILIES[family].TINY[FIRST[family]]
    backbone = made(config)
    batch = images(config, 2, None if name in FIXED else (67, 41))
    for called, head in SMALL.items():
        own, classes = copy.deepcopy(backbone), 1 if head.kind == "depth" else 3
        said = unfit(head, backbone)
        if said:
            with pytest.raises(ConfigError, match=said) as found:
                head.assemble(own, classes)
            assert "\n" not in str(found.value), called
            continue
        with torch.no_grad():
            answer = head.assemble(own, classes).eval()(batch)
        if head.kind == "objects":
            assert answer.boxes.shape == (2, head.num_queries, 4), called
            assert answer.scores.isfinite().all() and answer.boxes.isfinite().all(), called
        else:
            assert answer.shape == (2, classes, *batch.shape[2:]), called
            assert answer.isfinite().all(), called
