"""How text models are held against live references, and what all of them must keep."""

import torch

from patchword.weights import Format, fill

LENGTHS = (7, 4, 5)  # of the sequences of a batch


def words(vocab, lengths=LENGTHS, seed=0):
    """Return random words (b n), and which of them are not padding."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, vocab, (len(lengths), max(lengths)), generator=generator)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return ids, mask


def filled(model, format_: Format, weights):
    """Fill our model with a reference's weights, and hold that all of them are written back."""
    fill(model, format_.load(weights))
    back = format_.save(model.state_dict(), config=model.config)
    wanted = {n: t for n, t in weights.items() if n in back or not format_.ignores(n)}
    assert back.keys() == wanted.keys(), back.keys() ^ wanted.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in wanted.items())
    return model.eval()


def close(found, wanted, limit=2e-5):
    """Hold two tensors together: their difference is a small share of the largest value."""
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= limit * wanted.abs().max()


def same_gradients(ours, theirs, format_: Format, limit=2e-4):
    """Hold the gradients of two models together, whatever their names."""
    slopes = format_.load(gradients(theirs))
    own = gradients(ours)
    largest = max(slope.abs().max() for slope in slopes.values())
    assert own.keys() <= slopes.keys()
    for name, slope in own.items():
        difference = (slope - slopes[name]).abs().max()
        assert difference <= limit * slopes[name].abs().max() + 1e-7 * largest, name


def gradients(model):
    """Return every parameter's gradient; zeros where there is none."""
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in model.named_parameters()
    }
