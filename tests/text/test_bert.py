"""BERT answers as transformers' does, under all the names of its weights."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from patchword import text
from patchword.text import bert
from patchword.text.bert import BertConfig, BertPretraining
from tests.parity.peer import perturbed
from tests.text.compare import close, filled, same_gradients, words
from tests.text.goldens import formats

TINY = BertConfig(vocab_size=29, context=12, embed_dim=16, depth=2, num_heads=4, drop_rate=0.0)


def theirs(config=TINY):
    import transformers

    made = transformers.BertConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.embed_dim,
        num_hidden_layers=config.depth,
        num_attention_heads=config.num_heads,
        intermediate_size=int(config.embed_dim * config.mlp_ratio),
        max_position_embeddings=config.context,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return transformers.BertForPreTraining(made).eval()


def batch():
    ids, mask = words(29)
    return ids, mask, (torch.arange(7) > 2).long().expand(3, 7)


@pytest.mark.peers
def test_it_is_transformers():
    peer = perturbed(theirs(), "bert")
    format_ = formats(bert)["transformers in memory"]
    model = filled(BertPretraining(TINY), format_, peer.state_dict())
    ids, mask, types = batch()
    labels = torch.where(mask & (ids % 3 == 0), ids, -100)
    wanted = peer(
        ids,
        attention_mask=mask.long(),
        token_type_ids=types,
        labels=labels,
        next_sentence_label=torch.tensor([0, 1, 0]),
        output_hidden_states=True,
    )
    found = model(ids, mask, types)
    states = model.backbone.encode(model.backbone.embed(ids, types), mask)
    close(states[mask], wanted.hidden_states[-1][mask])
    close(found.words[mask], wanted.prediction_logits[mask])
    close(found.follows, wanted.seq_relationship_logits)
    loss = F.cross_entropy(found.words.flatten(0, 1), labels.flatten())
    loss = loss + F.cross_entropy(found.follows, torch.tensor([0, 1, 0]))
    close(loss, wanted.loss)
    loss.backward()
    wanted.loss.backward()
    same_gradients(model, peer, format_)
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


@pytest.mark.peers
@pytest.mark.parametrize("name", ["transformers", "transformers 2018"])
def test_its_files_are_read_and_written(name, tmp_path):
    from safetensors.torch import load_file

    peer = perturbed(theirs(), name)
    peer.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    if name == "transformers 2018":
        turned = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        for new, old in turned.items():
            weights = {key.replace(new, old): tensor for key, tensor in weights.items()}
        tied = weights["bert.embeddings.word_embeddings.weight"]
        weights["cls.predictions.decoder.weight"] = tied
    model = filled(BertPretraining(TINY), formats(bert)[name], weights)
    ids, mask, types = batch()
    wanted = peer(ids, attention_mask=mask.long(), token_type_ids=types)
    close(model(ids, mask, types).words[mask], wanted.prediction_logits[mask])


def test_no_word_sees_padding():
    model = perturbed(BertPretraining(TINY), "padding").eval()
    ids, mask, types = batch()
    wanted = model(ids, mask, types)
    found = model(torch.where(mask, ids, 1), mask, types)
    torch.testing.assert_close(found.words[mask], wanted.words[mask])
    alone = model(ids[1:2, :4], None, types[1:2, :4])
    torch.testing.assert_close(alone.words[0], wanted.words[1, :4])
    torch.testing.assert_close(alone.follows[0], wanted.follows[1])


def test_bf16_is_finite():
    model = perturbed(BertPretraining(TINY), "bf16").bfloat16()
    assert all(part.isfinite().all() for part in model(*batch()))


def shipped():
    """Yield models with inputs, for tests/text/graphs.py."""
    yield TINY.build().eval(), batch()[:2]
    yield BertPretraining(TINY).eval(), batch()


@pytest.mark.peers
def test_fresh_weights_are_transformers():
    config = replace(TINY, vocab_size=500, embed_dim=128)
    peer = theirs(config).state_dict()
    fresh = formats(bert)["transformers in memory"].save(
        BertPretraining(config).state_dict(), config=config
    )
    for name, tensor in peer.items():
        if tensor.numel() > 10000:  # theirs is not cut at two deviations, and has a row for padding
            assert fresh[name].std().item() == pytest.approx(0.88 * tensor.std().item(), rel=0.05)
        elif tensor.ndim == 1:
            assert torch.equal(fresh[name], tensor), name


@pytest.mark.parametrize(
    ("name", "millions"), [("bert_base_uncased", 109.5), ("bert_large_uncased", 335.1)]
)
def test_it_has_the_papers_size(name, millions):
    with torch.device("meta"):
        count = sum(p.numel() for p in text.create(name).parameters())
    assert round(count / 1e6, 1) == millions
