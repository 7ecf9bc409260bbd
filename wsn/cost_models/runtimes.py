"""Running a plain network: PyTorch eager, torch.compile, ONNX Runtime; and measuring how long it takes."""

import logging
import os
import platform
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from wsn.errors import WsnError, listed

RUNTIMES = ("eager", "compile", "onnxruntime")
INPUT, OUTPUT = "input", "logits"


@dataclass(frozen=True)
class Timing:
    """Time of one call: median and interquartile range in milliseconds, of so many calls."""

    median_ms: float
    iqr_ms: float
    calls: int


@dataclass(frozen=True)
class Device:
    """Where and how something is measured; it is kept with the figures.

    Args:
        device: ``cpu`` or ``cuda``.
        threads: of the CPU, pinned during the measurement.
        runtime: ``eager``, ``compile`` or ``onnxruntime``.
        channels_last: memory format of images (not of ONNX Runtime, which has its own).

    Raises:
        WsnError: an unknown runtime, or a device that is not there.
    """

    device: str = "cpu"
    threads: int = 1
    runtime: str = "eager"
    channels_last: bool = False

    def __post_init__(self) -> None:
        if self.runtime not in RUNTIMES:
            raise WsnError(f"runtime must be one of {listed(RUNTIMES)}. Received {self.runtime!r}")
        if self.device not in ("cpu", "cuda"):
            raise WsnError(f"device must be cpu or cuda. Received {self.device!r}")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise WsnError("device=cuda: torch sees no CUDA device here. Set device=cpu")
        if not isinstance(self.threads, int) or self.threads < 1:
            raise WsnError(f"threads must be a positive number. Received {self.threads!r}")

    def hardware(self) -> dict[str, Any]:
        """Return what the figures depend on."""
        name = torch.cuda.get_device_name() if self.device == "cuda" else _cpu_name()
        return {**asdict(self), "name": name, "cores": os.cpu_count(), "torch": torch.__version__}

    def runner(self, module: nn.Module, example: Tensor) -> Callable[[], Any]:
        """Return a function that runs a network of its own (not a view) once on an example.

        Raises:
            WsnError: the runtime is not installed, or cannot run the network.
        """
        module = module.eval()
        if self.runtime == "onnxruntime":
            return self._onnx_runner(module, example)
        mode = torch.channels_last if self.channels_last and example.ndim == 4 else torch.contiguous_format
        module = module.to(self.device).to(memory_format=mode)  # type: ignore[call-overload]
        x = example.to(self.device, memory_format=mode)
        if self.runtime == "compile":
            module = torch.compile(module)  # type: ignore[assignment]

        @torch.inference_mode()
        def run() -> Any:
            return module(x)

        return run

    def _onnx_runner(self, module: nn.Module, example: Tensor) -> Callable[[], Any]:
        with tempfile.TemporaryDirectory() as folder:
            session = onnx_session(
                export_onnx(module, example, Path(folder) / "network.onnx"), self.device, self.threads
            )
        feed = {session.get_inputs()[0].name: example.numpy()}
        return lambda: session.run(None, feed)

    def time(self, run: Callable[[], Any], min_seconds: float = 0.2, warmup: int = 5) -> Timing:
        """Measure a function: warm up, then call it for ``min_seconds`` with pinned threads (torch's Timer)."""
        for _ in range(warmup):
            run()
        timer = Timer("run()", globals={"run": run}, num_threads=self.threads)
        found = timer.blocked_autorange(min_run_time=min_seconds)
        return Timing(found.median * 1e3, found.iqr * 1e3, found.number_per_run * len(found.raw_times))

    def latency(self, module: nn.Module, example: Tensor, min_seconds: float = 0.2) -> Timing:
        """Measure one forward of a network of its own."""
        try:
            return self.time(self.runner(module, example), min_seconds)
        except torch._dynamo.exc.BackendCompilerFailed as error:
            raise WsnError(f"runtime=compile: torch.compile failed here ({error}). Set runtime=eager") from error


def export_onnx(module: nn.Module, example: Tensor, path: str | Path, dynamic_batch: bool = False) -> Path:
    """Write a network as an ONNX file, with weights inside.

    Args:
        module: of tensors of its own, in evaluation mode.
        example: an input (B, ...); with a dynamic batch of two samples at least.
        path: path of the ONNX file to write.
        dynamic_batch: let the first dimension vary.

    Raises:
        WsnError: onnx and onnxscript are not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise WsnError("This needs ONNX. Run: pip install 'wsn[export]'") from error
    shapes = ({0: torch.export.Dim("batch", min=1)},) if dynamic_batch else None
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            module, (example,), dynamo=True, verbose=False, dynamic_shapes=shapes,
            input_names=[INPUT], output_names=[OUTPUT],
        )  # fmt: skip
    assert program is not None
    program.save(str(path))
    return Path(path)


def onnx_session(path: str | Path, device: str = "cpu", threads: int = 0) -> Any:
    """Open an ONNX file in ONNX Runtime.

    Raises:
        WsnError: it is not installed, has no provider for the device, or cannot read the file.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise WsnError("This needs ONNX Runtime. Run: pip install 'wsn[export]'") from error
    provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}[device]
    if provider not in onnxruntime.get_available_providers():
        raise WsnError(f"This ONNX Runtime has no {provider}. Run: pip install onnxruntime-gpu, or set device=cpu")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:  # of its own kinds
        raise WsnError(f"ONNX Runtime cannot read {path}: {str(error).splitlines()[0]}") from error


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the ONNX exporter's remarks on versions and decompositions from the terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels):
                logger.setLevel(level)
