"""The operators of families that no library has, as their authors compute them.

What is ours alone in a network is what it is timed by (benchmarks/plain.py): `swapped` returns a
copy of one of our classifiers in which each such part computes what it did as its authors' code
does, or, where there is none, as the paper's formulas are commonly written in PyTorch. Everything
else, the weights included, stays.
"""

import copy

from torch import nn

from patchword.layers import Attend
from patchword.layers.window import WindowAttention
from patchword.models import (
    axial,
    ceit,
    cswin,
    dat,
    deepvit,
    hvt,
    localvit,
    lrnet,
    nonlocal_net,
    pale,
    quadratic,
    san,
    sasa,
    vil,
    vt,
)
from tests.parity import theirs_maps as maps
from tests.parity import theirs_tokens as tokens
from tests.parity import theirs_windows as windows


class Theirs(nn.Module):
    """A part of ours, whose forward pass is another function of it and of its inputs."""

    def __init__(self, part, compute):
        super().__init__()
        self.part, self.compute = part, compute

    def forward(self, *inputs):
        return self.compute(self.part, *inputs)


def swapped(model, table):
    """Return a copy of a network, its parts of some classes replaced: class -> function."""
    return replaced(copy.deepcopy(model), table)


def replaced(part, table):
    for name, child in part.named_children():
        setattr(part, name, replaced(child, table))
    return Theirs(part, table[type(part)]) if type(part) in table else part


PLAIN = {Attend: tokens.attention}

TABLES = {
    "axial": {axial.AxialAttention: maps.axial_attention},
    "ceit": {**PLAIN, ceit.CeiTBlock: tokens.all_tokens},
    "cswin": {cswin.CrossShapedAttention: windows.cross_shaped},
    "dat": {WindowAttention: windows.window_attention, dat.DeformableAttention: windows.deformable},
    "deepvit": {**PLAIN, deepvit.ReAttend: tokens.reattention, deepvit.Block: tokens.all_tokens},
    "hvt": {**PLAIN, hvt.Pool: tokens.pool},
    "localvit": {**PLAIN, localvit.LocalBlock: tokens.all_tokens},
    "lrnet": {lrnet.LocalRelation: maps.relation},
    "nonlocal_net": {nonlocal_net.NonLocal: maps.non_local},
    "pale": {pale.InterlacedAttention: windows.interlaced},
    "quadratic": {quadratic.Gaussian: tokens.gaussian},
    "san": {san.SelfAttention: maps.self_attention},
    "sasa": {sasa.LocalAttention: maps.local_attention},
    "vil": {**PLAIN, vil.LongformerAttention: windows.longformer},
    "vt": {vt.Match: tokens.match, vt.Tokenizer: tokens.tokenizer},
}
"""Family -> the parts that are exchanged."""
