"""Serve a front over HTTP, each request with a budget of its own; needs ``pip install -e ".[serve]"``.

python export.py run=outputs/train/... subnet=front format=elastic
python examples/serve.py outputs/train/.../export/front/elastic --port 8000

POST /predict {"inputs": [[...]], "latency_ms": 5}     budget and quality are optional
POST /switch  {"latency_ms": 5} or {"member": "..."}   for requests without a wish of their own
GET  /members, /metrics (Prometheus)

A body is read up to a size and within a time, and parsed on a thread, so that one client does not hold up others.
"""

import argparse
import asyncio
import json
from typing import Any, TypeVar

import torch
from fastapi import FastAPI, HTTPException, Response
from fastapi import Request as HTTPRequest
from fastapi.concurrency import run_in_threadpool
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from pydantic import BaseModel, Field, ValidationError

from wsn import ElasticPredictor

MAX_BODY = 8_000_000
"""Bytes of a request: five images of 3 x 224 x 224, at ten characters a value, have about this."""


class Wish(BaseModel, allow_inf_nan=False):
    """What a request wants: a budget of milliseconds, constraints on costs, or a quality that is enough."""

    latency_ms: float | None = Field(None, gt=0)
    budget: str | None = None
    quality: float | None = None
    member: str | None = None

    def limits(self) -> str | None:
        """Return the constraints as text."""
        parts = [self.budget, None if self.latency_ms is None else f"latency_ms<={self.latency_ms}"]
        return ",".join(p for p in parts if p) or None


class Request(Wish):
    """Inputs (B, C, H, W) or tokens (B, T), as nested lists."""

    inputs: list[Any]


W = TypeVar("W", bound=Wish)


async def body_of(request: HTTPRequest, limit: int, seconds: float) -> bytes:
    """Read a request's body.

    Args:
        request: of which nothing was read yet.
        limit: bytes that it may have.
        seconds: that it may take.

    Raises:
        HTTPException: it is larger, or the client is slower.
    """
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > limit:
        raise HTTPException(413, f"The body has {length} bytes; at most {limit} are read. Send fewer inputs")
    parts, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise HTTPException(413, f"The body has more than {limit} bytes. Send fewer inputs")
                parts.append(part)
    except TimeoutError as error:
        raise HTTPException(408, f"The body was not there within {seconds:g} s") from error
    return b"".join(parts)


def parsed(body: bytes, kind: type[W]) -> W:
    """Return what a body says.

    Raises:
        HTTPException: it is no JSON of this kind; NaN and Infinity, which Python's reader knows, are none.
    """

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no number of JSON")

    try:
        return kind.model_validate(json.loads(body, parse_constant=refuse))
    except ValidationError as error:
        text = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors())
        raise HTTPException(422, text) from error
    except (ValueError, RecursionError) as error:
        raise HTTPException(422, f"The body cannot be read: {error}") from error


def tensor_of(inputs: list[Any], images: bool) -> torch.Tensor:
    """Return inputs as the network takes them: images as floats, whole numbers too; tokens as whole numbers.

    Raises:
        ValueError: they are no rectangular lists of finite numbers, or tokens are not whole.
    """
    tensor = torch.tensor(inputs)
    if not images and tensor.is_floating_point():
        raise ValueError("tokens are whole numbers")
    tensor = tensor.float() if images else tensor
    if not tensor.isfinite().all():
        raise ValueError("inputs have values that are not finite")
    return tensor


def make_app(predictor: ElasticPredictor, max_body: int = MAX_BODY, timeout: float = 10.0) -> FastAPI:
    """Return the application.

    Args:
        predictor: of a front.
        max_body: bytes of a request.
        timeout: seconds that a client may take to send one.
    """
    app = FastAPI(title="wsn")
    registry = CollectorRegistry()
    served = Counter("wsn_requests", "Requests answered", ["subnet"], registry=registry)
    seconds = Histogram("wsn_request_seconds", "Time of the forward", ["subnet"], registry=registry)
    images = predictor.net.inputs == "images"

    def answer(body: bytes) -> dict[str, Any]:
        request = parsed(body, Request)
        member = predictor.choose(request.limits(), request.quality, request.member)
        inputs = tensor_of(request.inputs, images)
        with seconds.labels(member.id).time():
            logits = predictor.run(inputs, member)
        if not logits.isfinite().all():
            raise ValueError("the network has no finite answer to these inputs")
        served.labels(member.id).inc()
        return {"member": member.id, "labels": logits.argmax(-1).tolist(), "logits": logits.tolist()}

    def change(body: bytes) -> dict[str, Any]:
        wish = parsed(body, Wish)
        return {"member": predictor.switch(wish.limits(), wish.quality, wish.member).id}

    async def run(work: Any, request: HTTPRequest) -> dict[str, Any]:
        body = await body_of(request, max_body, timeout)
        try:
            return await run_in_threadpool(work, body)
        except (ValueError, TypeError, RuntimeError, IndexError, OverflowError) as error:  # WsnError is a ValueError
            raise HTTPException(422, str(error)) from error

    @app.post("/predict")
    async def predict(request: HTTPRequest) -> dict[str, Any]:
        return await run(answer, request)

    @app.post("/switch")
    async def switch(request: HTTPRequest) -> dict[str, Any]:
        return await run(change, request)

    @app.get("/members")
    async def members() -> list[dict[str, Any]]:
        return [{k: v for k, v in m.row.items() if isinstance(v, str | int | float)} for m in predictor.members]

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return app


if __name__ == "__main__":
    import uvicorn

    parser = argparse.ArgumentParser(description="Serve a front over HTTP")
    parser.add_argument("folder", help="written by export.py subnet=front format=elastic")
    parser.add_argument("--budget", help="of requests without a wish, e.g. 'latency_ms<=5'")
    parser.add_argument("--adaptive", action="store_true", help="latencies under the measured load")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--max-body", type=int, default=MAX_BODY, help="bytes of a request")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds that a client may take to send one")
    options = parser.parse_args()
    app = make_app(
        ElasticPredictor(options.folder, options.budget, adaptive=options.adaptive), options.max_body, options.timeout
    )
    uvicorn.run(app, port=options.port, timeout_keep_alive=5)
