"""Moves of a search: subnets made of others."""

from collections.abc import Iterator
from random import Random

from wsn.space import Choice, SearchSpace, Subnet


def mutate(space: SearchSpace, subnet: Subnet, rng: Random, prob: float = 0.1) -> Subnet:
    """Redraw each choice with probability ``prob``; blocks that appear are drawn uniformly."""
    full = {
        n: [
            rng.choice(c) if value is None or rng.random() < prob else value
            for value, c in zip(space.positions(subnet, n), d.choices)
        ]
        for n, d in space.dimensions.items()
    }
    return space.canonical(full)


def crossover(space: SearchSpace, a: Subnet, b: Subnet, rng: Random) -> Subnet:
    """Take each choice from one of two parents; a block that neither has is drawn uniformly."""
    full = {}
    for n, d in space.dimensions.items():
        pairs = zip(space.positions(a, n), space.positions(b, n), d.choices)
        full[n] = [_inherit(x, y, c, rng) for x, y, c in pairs]
    return space.canonical(full)


def neighbours(space: SearchSpace, subnet: Subnet) -> Iterator[Subnet]:
    """Yield the subnets that differ in one choice by one step; blocks that appear are the smallest."""
    full = {
        n: [c[0] if v is None else v for v, c in zip(space.positions(subnet, n), d.choices)]
        for n, d in space.dimensions.items()
    }
    for name, dim in space.dimensions.items():
        if name in space.followers:
            continue
        for position, (value, choices) in enumerate(zip(space.positions(subnet, name), dim.choices)):
            if value is None:
                continue
            index = choices.index(value)
            for step in (index - 1, index + 1):
                if 0 <= step < len(choices):
                    changed = list(full[name])
                    changed[position] = choices[step]
                    yield space.canonical({**full, name: changed})


def _inherit(x: Choice | None, y: Choice | None, choices: tuple[Choice, ...], rng: Random) -> Choice:
    present = [v for v in (x, y) if v is not None]
    return rng.choice(present) if present else rng.choice(choices)
