import os
import random

import pytest
import torch
from helpers.nets import randomise

import wsn

os.environ["WSN_TRUST"] = "helpers"  # whose data and probes are in configs of test runs
torch.set_num_threads(1)  # networks are small, and threads that wait for each other are slow on a busy machine


def pytest_collection_modifyitems(items):
    """Start with the tests that share one process, which is the longest chain."""
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


@pytest.fixture(scope="session")
def net():
    """A small supernet with every elastic dimension; tests must leave it as it is."""
    torch.manual_seed(0)
    net = wsn.create_supernet(
        "mobilenet", num_classes=10, in_chans=1, width_mult=0.25, resolution=[24, 32], reduction=16
    )
    return randomise(net).eval()


@pytest.fixture
def rng():
    return random.Random(0)
