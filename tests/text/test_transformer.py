"""The Transformer answers as torch's, and sees what it may."""

import copy
import pickle
from dataclasses import replace

import pytest
import torch
from torch import nn

from patchword import text
from patchword.text import transformer
from patchword.text.transformer import TransformerConfig, sinusoids
from tests.parity.peer import perturbed
from tests.text.compare import close, filled, same_gradients, words
from tests.text.goldens import formats

TINY = TransformerConfig(
    vocab_size=23, embed_dim=16, depth=2, num_heads=4, hidden_dim=24, drop_rate=0.0
)
KINDS = {
    "paper": TINY,
    "pre": replace(TINY, order="pre", final_norm=True, position="halves"),
    "annotated": replace(
        TINY, target_vocab_size=19, order="pre", final_norm=True, norm="deviation", norm_eps=1e-6
    ),
}


class Bare(nn.Module):
    """Our two stacks without words, as torch has them."""

    def __init__(self, config):
        super().__init__()
        whole = config.build()
        self.config, self.encoder, self.decoder = config, whole.encoder, whole.decoder
        self.encoder.embedding = self.decoder.embedding = nn.Identity()

    def forward(self, source, target, source_mask, target_mask):
        memory = self.encoder.encode(source, source_mask)
        return self.decoder.decode(target, memory, target_mask, source_mask)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")  # a path that pre-norm has not
@pytest.mark.parametrize("order", ["post", "pre"])
def test_it_is_torchs(order):
    config = replace(TINY, order=order, final_norm=True)
    theirs = nn.Transformer(
        16, 4, 2, 2, 24, dropout=0.0, batch_first=True, norm_first=order == "pre"
    )
    perturbed(theirs, order).train()  # in evaluation it takes another path, which pads with 0
    format_ = formats(transformer)["torch"]
    ours = filled(Bare(config), format_, theirs.state_dict())
    _, source_mask = words(9, (6, 3, 5))
    _, target_mask = words(9)
    draw = torch.Generator().manual_seed(2)
    source = torch.randn(3, 6, 16, generator=draw)
    target = torch.randn(3, 7, 16, generator=draw)
    wanted = theirs(
        source,
        target,
        tgt_mask=~torch.ones(7, 7).tril().bool(),
        src_key_padding_mask=~source_mask,
        tgt_key_padding_mask=~target_mask,
        memory_key_padding_mask=~source_mask,
    )
    found = ours(source, target, source_mask, target_mask)
    close(found[target_mask], wanted[target_mask])
    weight = torch.randn(wanted[target_mask].shape, generator=draw)
    for states in (found, wanted):
        (states[target_mask] * weight).sum().backward()
    same_gradients(ours, theirs, format_)


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    @pytest.fixture
    def model(self, kind):
        return perturbed(KINDS[kind].build(), kind).eval()

    @pytest.fixture
    def batch(self):
        source, source_mask = words(23, (6, 3, 5))
        target, target_mask = words(19)
        return source, target, source_mask, target_mask

    def test_no_word_sees_padding_or_a_later_one(self, model, batch):
        source, target, source_mask, target_mask = batch
        wanted = model(*batch)
        other = torch.where(source_mask, source, 1), torch.where(target_mask, target, 1)
        found = model(*other, source_mask, target_mask)
        torch.testing.assert_close(found[target_mask], wanted[target_mask])
        later = target.clone()
        later[:, 3:] = 2
        found = model(source, later, source_mask, target_mask)
        torch.testing.assert_close(found[:, :3], wanted[:, :3])
        assert not torch.allclose(found[:, 3], wanted[:, 3])

    def test_a_sequence_by_itself_is_the_same(self, model, batch):
        source, target, *_ = batch
        alone = model(source[1:2, :3], target[1:2, :4])
        torch.testing.assert_close(alone[0], model(*batch)[1, :4])

    def test_gradients_reach_every_parameter(self, model, batch):
        model(*batch).square().sum().backward()
        assert all(p.grad is not None and p.grad.any() for p in model.parameters())

    def test_it_can_be_copied(self, model, batch):
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            torch.testing.assert_close(twin(*batch), model(*batch))

    def test_bf16_is_finite(self, model, batch):
        assert model.bfloat16()(*batch).isfinite().all()


def shipped():
    """Yield models with inputs, for tests/text/graphs.py."""
    source, source_mask = words(23, (6, 3, 5))
    target, target_mask = words(19)
    for config in KINDS.values():
        yield config.build().eval(), (source, target, source_mask, target_mask)


def test_half_the_waves_are_sines_in_both_layouts():
    place, rate = 3, 10000 ** (-2 / 8)
    found = sinusoids(5, 8, "interleaved", torch.device("cpu"))[place]
    torch.testing.assert_close(
        found[2:4],
        torch.tensor([place * rate])
        .repeat(2)
        .sin_()
        .where(torch.tensor([True, False]), torch.tensor([place * rate]).cos()),
    )
    found = sinusoids(5, 8, "halves", torch.device("cpu"))[place]
    rates = 10000 ** (-torch.arange(4) / 3)
    torch.testing.assert_close(found, torch.cat([(place * rates).sin(), (place * rates).cos()]))


def test_fresh_weights_are_the_papers():
    model = TransformerConfig(vocab_size=500, embed_dim=128, depth=1, num_heads=4).build()
    table = model.encoder.embedding.words.weight
    assert table.std().item() * 128**0.5 == pytest.approx(1, abs=0.02)
    assert model.head.weight is table
    weight = model.encoder.layers[0].attn.branch.qkv.weight
    assert weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.02)


@pytest.mark.parametrize(("name", "millions"), [("transformer_base", 63), ("transformer_big", 214)])
def test_it_has_the_papers_size(name, millions):
    with torch.device("meta"):
        count = sum(p.numel() for p in text.create(name).parameters())
    assert round(count / 1e6) == millions
