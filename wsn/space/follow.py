"""Dimensions whose choices follow another's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsn.errors import WsnError
from wsn.space.dimension import Choice, Dimension


@dataclass(frozen=True)
class Follow:
    """How the choices of one dimension follow another's.

    Args:
        leader: the other dimension.
        at: for each position, the leader's position.
        maps: for each position, the leader's choice → this dimension's choice.
    """

    leader: str
    at: tuple[int, ...]
    maps: tuple[Mapping[Choice, Choice], ...]

    def values(self, leader: Sequence[Any]) -> list[Any]:
        """Return this dimension's choices for those of the leader."""
        return [m.get(leader[p]) for p, m in zip(self.at, self.maps)]

    def to_dict(self) -> dict[str, Any]:
        """Return what :meth:`from_dict` makes it of again; maps as pairs, because JSON's keys are text."""
        return {"leader": self.leader, "at": list(self.at), "maps": [[*map(list, m.items())] for m in self.maps]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Follow":
        """Make it from :meth:`to_dict`."""
        return cls(values["leader"], tuple(values["at"]), tuple(dict(m) for m in values["maps"]))

    def narrow(self, leader: Dimension, follower: Dimension) -> Dimension:
        """Return the leader without the choices whose followers were taken away."""
        choices = [list(c) for c in leader.choices]
        for p, mapping, kept in zip(self.at, self.maps, follower.choices):
            choices[p] = [c for c in choices[p] if mapping[c] in kept]
        if not all(choices):
            raise WsnError(
                f"{follower.name} follows {leader.name} in this space, and no choices of both go together. Restrict "
                f"{leader.name} alone"
            )
        return Dimension(leader.name, choices, len(leader), leader.scope, leader.offset)
