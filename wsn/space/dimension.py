"""Elastic dimensions of a search space: names, choices, where they apply, and which follow others."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from wsn.errors import WsnError, listed

Scope = Literal["network", "stage", "block"]
Choice = int | float
MAY_BE_ZERO = ("depth", "layers")  # a stage may have no block; a layer is kept (1) or skipped (0)
LARGEST_IS_SMALLEST = ("patch_size",)  # small patches are many: the largest network has the smallest patch


@dataclass(frozen=True, init=False)
class Dimension:
    """One elastic dimension: a name and, for each position, its choices from the smallest network to the largest.

    Args:
        name: field term: ``depth``, ``kernel``, ``expand``, ``resolution``, ``width`` ...
        choices: values for every position, or one list of values per position.
        positions: number of positions (1 for a dimension of the whole network).
        scope: ``block`` values are absent where ``depth`` or ``layers`` skips the block; the others always count.
        offset: positions of a stage dimension that come before the first stage (a stem).

    Raises:
        WsnError: no choices, a choice that is not a number, an even kernel, or a wrong number of lists.

    >>> Dimension("kernel", [7, 3, 5], 2, "block").choices
    ((3, 5, 7), (3, 5, 7))
    """

    name: str
    choices: tuple[tuple[Choice, ...], ...]
    scope: Scope
    offset: int = 0

    def __init__(self, name: str, choices: Any, positions: int = 1, scope: Scope = "network", offset: int = 0):
        per_position = _choices_by_position(name, choices, positions)
        even = [k for c in per_position for k in c if name == "kernel" and k % 2 != 1]
        if even:
            raise WsnError(f"kernel: sizes must be odd integers. Received {even[0]}; write e.g. backbone.kernel=[3,5]")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "choices", per_position)
        object.__setattr__(self, "scope", scope)
        object.__setattr__(self, "offset", offset)

    def position(self, stage: int, block: int) -> int:
        """Return the position of this dimension that a block has, from its stage and its place in the network."""
        return {"network": 0, "stage": self.offset + stage, "block": block}[self.scope]

    def __len__(self) -> int:
        return len(self.choices)

    def to_dict(self) -> dict[str, Any]:
        """Return what :meth:`from_dict` makes the dimension of again, as JSON has it."""
        choices = [list(c) for c in self.choices]
        return {"name": self.name, "choices": choices, "scope": self.scope, "offset": self.offset}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Dimension":
        """Make a dimension from :meth:`to_dict`."""
        return cls(values["name"], values["choices"], len(values["choices"]), values["scope"], values["offset"])

    def describe(self) -> str:
        """Return ``name: values (how many positions)`` for error messages."""
        if len(set(self.choices)) == 1:
            values = "{" + listed(self.choices[0]) + "}"
        else:
            values = "[" + ", ".join("{" + listed(c) + "}" for c in self.choices) + "]"
        return f"{self.name}: {values}" + (f" × {len(self)} {self.scope}s" if self.scope != "network" else "")

    def restrict(self, choices: Any) -> "Dimension":
        """Return this dimension with fewer choices.

        Args:
            choices: values that it has (as for the constructor), or ``"top1"``, ``"top2"`` ... for its
                largest ones at each position.
        """
        if isinstance(choices, str):
            if not choices.removeprefix("top").isdigit() or choices == "top0":
                raise WsnError(f"{self.name}: expected values, or top1, top2 ... Received {choices!r}")
            choices = [c[-int(choices.removeprefix("top")) :] for c in self.choices]
        narrowed = Dimension(self.name, choices, len(self), self.scope, self.offset)
        for position, (few, all_) in enumerate(zip(narrowed.choices, self.choices)):
            unknown = [c for c in few if c not in all_]
            if unknown:
                at = "" if len(self) == 1 else f" at position {position}"
                raise WsnError(
                    f"{self.name}: received the choice {listed(unknown)}{at}; allowed are {listed(all_)}. "
                    f"Widen the space with backbone.{self.name}=[...] or leave the choice out."
                )
        return narrowed


def _choices_by_position(name: str, choices: Any, positions: int) -> tuple[tuple[Choice, ...], ...]:
    if isinstance(choices, str) or not isinstance(choices, Iterable):
        choices = [choices]
    choices = list(choices)
    nested = [isinstance(c, Sequence) and not isinstance(c, str) for c in choices]
    if any(nested):
        if not all(nested) or len(choices) != positions:
            raise WsnError(
                f"{name}: expected one list of choices, or {positions} lists (one per position). "
                f"Received {len(choices)} entries: {choices}"
            )
        lists = [list(c) for c in choices]
    else:
        lists = [choices] * positions
    for values in lists:
        least = 0 if name in MAY_BE_ZERO else 1e-9
        bad = [v for v in values if isinstance(v, bool) or not isinstance(v, int | float) or v < least]
        if bad:
            raise WsnError(f"{name}: every choice must be a positive number. Received {bad[0]!r} in {values}")
        if not values:
            raise WsnError(
                f"{name}: the search space is empty, because this dimension has no choices. "
                f"Give at least one, e.g. backbone.{name}=[...]"
            )
    return tuple(tuple(sorted(set(values), reverse=name in LARGEST_IS_SMALLEST)) for values in lists)
