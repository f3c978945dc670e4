"""Attention's queries and keys lie where their layouts say: what moves a token moves those."""

from math import prod

import torch

from patchword.inspection.watch import record, watch
from patchword.layers import (
    LocalOperator,
    Mixer,
    WindowAttention,
    to_windows,
)
from patchword.models.axial import AxialAttention
from patchword.models.cswin import StripeAttention
from patchword.models.cvt import ConvAttention
from patchword.models.dat import DeformableAttention
from patchword.models.levit import Shrink
from patchword.models.nonlocal_net import NonLocal
from patchword.models.pale import InterlacedAttention
from patchword.models.quadratic import QuadraticBlock
from patchword.models.sasa import AttentionStem
from patchword.models.swinv2 import CosineAttention
from patchword.models.tnt import InnerAttention
from tests.contract.tiny import CONFIGS, images, made

MAPS = (AxialAttention, NonLocal, AttentionStem)  # which read (b c rows columns)
SPREAD = (ConvAttention,)  # where a cell reaches its neighbours' keys
GIVEN = (LocalOperator, QuadraticBlock)  # whose operators are handed maps, and grids
NO_MAP = (  # between no cells
    "lca.block.attn.attend",
    "attend_global",
    "match.attend",
)


def calls(backbone, batch):
    """Return the mixers that ran, with the last inputs of each and of its operator."""
    ran, handles = {}, []
    for name, part in backbone.named_modules():
        if isinstance(part, Mixer) and not isinstance(part, GIVEN):

            def enter(part, args, name=name):
                ran[name] = (part, args)

            handles.append(part.register_forward_pre_hook(enter))
    with torch.no_grad():
        backbone(batch, taps=("final",))
    for handle in handles:
        handle.remove()
    return ran


def moved(part, args, token):
    """Return the inputs with one token, as the network numbers them, changed in every channel."""
    if isinstance(part, InterlacedAttention):
        rows, columns = args[0].shape[1:3]
        at = divmod(token, rows if part.across else columns)
        row, column = at[::-1] if part.across else at
        changed = [x.clone() for x in args]
        for x in changed:
            x[:, row, column] += torch.randn(x.shape[-1])
        return tuple(changed)
    x = args[0].clone()
    if isinstance(part, MAPS):
        row, column = divmod(token, x.shape[3])
        x[:, :, row, column] += torch.randn(x.shape[1])
    elif isinstance(part, StripeAttention):
        row, column = divmod(token, x.shape[2])
        x[:, row, column] += torch.randn(x.shape[3:])
    else:
        if isinstance(part, (WindowAttention, CosineAttention)):
            places = part.windows(x, args[1]).places
            token = token if places is None else places[token]
        elif isinstance(part, InnerAttention):
            grid, side = args[1], round((x.shape[1] / (args[1][0] * args[1][1])) ** 0.5)
            words = torch.arange(x.shape[1]).view(1, grid[0] * side, grid[1] * side, 1)
            order = to_windows(words, (side, side)).flatten()
            token = int((order == token).nonzero()[0])
        x[:, token] += torch.randn(x.shape[-1])
    return (x, *args[1:])


def asked(part, args):
    """Return the queries and keys of the operator, parts apart, heads together."""
    found = []
    handle = part.attend.register_forward_pre_hook(lambda _, inputs: found.append(inputs[:2]))
    with torch.no_grad():
        part(*args)
    handle.remove()
    layout = part.layout(*args)
    axis, sizes = (0, (-1, len(layout.queries))) if layout.in_batch else (1, (len(layout.keys), -1))
    q, k = (t.unflatten(axis, sizes) for t in found[0])
    return (q[:1], k[:1]), layout


def test_a_token_is_what_its_queries_and_keys_are_made_of(config, backbone):
    kinds = set()
    for part, args in calls(backbone, images(config, 1)).values():
        if type(part) in kinds or isinstance(part, DeformableAttention):
            continue
        kinds.add(type(part))
        (q, k), layout = asked(part, args)
        assert (layout.queries.shape, layout.keys.shape) == (
            (q.shape[1], q.shape[3]),
            (k.shape[1], k.shape[3]),
        )
        grid = layout.key_grid if isinstance(part, Shrink) else layout.grid
        tokens = layout.prefix + prod(grid)
        for token in {0, tokens // 2, tokens - 1}:
            (q2, k2), _ = asked(part, moved(part, args, token))
            if not isinstance(part, (*SPREAD, Shrink)):
                assert torch.equal((q != q2).any(-1).any(2)[0], layout.queries == token), part
            if grid == layout.key_grid and not isinstance(part, SPREAD):
                assert torch.equal((k != k2).any(-1).any(2)[0], layout.keys == token), part


def test_every_operator_between_cells_is_shown_and_laid_out(config, backbone):
    shown = {}
    with torch.no_grad():
        plain = backbone(images(config), taps=("final",)).pooled
    watching = watch(backbone, lambda name, seen: shown.update({name: seen}))
    with torch.no_grad(), watching, record(backbone) as mixed:
        assert torch.equal(backbone(images(config), taps=("final",)).pooled, plain)
    inner = {name for name in mixed if name.rpartition(".")[0] in mixed}
    hidden = mixed.keys() - shown.keys() - inner
    if any(level.stride is None for level in backbone.levels):
        hidden.clear()  # the tokens are on a line, once pooled
    assert all(name.endswith(NO_MAP) for name in hidden), hidden
    for seen in shown.values():
        laid, layout = seen.laid(), seen.layout
        sizes = (layout.prefix + prod(grid) for grid in (layout.grid, layout.key_grid))
        assert laid.shape == (2, seen.heads, *sizes)
        if torch.equal(layout.keys, torch.arange(laid.shape[3])[None]):
            assert torch.equal(laid[:, :, layout.queries[0]], seen.weights[:, 0])
        row = torch.rand(2, 1, laid.shape[2])
        expected = (row[:, :, None] @ laid)[:, :, 0]
        torch.testing.assert_close(seen.carried(row), expected, rtol=1e-4, atol=1e-4)


def test_pooled_is_read_from_the_class_tokens_or_from_cells(config, backbone):
    normed = []

    def cut(_, inputs, output):
        normed.append(output.detach().requires_grad_())
        return normed[-1]

    backbone.norm.register_forward_hook(cut)
    features = backbone(images(config), taps=("final",))
    (features.pooled * torch.randn_like(features.pooled)).sum().backward()
    if len(normed) != 1 or normed[0].ndim != 3 or normed[0].grad is None:
        assert backbone.class_tokens == 0  # maps, or tokens that are no cells
        return
    read = normed[0].grad.abs().sum(dim=2)[0] > 0
    if backbone.class_tokens:  # in CeiT a token of its own stands before
        assert read[: backbone.class_tokens].all() and not read[backbone.class_tokens :].any()
    else:
        assert read[features.taps[0].prefix.shape[1] :].all()


def test_sampled_keys_are_laid_on_the_cells_that_they_are_read_between():
    config = CONFIGS["dat-dat"]
    (part, args), *_ = (
        call
        for call in calls(made(config), images(config)).values()
        if isinstance(call[0], DeformableAttention)
    )
    with torch.no_grad():
        points = part.points(part.q(args[0]), args[1]).flatten(2, 3)  # sides at -1 and 1
        read = part.layout(*args).read
    lines = [torch.linspace(-1, 1, side) for side in args[1]]  # as grid_sample aligns corners
    cells = torch.stack(torch.meshgrid(*lines, indexing="ij"), -1).flatten(0, 1)
    heads = points.repeat_interleave(part.num_heads // part.groups, dim=1)
    inside = (heads.abs() < 1).all(-1)
    assert inside.any()
    torch.testing.assert_close((read @ cells)[inside], heads[inside])
    torch.testing.assert_close(read.sum(-1)[inside], torch.ones(int(inside.sum())))
