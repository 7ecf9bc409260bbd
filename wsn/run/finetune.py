"""Starting a run from a subnet of another one."""

import json
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from wsn.config import to_python
from wsn.errors import WsnError
from wsn.run.folder import read_config
from wsn.run.known import RULES, check_spec, known_archs


def adopt_run(cfg: DictConfig) -> DictConfig:
    """Give a run of ``method=finetune`` the backbone, data, method and subnet of the run it starts from; others as is.

    Raises:
        WsnError: ``run`` or ``resume`` is not a run folder, or no such subnet.
    """
    if OmegaConf.is_missing(cfg, "run"):
        raise WsnError("run has no value: method=finetune starts from a finished run. Pass run=outputs/train/...")
    if cfg.resume:
        read_config(cfg.resume)  # a wrong folder is told before anything heavy is imported
        return cfg
    if cfg.get("run") is None:
        return cfg
    saved = read_config(cfg.run)
    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    groups = [key for key in ("backbone", "data") if any(o.startswith(f"{key}=") for o in given)]
    if groups:
        raise WsnError(
            f"{groups[0]}=... cannot be chosen with method=finetune: it is that of run={cfg.run}; leave it out"
        )
    values = {o.lstrip("+").partition("=")[0] for o in given}
    for group in ("backbone", "data"):
        adopted = saved[group]
        for key in values:
            if key.startswith(f"{group}."):
                OmegaConf.update(adopted, key.removeprefix(f"{group}."), OmegaConf.select(cfg, key))
        cfg[group] = adopted
    cfg.channels_last = saved.channels_last
    cfg.method.of = saved.method
    cfg.subnet = _subnet(cfg.run, to_python(cfg.subnet))
    return cfg


def _subnet(run: str, spec: Any) -> str:
    """Return the choices of the subnet that is meant, as JSON; torch is imported for a rule alone."""
    if not isinstance(spec, str):
        return json.dumps(spec)
    check_spec(spec)
    if spec.partition("@")[0] in RULES:
        from wsn.run.run import Run

        return Run(run).find(spec).to_json()
    return known_archs(run, spec)[0]


def load_start(cfg: DictConfig, module: Any) -> None:
    """Load the weights of the subnet that a run starts from."""
    from wsn.run.run import Run

    net = Run(cfg.run).net
    subnet = net.space.find(cfg.subnet)
    module.supernet.model.load_state_dict(net.extract(subnet).state_dict())
