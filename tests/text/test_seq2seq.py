"""Recurrent networks with attention: read what they may, in either order of reading.

OpenNMT's own numbers are in tests/parity/test_goldens.py.
"""

from dataclasses import replace

import pytest
import torch

from patchword.text.seq2seq import FORMATS, Seq2SeqConfig
from patchword.weights import fill
from tests.parity.peer import perturbed
from tests.text.compare import words

TINY = Seq2SeqConfig(vocab_size=23, target_vocab_size=19, word_dim=6, embed_dim=8, depth=2)
KINDS = {
    "additive": TINY,
    "general": replace(TINY, cell="lstm", score="general"),
    "dot": replace(TINY, score="dot", directions=1, depth=1, feeds="words"),
}


@pytest.fixture(params=KINDS)
def model(request):
    return perturbed(KINDS[request.param].build(), request.param).eval()


def batch():
    source, mask = words(23, (6, 3, 5))
    return source, words(19)[0], mask


def test_no_word_sees_padding_or_a_later_one(model):
    source, target, mask = batch()
    wanted = model(source, target, mask)
    found = model(torch.where(mask, source, 1), target, mask)
    torch.testing.assert_close(found, wanted)
    later = target.clone()
    later[:, 3:] = 2
    torch.testing.assert_close(model(source, later, mask)[:, :3], wanted[:, :3])
    torch.testing.assert_close(model(source[1:2, :3], target[1:2])[0], wanted[1])


def test_gradients_reach_every_parameter(model):
    model(*batch()).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_weights_are_written_and_read(model):
    format_ = FORMATS[0 if model.config.feeds == "attended" else 1]
    twin = model.config.build().eval()
    fill(twin, format_.load(format_.save(model.state_dict())))
    torch.testing.assert_close(twin(*batch()), model(*batch()))


def test_bf16_is_finite(model):
    assert model.bfloat16()(*batch()).isfinite().all()


def test_what_it_reads_is_its_weights_of_the_memory(model):
    inputs = []
    attend = model.decoder.attn.attend
    attend.register_forward_hook(lambda _, given, output: inputs.append((given, output)))
    model(*batch())
    for (q, k, v, mask), output in inputs:
        torch.testing.assert_close(attend.weights(q, k, v, mask) @ v, output)
