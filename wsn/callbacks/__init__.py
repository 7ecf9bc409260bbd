"""Callbacks of Lightning: what a run does beside its steps, and what makes a method."""

from typing import TYPE_CHECKING

from wsn._lazy import lazy

if TYPE_CHECKING:
    from wsn.callbacks.checkpoint import StepCheckpoint
    from wsn.callbacks.data_importance import DataImportance
    from wsn.callbacks.delayed_shrinking import DelayedShrinking
    from wsn.callbacks.distillation import AlphaDivergence
    from wsn.callbacks.pareto_logging import ParetoLogging
    from wsn.callbacks.progressive_shrinking import ProgressiveShrinking
    from wsn.callbacks.router_costs import RouterCosts
    from wsn.callbacks.subnet_evaluation import SubnetEvaluation
    from wsn.callbacks.terminal_front import TerminalFront

__all__ = [
    "AlphaDivergence",
    "DataImportance",
    "DelayedShrinking",
    "ParetoLogging",
    "ProgressiveShrinking",
    "RouterCosts",
    "StepCheckpoint",
    "SubnetEvaluation",
    "TerminalFront",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "AlphaDivergence": "wsn.callbacks.distillation",
        "DataImportance": "wsn.callbacks.data_importance",
        "DelayedShrinking": "wsn.callbacks.delayed_shrinking",
        "ParetoLogging": "wsn.callbacks.pareto_logging",
        "ProgressiveShrinking": "wsn.callbacks.progressive_shrinking",
        "RouterCosts": "wsn.callbacks.router_costs",
        "StepCheckpoint": "wsn.callbacks.checkpoint",
        "SubnetEvaluation": "wsn.callbacks.subnet_evaluation",
        "TerminalFront": "wsn.callbacks.terminal_front",
    },
)
