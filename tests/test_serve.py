"""The example server: bodies are limited, parsed off the event loop, and nonsense is a 4xx."""

import asyncio
import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("fastapi")
from fastapi import HTTPException  # noqa: E402
from fastapi.testclient import TestClient  # noqa: E402

from wsn import WsnError  # noqa: E402

SPEC = importlib.util.spec_from_file_location("serve", Path(__file__).parents[1] / "examples" / "serve.py")
serve = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(serve)
IMAGE = [[[1, 0], [0.5, 2]]]


class Predictor:
    """Sums channels; remembers what it was given."""

    def __init__(self, inputs="images"):
        self.net = SimpleNamespace(inputs=inputs)
        self.members = [SimpleNamespace(id="small", row={"id": "small", "macs": 1})]
        self.seen = []

    def choose(self, budget=None, quality=None, member=None):
        if budget == "macs<=0":
            raise WsnError("no member keeps to the budget")
        return self.members[0]

    def switch(self, budget=None, quality=None, member=None):
        return self.choose(budget, quality, member)

    def run(self, inputs, member):
        self.seen.append(inputs)
        return inputs.flatten(1).float() * 1e30 * (1e30 if inputs.numel() and inputs.flatten()[0] == 7 else 1)


@pytest.fixture
def client():
    predictor = Predictor()
    with TestClient(serve.make_app(predictor, max_body=2000, timeout=0.2), raise_server_exceptions=False) as client:
        client.predictor = predictor
        yield client


def test_whole_numbers_are_images_too(client):
    answer = client.post("/predict", json={"inputs": [IMAGE, [[[1, 2], [3, 4]]]]})
    assert answer.status_code == 200
    assert client.post("/predict", json={"inputs": [[[[1, 2], [3, 4]]]]}).status_code == 200
    assert all(inputs.dtype == torch.float32 for inputs in client.predictor.seen)


@pytest.mark.parametrize(
    "body",
    ['{"inputs": [[[[NaN, 1], [1, 1]]]]}', '{"inputs": [[[[1e999, 1], [1, 1]]]]}', '{"inputs": [[[[-Infinity]]]]}',
     '{"inputs": [[1], [1, 2]]}', '{"inputs": [["a"]]}', '{"inputs": "abc"}', '{"inputs": null}', "{}", "[]", "", "{",
     '{"inputs": [[[[1]]]], "latency_ms": NaN}', '{"inputs": [[[[1]]]], "latency_ms": -1}',
     '{"inputs": [[[[1]]]], "latency_ms": "fast"}', '{"inputs": [[[[1]]]], "quality": Infinity}',
     '{"inputs": [[[[1]]]], "budget": "macs<=0"}', '{"inputs": [[[[7]]]]}', "[" * 1900],
)  # fmt: skip
def test_nonsense_is_refused_with_a_reason(client, body):
    answer = client.post("/predict", content=body)
    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_nonsense_for_a_switch(client):
    for body in ('{"latency_ms": NaN}', '{"latency_ms": 0}', "{", '{"budget": "macs<=0"}'):
        assert client.post("/switch", content=body).status_code == 422
    assert client.post("/switch", json={}).json() == {"member": "small"}


def test_a_large_body_is_not_read(client):
    big = json.dumps({"inputs": [[[[0.123456] * 400]]]})
    assert client.post("/predict", content=big).status_code == 413
    pieces = (big[i : i + 100].encode() for i in range(0, len(big), 100))  # of no length that is told
    assert client.post("/predict", content=pieces).status_code == 413
    assert not client.predictor.seen


def test_a_slow_client_is_dropped():
    async def stream():
        yield b"{"
        await asyncio.sleep(5)

    request = SimpleNamespace(headers={}, stream=stream)
    with pytest.raises(HTTPException) as error:
        asyncio.run(serve.body_of(request, 100, 0.05))
    assert error.value.status_code == 408


def test_tokens_are_whole_numbers():
    with TestClient(serve.make_app(Predictor("tokens")), raise_server_exceptions=False) as client:
        assert client.post("/predict", json={"inputs": [[1, 2, 3]]}).status_code == 200
        assert client.post("/predict", json={"inputs": [[1.5, 2]]}).status_code == 422
