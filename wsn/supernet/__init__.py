"""One network and its views: the supernet, how its leaves are narrowed, coupled, and sorted by importance."""

from wsn.supernet.couple import Coupling, Leaf, couple
from wsn.supernet.leaves import set_dropout, take_channels
from wsn.supernet.order import ChannelScore, magnitude
from wsn.supernet.supernet import BlockChoice, Reads, Segment, Supernet

__all__ = [
    "BlockChoice",
    "Coupling",
    "Leaf",
    "Reads",
    "ChannelScore",
    "Segment",
    "Supernet",
    "couple",
    "magnitude",
    "set_dropout",
    "take_channels",
]
