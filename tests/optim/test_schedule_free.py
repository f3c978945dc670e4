"""Schedule-free optimizers, against the paper's three sequences written out."""

import math

import pytest
import torch

from patchword.optim.schedule_free import ScheduleFree

RATES = [0.02, 0.05, 0.1, 0.1, 0.1, 0.1]  # a warm-up, then constant
BETA, BETA2, DECAY = 0.9, 0.99, 0.1


def loss(weight):
    return ((weight - torch.tensor([1.0, -2.0, 3.0])) ** 4).sum() + weight.sin().sum()


def written_out(weight, rates, adam):
    """Return x after each step: z by gradients at y, x by weights of the squared rate."""
    x, z = weight.double(), weight.double()
    square, total, found = torch.zeros(3).double(), 0.0, []
    for k, rate in enumerate(rates, start=1):
        y = ((1 - BETA) * z + BETA * x).requires_grad_()
        loss(y).backward()
        g, y = y.grad, y.detach()
        if adam:
            square = BETA2 * square + (1 - BETA2) * g**2
            g = g / (square.sqrt() + 1e-8)
            rate = rate * math.sqrt(1 - BETA2**k)
        z = z - rate * (g + DECAY * y)
        total += rate**2  # rates only rise here
        x = x + rate**2 / total * (z - x)
        found.append(x)
    return found


@pytest.mark.parametrize("adam", [True, False])
def test_the_weights_are_the_average_after_every_step(adam):
    rates = [rate * (1.0 if adam else 0.02) for rate in RATES]
    weight = torch.nn.Parameter(torch.tensor([0.5, 0.1, -0.3], dtype=torch.float64))
    made = ScheduleFree(
        [{"params": [weight], "lr": 0.0, "weight_decay": DECAY}],
        momentum=BETA,
        beta2=BETA2 if adam else None,
    )
    expected = written_out(weight.detach(), rates, adam)
    for rate, x in zip(rates, expected, strict=True):
        made.param_groups[0]["lr"] = rate

        def closure():
            made.zero_grad()
            found = loss(weight)
            found.backward()
            return found.detach()

        made.step(closure)
        torch.testing.assert_close(weight.detach(), x)
    assert not torch.equal(weight.detach(), made.state[weight]["z"])


def test_a_parameter_without_a_gradient_stays():
    weight, idle = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    groups = [{"params": [weight, idle], "lr": 0.1, "weight_decay": 0.5}]
    made = ScheduleFree(groups, momentum=0.9, beta2=0.99)

    def closure():
        made.zero_grad()
        found = weight.square().sum()
        found.backward()
        return found.detach()

    for _ in range(3):
        made.step(closure)
    assert torch.equal(idle.detach(), torch.ones(2)) and (weight < 1).all()
