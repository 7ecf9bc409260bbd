"""How important the channels of a network are: by weights, by gradients, or by what flows into them.

A :class:`ChannelScore` maps the path of a layer to the importance of each of its input channels. A group of coupled
channels is as important as the layers that read it find it; :meth:`wsn.supernet.Supernet.order_channels` sorts by it.
How important whole layers are is in :mod:`wsn.importance.layers`, which layers to keep in :mod:`wsn.importance.depth`.
"""

from wsn.importance.activations import flap, minitron, uniql, wanda
from wsn.importance.gradients import taylor
from wsn.supernet.order import ChannelScore, magnitude

__all__ = ["ChannelScore", "flap", "magnitude", "minitron", "taylor", "uniql", "wanda"]
