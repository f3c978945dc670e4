"""Which precision is faster, by fake steps on a fake clock; and where it computes."""

import pytest
import torch

from patchword.engine import devices
from patchword.errors import ConfigError


@pytest.fixture
def clock(monkeypatch):
    """Replace the clock by a number that steps add to."""
    now = [0.0]
    monkeypatch.setattr(devices.time, "perf_counter", lambda: now[0])
    return now


@pytest.mark.parametrize("costs", [{"fp32": 0.2, "bf16": 0.1}, {"fp32": 0.1, "bf16": 0.3}])
def test_the_median_of_each_precision_is_measured(clock, costs):
    calls = []

    def step(precision):
        calls.append(precision)
        slow = 50.0 if len(calls) <= 2 else 1.0  # the first of each compiles, allocates
        hiccup = 5.0 if len(calls) == 7 else 0.0
        clock[0] += costs[precision] * slow + hiccup

    assert devices.faster(step, seconds=2.0) == pytest.approx(costs)
    assert calls == ["fp32", "bf16"] * (len(calls) // 2)  # turn by turn: load hits both
    assert calls.count("fp32") >= 2.0 / max(costs.values())


def test_steps_longer_than_the_time_are_taken_twice(clock):
    calls = []

    def step(precision):
        calls.append(precision)
        clock[0] += 30.0

    devices.faster(step, seconds=1.0)
    assert calls == ["fp32", "bf16"] * 3


def test_bf16_is_of_products_and_not_of_weights():
    layer, x = torch.nn.Linear(4, 4), torch.ones(2, 4)
    with devices.computing("bf16", torch.device("cpu")):
        assert layer(x).dtype == torch.bfloat16
    with devices.computing("fp32", torch.device("cpu")):
        assert layer(x).dtype == torch.float32
    assert layer.weight.dtype == torch.float32


def test_a_device_is_what_its_name_says():
    assert devices.device("cpu") == torch.device("cpu")
    assert devices.device().type in ("cpu", "cuda", "mps")
    for name in ("cdua", "cuda:99", "xla"):
        with pytest.raises(ConfigError, match=f"--device {name} cannot be used here") as caught:
            devices.device(name)
        assert "\n" not in str(caught.value)


def test_threads_are_set_inside_the_block_only():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), devices.threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    assert torch.get_num_threads() == before
