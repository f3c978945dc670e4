"""Each test of the contract runs for every tiny network."""

import pytest

from tests.contract.tiny import CONFIGS, made


@pytest.fixture(params=CONFIGS)
def config(request):
    return CONFIGS[request.param]


@pytest.fixture
def backbone(config):
    return made(config)
