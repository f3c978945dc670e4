"""GPT-2 answers as transformers' does, at once and word by word."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from patchword import text
from patchword.text import gpt2
from patchword.text.gpt2 import GPT2Config
from tests.parity.peer import perturbed
from tests.text.compare import close, filled, same_gradients, words
from tests.text.goldens import formats

TINY = GPT2Config(vocab_size=29, context=12, embed_dim=16, depth=2, num_heads=4, drop_rate=0.0)


def theirs(config=TINY):
    import transformers

    made = transformers.GPT2Config(
        vocab_size=config.vocab_size,
        n_embd=config.embed_dim,
        n_layer=config.depth,
        n_head=config.num_heads,
        n_positions=config.context,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
    )
    return transformers.GPT2LMHeadModel(made).eval()


@pytest.mark.peers
def test_it_is_transformers():
    peer, format_ = perturbed(theirs(), "gpt2"), formats(gpt2)["transformers in memory"]
    model = filled(TINY.build(), format_, peer.state_dict())
    ids, mask = words(29)
    labels = torch.where(mask, ids, -100)
    wanted = peer(ids, attention_mask=mask.long(), labels=labels, output_hidden_states=True)
    states = model(ids, mask)
    close(states[mask], wanted.hidden_states[-1][mask])
    logits = model.scores(states)
    close(logits[mask], wanted.logits[mask])
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    close(loss, wanted.loss)
    loss.backward()
    wanted.loss.backward()
    same_gradients(model, peer, format_)


@pytest.mark.peers
@pytest.mark.parametrize("name", ["transformers", "transformers 2019"])
def test_its_files_are_read_and_written(name, tmp_path):
    from safetensors.torch import load_file

    peer = perturbed(theirs(), name)
    peer.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    if name == "transformers 2019":
        weights = {n.removeprefix("transformer."): tensor for n, tensor in weights.items()}
        seen = torch.ones(1, 1, 12, 12).tril()
        weights |= {f"h.{i}.attn.bias": seen for i in range(2)}
    model = filled(TINY.build(), formats(gpt2)[name], weights)
    ids, _ = words(29)
    close(model.scores(model(ids)), peer(ids).logits)


@pytest.mark.parametrize("steps", [[1] * 7, [3, 1, 3], [7]])
def test_word_by_word_is_the_same_as_at_once(steps):
    model = perturbed(TINY.build(), "cache").eval()
    ids, mask = words(29)
    past, found, count = model.start(len(ids)), [], 0
    for new in ids.split(steps, 1):
        count += new.shape[1]
        states, past = model.decode(new, past, mask[:, :count])
        found.append(states)
        assert past.length == count
    torch.testing.assert_close(torch.cat(found, 1)[mask], model(ids, mask)[mask])


def test_no_word_sees_padding_or_a_later_one():
    model = perturbed(TINY.build(), "padding").eval()
    ids, mask = words(29)
    wanted = model(ids, mask)
    found = model(torch.where(mask, ids, 1), mask)
    torch.testing.assert_close(found[mask], wanted[mask])
    later = ids.clone()
    later[:, 3:] = 2
    torch.testing.assert_close(model(later, mask)[:, :3], wanted[:, :3])
    alone = model(ids[1:2, :4])
    torch.testing.assert_close(alone[0], wanted[1, :4])
    torch.testing.assert_close(model.pool(alone), model.pool(wanted, mask)[1:2])


def test_padding_in_front_is_finite():
    model = perturbed(TINY.build(), "front").eval()
    ids, mask = words(29)
    front = model(ids.flip(1), mask.flip(1))
    assert front.isfinite().all()  # padding in front may attend to nothing


def test_bf16_is_finite():
    model = perturbed(TINY.build(), "bf16").bfloat16()
    assert model.scores(model(*words(29))).isfinite().all()


def shipped():
    """Yield models with inputs, for tests/text/graphs.py."""
    yield TINY.build().eval(), words(29)


@pytest.mark.peers
def test_fresh_weights_are_transformers():
    config = replace(TINY, vocab_size=500, embed_dim=128)
    peer = theirs(config).state_dict()
    fresh = formats(gpt2)["transformers in memory"].save(config.build().state_dict(), config=config)
    for name, tensor in peer.items():
        if tensor.numel() > 10000:
            assert fresh[name].std().item() == pytest.approx(tensor.std().item(), rel=0.05), name
        elif tensor.ndim == 1:
            assert torch.equal(fresh[name], tensor), name


@pytest.mark.parametrize(
    ("name", "millions"),
    [("gpt2", 124.4), ("gpt2_medium", 354.8), ("gpt2_large", 774.0), ("gpt2_xl", 1557.6)],
)
def test_it_has_the_papers_size(name, millions):
    with torch.device("meta"):
        count = sum(p.numel() for p in text.create(name).parameters())
    assert round(count / 1e6, 1) == millions
