"""Costs that are measured on this machine, of the whole extracted network."""

from typing import Any

import torch
from torch import Tensor

from wsn.cost_models.base import CostModel, example_input, language_only
from wsn.cost_models.runtimes import Device, Timing
from wsn.space import Subnet
from wsn.supernet import Supernet


class Latency(CostModel):
    """Milliseconds of one forward: the median after a warm-up, with pinned threads. Each subnet is measured once.

    Args:
        device: ``cpu`` or ``cuda``.
        runtime: ``eager``, ``compile`` or ``onnxruntime``.
        threads: of the CPU.
        batch: samples per forward.
        tokens: of each sequence, for language models.
        channels_last: memory format of images.
        min_seconds: to measure for.
    """

    label = "latency (ms)"

    def __init__(
        self,
        device: str = "cpu",
        runtime: str = "eager",
        threads: int = 1,
        batch: int = 1,
        tokens: int = 128,
        channels_last: bool = False,
        min_seconds: float = 0.2,
    ):
        self.device = Device(device, threads, runtime, channels_last)
        self.batch = batch
        self.tokens = tokens
        self.min_seconds = min_seconds
        self._known: dict[Subnet, Timing] = {}

    def __call__(self, net: Supernet, subnet: Subnet) -> float:
        return self.timing(net, subnet).median_ms

    def timing(self, net: Supernet, subnet: Subnet) -> Timing:
        """Return median and interquartile range."""
        if subnet not in self._known:
            self._known[subnet] = self.measure(net, subnet)
        return self._known[subnet]

    def hardware(self) -> dict[str, Any]:
        return {**self.device.hardware(), "batch": self.batch}

    def measure(self, net: Supernet, subnet: Subnet) -> Timing:
        """Measure a subnet, whatever is known of it."""
        example = example_input(net, subnet, self.batch, self.tokens)
        return self.device.latency(net.extract(subnet), example, self.min_seconds)

    def _prompted(self, net: Supernet, subnet: Subnet) -> tuple[Any, Tensor]:
        """Return the extracted language model and a prompt, on the device."""
        prompt = example_input(net, subnet, self.batch, self.tokens)
        return net.extract(subnet).eval().to(self.device.device), prompt.to(self.device.device)


class PrefillLatency(Latency):
    """Milliseconds until the first token of a language model: a prompt of ``tokens``, its cache filled."""

    label = "prefill latency (ms)"

    def measure(self, net: Supernet, subnet: Subnet) -> Timing:
        model, prompt = self._prompted(language_only(net, "prefill"), subnet)

        @torch.inference_mode()
        def prefill() -> Any:
            return model(input_ids=prompt, use_cache=True, logits_to_keep=1)

        return self.device.time(prefill, self.min_seconds)


class DecodeLatency(Latency):
    """Milliseconds per token of a language model, after ``tokens`` that are in its cache."""

    label = "decode latency (ms/token)"

    def measure(self, net: Supernet, subnet: Subnet) -> Timing:
        model, prompt = self._prompted(language_only(net, "decode"), subnet)

        @torch.inference_mode()
        def decode() -> Any:
            out = model(input_ids=prompt[:, :1], past_key_values=cache, use_cache=True)
            cache.crop(-1)
            return out

        with torch.inference_mode():
            cache = model(input_ids=prompt, use_cache=True).past_key_values
        return self.device.time(decode, self.min_seconds)
