"""Naming subnets: by a word, by choices, by a file."""

import json
from pathlib import Path
from typing import Any

import yaml

from wsn.errors import WsnError, listed
from wsn.files import read_csv
from wsn.space.subnet import Subnet


def find(space: Any, spec: Any) -> Subnet:
    """Return the subnet that ``spec`` names.

    Args:
        space: space that the subnet is a member of.
        spec: a Subnet, ``"largest"``, ``"smallest"``, ``"middle"``, choices as a mapping or text (JSON, or YAML
            such as ``{depth: 2}``), the path of a subnet file, or ``TABLE.csv:ID``, a row of a table of subnets.
    """
    named = {"largest": space.max, "smallest": space.min, "middle": space.middle}
    if isinstance(spec, str):
        if spec in named:
            return named[spec]()
        if not spec.lstrip().startswith("{"):
            if Path(spec).suffix == ".json":
                return read(space, spec)
            table, _, subnet_id = spec.rpartition(":")
            if Path(table).suffix == ".csv":
                return read_row(space, table, subnet_id)
            raise WsnError(
                f"Unknown subnet {spec!r}. Allowed are {listed(named)}, a .json file, TABLE.csv:ID, or choices "
                f"such as {space.min().to_json()}"
            )
        try:
            spec = yaml.safe_load(spec)
        except yaml.YAMLError as error:
            raise WsnError(f"The subnet {spec!r} cannot be read: {error}") from None
    if isinstance(spec, Subnet) and spec in space:
        return spec
    return space.subnet(**spec)


def read(space: Any, path: str | Path) -> Subnet:
    """Read a subnet from a JSON file, as :meth:`Subnet.to_json` writes it.

    Raises:
        WsnError: the file is missing, is not JSON, or is not a subnet of this space.
    """
    try:
        values = json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise WsnError(f"Cannot read the subnet file {path}: {error.strerror}") from error
    except ValueError as error:
        raise WsnError(f"The subnet file {path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise WsnError(f"The subnet file {path} must hold one JSON object, e.g. {space.min().to_json()}")
    try:
        return space.subnet(**values)
    except WsnError as error:
        raise WsnError(f"The subnet file {path} is not of this space. {error}") from None


def read_row(space: Any, path: str | Path, subnet_id: str) -> Subnet:
    """Read a subnet from a CSV table of subnets, such as subnets.csv: its columns ``id`` and ``arch``.

    Raises:
        WsnError: the file is missing, has no such row, or the subnet is not of this space.
    """
    rows = read_csv(path)
    found = next((row for row in rows if row.get("id") == subnet_id), None)
    if found is None or not found.get("arch"):
        known = [str(row["id"]) for row in rows if row.get("id") and row.get("arch")]
        raise WsnError(f"The table {path} has no subnet {subnet_id!r}; it has {listed(known[:8]) or 'none'} …")
    return space.find(found["arch"])
