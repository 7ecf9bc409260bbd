"""AutoFormer's spaces on timm's VisionTransformer, with relative position tables in the attention.

Source: AutoFormer, Chen et al. 2021, arXiv:2107.00651, table 1 and released code (``AutoFormer/model``); relative
positions, Shaw et al. 2018, arXiv:1803.02155, in two directions.
"""

from functools import partial
from typing import Any

from timm.models.vision_transformer import VisionTransformer
from torch import nn

from wsn.backbones.relative_attention import RelativeAttention
from wsn.backbones.transformer import transformer_space
from wsn.backbones.vit import PlainVisionTransformerSupernet, check_patches
from wsn.space import Dimension


class AutoFormerSupernet(PlainVisionTransformerSupernet):
    """AutoFormer with elastic depth, embedding, heads and MLP ratio.

    The largest network is timm's ``VisionTransformer`` with :class:`RelativeAttention` blocks, pooled by the mean of
    the patches. Heads have 64 channels whatever the embedding, as in the released recipe (``--change_qkv``).

    Differs: query, key and value are slices of three chunks of one projection, which the released code interleaves: the
    same networks with the rows in another order.

    Args:
        depth: choices of the number of layers.
        embed_dim: choices of the embedding's channels.
        heads: choices of the number of attention heads, per block.
        mlp_ratio: choices of the MLP's units as a share of the embedding, per block.
        resolution: choices of the input resolution in pixels.
        patch_size: choices of the patch size; 16 is published.
        num_classes: number of classes.
        in_chans: number of input channels.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last block, growing linearly from the first.

    Raises:
        WsnError: an empty space, or a resolution that patches do not divide.
    """

    def __init__(
        self,
        depth: Any = (12, 13, 14),
        embed_dim: Any = (192, 216, 240),
        heads: Any = (3, 4),
        mlp_ratio: Any = (3, 3.5, 4),
        resolution: Any = 224,
        patch_size: Any = 16,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ):
        count = int(max(Dimension("depth", depth).choices[0]))
        embeds, sizes = Dimension("embed_dim", embed_dim), Dimension("resolution", resolution)
        patches = Dimension("patch_size", patch_size)
        check_patches(sizes, patches)
        per_block = [Dimension("heads", heads, count, "block"), Dimension("mlp_ratio", mlp_ratio, count, "block")]
        space = transformer_space([embeds, *per_block, sizes, patches], count, depth)
        largest: Any = space.max()
        model = VisionTransformer(
            img_size=largest.resolution,
            patch_size=largest.patch_size,
            in_chans=in_chans,
            num_classes=num_classes,
            embed_dim=largest.embed_dim,
            depth=count,
            num_heads=max(largest.heads),
            mlp_ratio=max(largest.mlp_ratio),
            global_pool="avg",
            fc_norm=False,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
            norm_layer=nn.LayerNorm,  # eps 1e-5, as released
            attn_layer=RelativeAttention,
        )
        super().__init__(model, space, in_chans)


SUPERNETS = {
    "autoformer": AutoFormerSupernet,
    "autoformer_small": partial(AutoFormerSupernet, embed_dim=(320, 384, 448), heads=(5, 6, 7)),
    "autoformer_base": partial(AutoFormerSupernet, depth=(14, 15, 16), embed_dim=(528, 576, 624), heads=(9, 10)),
}
