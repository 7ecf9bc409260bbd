"""Kinds of dimensions, by which a recipe speaks of any space: kernels, depths, widths.

A recipe that says ``widths: top1`` holds expand ratios in a mobile network, and heads, FFNs and channels in a
transformer. A dimension that is named itself goes before its kind.
"""

from collections.abc import Mapping
from typing import Any

from wsn.errors import WsnError, listed
from wsn.space.search_space import SearchSpace

KINDS = {
    "kernels": ("kernel", "patch_size"),
    "depths": ("depth", "layers"),
    "widths": ("expand", "ffn", "mlp_ratio", "heads", "embed_dim", "width"),
}
"""Kind → the names of its dimensions, in the order in which progressive shrinking frees the kinds."""


def of_kind(space: SearchSpace, kind: str, followers: bool = False) -> list[str]:
    """Return the dimensions of a kind that have a choice; those that follow others have none of their own.

    Args:
        space: the space.
        kind: of :data:`KINDS`.
        followers: whether those count too.

    >>> from wsn.space import Dimension
    >>> of_kind(SearchSpace([Dimension("heads", [2, 4]), Dimension("embed_dim", [64])]), "widths")
    ['heads']
    """
    elastic = [n for n, d in space.dimensions.items() if max(map(len, d.choices)) > 1]
    return [n for n in KINDS[kind] if n in elastic and (followers or n not in space.followers)]


def choices_by_name(space: SearchSpace, choices: Mapping[str, Any]) -> dict[str, Any]:
    """Return choices with the names of dimensions in place of kinds; see :meth:`wsn.space.SearchSpace.restrict`.

    >>> from wsn.space import Dimension
    >>> space = SearchSpace([Dimension("heads", [2, 4]), Dimension("ffn", [64, 128])])
    >>> choices_by_name(space, {"widths": "top1", "kernels": "top1", "ffn": [128]})
    {'ffn': [128], 'heads': 'top1'}
    """
    found: dict[str, Any] = {}
    for kind in KINDS:
        if kind in choices:
            found.update(dict.fromkeys(of_kind(space, kind, followers=True), choices[kind]))
    return {**found, **{name: wanted for name, wanted in choices.items() if name not in KINDS}}


def leaders_by_name(space: SearchSpace, leaders: Mapping[str, str]) -> dict[str, str]:
    """Return what follows what with the names of dimensions in place of kinds; see :meth:`SearchSpace.follow`.

    A kind follows as far as it can: a dimension of the whole network cannot follow one of the stages, and stays free.

    Raises:
        WsnError: the space has none of the kind that leads.

    >>> from wsn.space import Dimension
    >>> space = SearchSpace([Dimension("depth", [1, 2], 1, "stage"), Dimension("expand", [3, 6], 2, "block")], [2])
    >>> leaders_by_name(space, {"widths": "depths"})
    {'expand': 'depth'}
    """
    found: dict[str, str] = {}
    kinds_first = sorted(leaders.items(), key=lambda item: item[0] not in KINDS)
    for follower, leader in kinds_first:
        leads = [n for n in of_kind(space, leader) if n != "layers"] if leader in KINDS else [leader]
        if not leads:
            name = KINDS[leader][0]
            raise WsnError(
                f"method.follow: {follower} follow {leader}, and this space has no {name} with a choice: it has "
                f"{listed(space.dimensions)}. Set backbone.{name}=[...] where the backbone has it, or take method=ofa"
            )
        names = [follower]
        if follower in KINDS:
            wide = leads[0] in space.dimensions and space.dimensions[leads[0]].scope == "network"
            names = [n for n in of_kind(space, follower) if wide or space.dimensions[n].scope != "network"]
        found.update(dict.fromkeys(names, leads[0]))
    return found
