"""Which networks a supernet contains: dimensions, search spaces, subnets. Pure Python."""

from wsn.space.dimension import Choice, Dimension
from wsn.space.follow import Follow
from wsn.space.search_space import SearchSpace
from wsn.space.subnet import Subnet

__all__ = ["Choice", "Dimension", "Follow", "SearchSpace", "Subnet"]
