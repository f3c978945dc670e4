"""Convnets that attend, as their authors compute them: see theirs.py.

Windows are written out by `unfold`, as a convolution's are by im2col.
"""

import torch
import torch.nn.functional as F

from patchword.models import lrnet, san


def unfolded(x, part, mode="constant"):
    """Return the window of each cell: (b c window n)."""
    side, half = part.kernel_size, part.kernel_size // 2
    columns = F.unfold(F.pad(x, (half,) * 4, mode=mode), side, stride=part.stride)
    return columns.unflatten(1, (x.shape[1], -1))


def local_attention(part, x):
    attend, heads = part.attend, part.heads
    q, k, v = (t.unflatten(1, (heads, -1)) for t in part.qkv(x).chunk(3, 1))
    k, v = (unfolded(t.flatten(1, 2), attend).unflatten(1, (heads, -1)) for t in (k, v))
    side = attend.kernel_size
    rows = attend.rows[..., :, None].expand(-1, -1, -1, side)
    columns = attend.columns[..., None, :].expand(-1, -1, side, -1)
    k = k + torch.cat([rows, columns], 1).flatten(2)[..., None]  # the code of a place, on each key
    scores = (q.flatten(3)[:, :, :, None] * k).sum(2)
    inside = unfolded(torch.ones_like(x[:1, :1]), attend)
    shares = scores.masked_fill(inside == 0, -torch.inf).softmax(2)
    return (shares[:, :, None] * v).sum(3).flatten(1, 2).unflatten(2, x.shape[2:])


def relation(part, x):
    attend = part.attend
    q, k, v = part.q(x), part.k(x), part.v(x)
    keys = unfolded(k, attend)
    alike = attend.alike(q.flatten(2)[:, :, None].expand_as(keys), keys)
    inside = unfolded(torch.ones_like(x[:1, :1]), attend)
    prior = attend.prior(attend.offsets).T[:, :, None]
    shares = (alike.masked_fill(inside == 0, lrnet.BEYOND) + prior).softmax(2)
    shares = shares.repeat_interleave(part.share, 1)[:, : v.shape[1]]
    return (shares * unfolded(v, attend)).sum(2).unflatten(2, q.shape[2:])


def self_attention(part, x):
    """Answer as SAN's kernels, by the identities that their tests hold them against."""
    attend, count = part.attend, part.attend.kernel_size**2
    (q, k), v = part.qk(x).chunk(2, 1), part.v(x)
    if isinstance(attend, san.Pairwise):
        down, across = (torch.linspace(-1, 1, n, dtype=x.dtype) for n in x.shape[2:])
        places = torch.stack([across.expand(len(down), -1), down[:, None].expand(-1, len(across))])
        places = attend.position(places.movedim(0, -1)).movedim(-1, 0)[None]
        apart, offset = (
            a.flatten(2)[:, :, None] - unfolded(b, attend, "reflect")
            for a, b in ((q, k), (places, places))
        )
        relation = torch.cat([apart, offset.expand(len(x), -1, -1, -1)], 1)
        shares = attend.relate(relation).softmax(2)
    else:
        keys = unfolded(k, attend, "reflect").flatten(1, 2).unflatten(2, x.shape[2:])
        shares = attend.relate(torch.cat([q, keys], 1)).flatten(2).unflatten(1, (-1, count))
    values = unfolded(v, attend, "reflect").unflatten(1, (part.share, -1))
    return (shares[:, None] * values).sum(3).flatten(1, 2).unflatten(2, x.shape[2:])


def axial_attention(part, x):
    attend, heads = part.attend, part.heads
    x = x.permute(0, 2, 1, 3) if part.across else x.permute(0, 3, 1, 2)
    lines, span = x.flatten(0, 1), x.shape[3]
    qkv = F.conv1d(lines, part.qkv.weight[..., 0])
    qkv = part.norm_qkv(qkv[..., None])[..., 0].unflatten(1, (heads, -1))
    half = attend.dim // 2
    q, k, v = qkv.split([half, half, 2 * half], 2)
    codes = attend.codes.table.index_select(1, attend.codes.index.flatten())
    r_q, r_k, r_v = codes.unflatten(1, (span, span)).split([half, half, 2 * half])
    qr = torch.einsum("bgci,cij->bgij", q, r_q)
    kr = torch.einsum("bgci,cij->bgij", k, r_k).transpose(2, 3)
    qk = torch.einsum("bgci,bgcj->bgij", q, k)
    terms = attend.norm(torch.cat([qk, qr, kr], 1)).view(len(q), 3, heads, span, span)
    shares = terms.sum(1).softmax(3)
    sv = torch.einsum("bgij,bgcj->bgci", shares, v)
    sve = torch.einsum("bgij,cij->bgci", shares, r_v)
    out = torch.stack([sv, sve], 3).flatten(1, 3)
    out = part.norm(out[..., None])[..., 0].view(len(x), x.shape[1], -1, 2, span).sum(3)
    return out.permute(0, 2, 1, 3) if part.across else out.permute(0, 2, 3, 1)


def non_local(part, x):
    seen = F.max_pool2d(x, 2) if part.pool == "input" else x
    q, k, v = part.theta(x), part.phi(seen), part.g(seen)
    if part.pool == "projected":
        k, v = F.max_pool2d(k, 2), F.max_pool2d(v, 2)
    q, k, v = (t.flatten(2) for t in (q, k, v))
    if part.affinity == "dot_product":
        shares = q.transpose(1, 2) @ k / k.shape[2]
    else:
        shares = ((q.transpose(1, 2) @ k) * part.scale).softmax(2)
    mixed = (shares @ v.transpose(1, 2)).transpose(1, 2).unflatten(2, x.shape[2:])
    return x + part.norm(part.out(mixed))
