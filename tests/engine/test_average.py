"""The moving average against one that is written out."""

import torch
from torch import nn

from patchword.engine.average import Average


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def wander(module, steps):
    """Move every parameter and buffer a little, and yield each step's number, from 1."""
    for step in range(1, steps + 1):
        module(torch.randn(8, 3))
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter))
        yield step


def test_it_is_the_slow_loops():
    module = network()
    average = Average(module, 0.9)
    slow = {name: tensor.clone().double() for name, tensor in module.state_dict().items()}
    for step in wander(module, 100):
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                slow[name] = decay * slow[name] + (1 - decay) * tensor.double()
            else:
                slow[name] = tensor.clone().double()  # a counter is not averaged
    for name, tensor in average.tensors.items():
        torch.testing.assert_close(tensor.double(), slow[name], rtol=1e-5, atol=1e-6)
    assert average.tensors["1.num_batches_tracked"] == 100


def test_the_module_has_it_inside_the_block_only():
    module = network()
    average = Average(module, 0.5)
    for step in wander(module, 3):
        average.update(step)
    own = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    addresses = [parameter.data_ptr() for parameter in module.parameters()]
    try:
        with average.applied():
            inside = {name: tensor.clone() for name, tensor in module.state_dict().items()}
            raise KeyError
    except KeyError:
        pass
    after = module.state_dict()
    assert all(torch.equal(inside[name], average.tensors[name]) for name in own)
    assert all(torch.equal(after[name], own[name]) for name in own)
    assert not torch.equal(own["0.weight"], inside["0.weight"])
    assert addresses == [parameter.data_ptr() for parameter in module.parameters()]


def test_it_follows_what_was_loaded_into_it():
    module = network()
    average = Average(module, 0.9)
    assert average.tensors.keys() == module.state_dict().keys()
    assert not any(tensor.requires_grad for tensor in average.tensors.values())
