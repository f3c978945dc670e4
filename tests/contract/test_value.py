"""A network as a thing to keep: copied, pickled, stored, described, compiled, exported."""

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from patchword.config import dump, parse
from tests.contract.tiny import CONFIGS, TINY, images


def test_copies_answer_alike_and_are_apart(config, backbone):
    batch = images(config)
    wanted = backbone(batch).pooled
    for copied in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
        assert torch.equal(copied(batch).pooled, wanted)
        with torch.no_grad():
            next(copied.parameters()).zero_()
    assert torch.equal(backbone(batch).pooled, wanted)


def test_its_state_makes_it_again(config, backbone):
    other = config.build().eval()
    batch = images(config)
    assert not torch.equal(other(batch).pooled, backbone(batch).pooled)
    other.load_state_dict(backbone.state_dict())
    assert torch.equal(other(batch).pooled, backbone(batch).pooled)


def test_its_config_is_read_back_equal(config, backbone):
    assert backbone.config == config
    assert parse(type(config), dump(config)) == config
    again = parse(type(config), dump(config)).build()
    assert again.state_dict().keys() == backbone.state_dict().keys()


def test_bf16_is_finite_and_near(config, backbone):
    batch = images(config)
    wanted = backbone(batch).pooled
    with torch.autocast("cpu", torch.bfloat16):
        cast = backbone(batch).pooled
    whole = copy.deepcopy(backbone).bfloat16()(batch.bfloat16()).pooled
    for found in (cast, whole):
        assert torch.isfinite(found).all()
        assert (found.float() - wanted).abs().max() < 0.1 * wanted.abs().max()


FIRST = [f"{family}-{next(iter(kinds))}" for family, kinds in TINY.items()]
OTHERS = [name for name in CONFIGS if name not in FIRST]
SHARDS = [
    *(("compiled", [*CONFIGS][i::3]) for i in range(3)),
    ("exported", FIRST),
    pytest.param("exported", OTHERS, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("form", "names"), SHARDS)
def test_each_is_one_graph_and_a_program(form, names):
    """Run where nothing checks shapes, which is what users compile and export."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PATCHWORD_UNCHECKED": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.contract.graphs", form, *names],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [f"{name}: {form}" for name in names]
