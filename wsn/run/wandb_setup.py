"""``wsn wandb-setup entity=ME``: register the chart of fronts with Weights & Biases."""

from wsn.errors import WsnError
from wsn.logging.wandb_chart import CHART, SPEC, chart_id


def register(entity: str, project: str) -> str:
    """Make the project, and register the chart for all projects of an entity; nothing happens to what is there.

    Args:
        entity: user or team.
        project: that runs are logged to.

    Returns:
        the chart's id, what ``logger.wandb.chart`` takes.

    Raises:
        WsnError: there is no key, no network, or the entity is not the key's.
    """
    import wandb

    try:
        api = wandb.Api(timeout=30)
    except wandb.errors.UsageError as error:
        raise WsnError(f"W&B: {error} Or set WANDB_API_KEY") from error
    except wandb.Error as error:
        raise WsnError(f"W&B cannot be reached, or does not know the key. {error}") from error
    try:
        api.create_project(project, entity)
        return api.create_custom_chart(entity, CHART, "Fronts by method", "vega2", "private", SPEC.read_text("utf-8"))
    except Exception as error:  # those of W&B's service are not wandb.Error
        if "exist" in str(error).lower():  # a chart of this name: W&B has no call to look beforehand
            return chart_id(entity)
        raise WsnError(f"W&B refused entity {entity!r}, project {project!r}: {error}") from error


def print_chart(entity: str, project: str = "wsn") -> None:
    """Register the chart and print how runs use it; see :func:`register` for arguments and errors."""
    chart = register(entity, project)
    print(f"Registered: {chart}. Now: wsn train logger=wandb logger.wandb.entity={entity} "
          f"logger.wandb.project={project} logger.wandb.chart={chart}")  # fmt: skip
