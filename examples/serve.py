"""Serve a front over HTTP, each request with a budget of its own; needs ``pip install -e ".[serve]"``.

python export.py run=outputs/train/... subnet=front format=elastic
python examples/serve.py outputs/train/.../export/front/elastic --port 8000

POST /predict {"inputs": [[...]], "latency_ms": 5}     budget and quality are optional
POST /switch  {"latency_ms": 5} or {"member": "..."}   for requests without a wish of their own
GET  /members, /metrics (Prometheus)
"""

import argparse
from typing import Any

import torch
from fastapi import FastAPI, HTTPException, Response
from fastapi.concurrency import run_in_threadpool
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from pydantic import BaseModel, Field

from wsn import ElasticPredictor, WsnError


class Wish(BaseModel):
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


def make_app(predictor: ElasticPredictor) -> FastAPI:
    """Return the application."""
    app = FastAPI(title="wsn")
    registry = CollectorRegistry()
    served = Counter("wsn_requests", "Requests answered", ["subnet"], registry=registry)
    seconds = Histogram("wsn_request_seconds", "Time of the forward", ["subnet"], registry=registry)

    def answer(request: Request) -> dict[str, Any]:
        member = predictor.choose(request.limits(), request.quality, request.member)
        with seconds.labels(member.id).time():
            logits = predictor.run(torch.tensor(request.inputs), member)
        served.labels(member.id).inc()
        return {"member": member.id, "labels": logits.argmax(-1).tolist(), "logits": logits.tolist()}

    @app.post("/predict")
    async def predict(request: Request) -> dict[str, Any]:
        try:
            return await run_in_threadpool(answer, request)
        except (WsnError, ValueError, TypeError, RuntimeError) as error:
            raise HTTPException(422, str(error)) from error

    @app.post("/switch")
    async def switch(wish: Wish) -> dict[str, Any]:
        try:
            member = predictor.switch(wish.limits(), wish.quality, wish.member)
        except WsnError as error:
            raise HTTPException(422, str(error)) from error
        return {"member": member.id}

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
    options = parser.parse_args()
    uvicorn.run(
        make_app(ElasticPredictor(options.folder, options.budget, adaptive=options.adaptive)), port=options.port
    )
