"""A run opened: its network, its data, what is known of its subnets, and what can be done with them."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wsn.callbacks.checkpoint import load_checkpoint
from wsn.config import CONF, build, build_data, build_group, compose
from wsn.config.moved import migrate_state
from wsn.data.base import DataModule
from wsn.errors import WsnError, listed
from wsn.evaluation.pareto import Front
from wsn.evaluation.quality import quality_of
from wsn.files import Row
from wsn.methods.base import Method
from wsn.providers.quantised import take_layout
from wsn.run.chosen import subnet_by_rule
from wsn.run.folder import checkpoint_of, read_config, read_space
from wsn.run.known import RULES, check_spec, known_archs, known_rows
from wsn.space import Subnet
from wsn.supernet import Supernet


class Run:
    """A run that is finished, or still training: ``run = wsn.open_run("outputs/first")``.

    Config, network and data are made when they are first asked for, and once. What is known of subnets is read from the
    folder each time.

    A subnet is named, here and in every command, by ``best``, ``best@<constraints>``, ``front``, an id that was
    printed or is in a table of the folder, ``mix@<constraints>``, ``sorted@<rate>``, ``route@<budget>``, or what
    :meth:`wsn.space.SearchSpace.find` takes: ``largest``, ``smallest``, ``middle``, choices, a file.

    Args:
        folder: the run folder.
        checkpoint: ``last``, ``best`` (on held-out data), or a path.
        data: single values of the run's data config, e.g. ``{"root": "/data/imagenet"}``.
        trust: modules that the run's config may name besides parts of wsn, see docs/security.md.

    Raises:
        WsnError: not a run folder, no such checkpoint, or an option that the data does not have.
    """

    def __init__(
        self,
        folder: str | Path,
        checkpoint: str | Path = "last",
        data: Mapping[str, Any] | None = None,
        trust: Sequence[str] = (),
    ):
        self.folder = Path(folder)
        self.opened_by = (str(folder), str(checkpoint), dict(data or {}), tuple(trust))
        """Arguments that open it again, in another process."""
        self.config: DictConfig = read_config(folder, trust)
        self.checkpoint = checkpoint_of(folder, checkpoint)
        for key, value in (data or {}).items():
            if key not in self.config.data:
                raise WsnError(f"data.{key} is not an option of this run's data; it has {listed(self.config.data)}")
            self.config.data[key] = value

    @cached_property
    def method(self) -> Method:
        """The method."""
        return build(self.config.method)

    @cached_property
    def net(self) -> Supernet:
        """The supernet with the weights of the checkpoint, in evaluation mode; the averages where the run kept them."""
        net = self.method.prepare(build_group(self.config.backbone), read_space(self.folder))
        state = load_checkpoint(self.checkpoint)["state_dict"]
        state = migrate_state({key.removeprefix("supernet."): value for key, value in state.items()})
        take_layout(net, state)
        net.load_state_dict(state)
        return net.eval()

    @cached_property
    def data(self) -> DataModule:
        """The data."""
        return build_data(self.config.data)

    @property
    def rows(self) -> list[Row]:
        """Rows of the evaluated subnets: of all searches, or of the last evaluation of the run where there is none."""
        return known_rows(self.folder)

    @property
    def front(self) -> Front:
        """The front of :attr:`rows`."""
        return Front(self.rows, quality_of(self.rows).objectives)

    def find(self, subnet: Any) -> Subnet:
        """Return the subnet of a name; of several the first.

        Raises:
            WsnError: nothing known has this id or is within the constraints, or it is not of the space.
        """
        return self.find_all(subnet)[0]

    def find_all(self, subnet: Any, search: str | None = None) -> list[Subnet]:
        """Return the subnets of a name: several for ``front``.

        Args:
            subnet: see :class:`Run`.
            search: name of the search that ``best``, ``front`` and ids are of; None: all.
        """
        if not isinstance(subnet, str):
            return [self.net.space.find(subnet)]
        check_spec(subnet)
        if subnet.partition("@")[0] in RULES:
            return [subnet_by_rule(self.net, lambda: self.data, subnet)]
        return [self.net.space.find(arch) for arch in known_archs(self.folder, subnet, search)]

    # -- the verbs ---------------------------------------------------------------------------------------

    def evaluate(self, subnet: Any = None, **options: Any) -> list[Row]:
        """Evaluate subnets and return their rows, which are written into the folder too.

        Args:
            subnet: see :class:`Run`; None: the named ones and a panel across the cost range.
            **options: of conf/evaluate.yaml: split, panel, calibrate, out.

        Raises:
            WsnError: an unknown option, split or subnet, or a corrupt checkpoint.
        """
        from wsn.run.evaluate import evaluate_run

        return evaluate_run(self._options("evaluate", [], {"subnet": subnet, **options}), self)

    def search(self, strategy: str = "nsga2", **options: Any) -> Front:
        """Search for the best subnets and return the front; results are in ``search/`` of the folder.

        Args:
            strategy: of conf/search.
            **options: of conf/search.yaml: evaluations, constraints, objectives, split, seed, workers ...; ``cost`` is
                a name, or a list of names, of conf/cost; ``search`` has options of the strategy.

        Raises:
            WsnError: an unknown option, strategy or objective, or no subnet within the constraints.
        """
        from wsn.run.search import search_run

        costs = options.pop("cost", "macs")
        costs = costs if isinstance(costs, str) else f"[{','.join(costs)}]"
        return search_run(self._options("search", [f"search={strategy}", f"cost={costs}"], options), self)

    def export(self, subnet: Any, format: str | list[str] = "module", **options: Any) -> Path:
        """Export subnets and return the folder of the files.

        Args:
            subnet: see :class:`Run`.
            format: of :data:`wsn.deploy.formats.FORMATS`, or ``elastic``; or several.
            **options: of conf/export.yaml: split, out, latency, search_name.

        Raises:
            WsnError: an unknown option, format or subnet, or a network that a format cannot hold.
        """
        from wsn.run.export import export_run

        return export_run(self._options("export", [], {"subnet": subnet, "format": format, **options}), self)

    def _options(self, verb: str, choices: list[str], options: Mapping[str, Any]) -> DictConfig:
        """Return the config of a verb."""
        cfg = compose(CONF, choices, verb)
        folder, checkpoint, data, _ = self.opened_by
        unknown = [name for name in options if name not in cfg.keys()]  # noqa: SIM118  a missing value is not "in"
        if unknown:
            raise WsnError(f"{verb} has no option {unknown[0]!r}; it has {listed(k for k in cfg if k != 'run')}")
        try:
            return OmegaConf.merge(cfg, {"run": folder, "checkpoint": checkpoint, "data": data or None}, dict(options))  # type: ignore[return-value]
        except OmegaConfBaseException as error:
            raise WsnError(f"{verb}: {error.msg}" if hasattr(error, "msg") else f"{verb}: {error}") from error


def open_run(
    folder: str | Path,
    checkpoint: str | Path = "last",
    data: Mapping[str, Any] | None = None,
    trust: Sequence[str] = (),
) -> Run:
    """Open a run folder; see :class:`Run` for the arguments, errors and all that can be done with it."""
    return Run(folder, checkpoint, data, trust)


def run_of(cfg: DictConfig) -> Run:
    """Return the run that the config of a verb names."""
    return Run(cfg.run, cfg.checkpoint, cfg.data)
