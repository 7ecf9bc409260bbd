"""Any timm VisionTransformer: elastic depth, embedding, heads, MLP, resolution and patch size.

Source: AutoFormer, Chen et al. 2021, arXiv:2107.00651 (which dimensions, and prefix slices); FlexiViT, Beyer et al.
2023, arXiv:2212.08013 (patch size).
"""

import functools
from functools import partial
from itertools import product
from typing import Any

import torch
from timm.layers import Attention, resample_abs_pos_embed
from timm.layers.patch_embed import resample_patch_embed
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from wsn.backbones.pretrained import create_model
from wsn.backbones.transformer import renumber, shares, transformer_space
from wsn.errors import WsnError, listed
from wsn.space import Dimension, SearchSpace, Subnet
from wsn.supernet import BlockChoice, Reads, Segment, Supernet
from wsn.supernet.couple import Coupling, Leaf, couple
from wsn.supernet.leaves import set_parameter, take_channels

STEM = ("patch_embed", "cls_token", "reg_token", "dist_token", "pos_embed", "norm_pre")
HEAD = ("norm", "fc_norm", "head", "head_dist")
EMBED = "embed"  # the residual stream
OUTSIDE = Coupling(
    out=(
        "patch_embed.proj",
        "patch_embed.norm",
        "cls_token",
        "reg_token",
        "dist_token",
        "pos_embed",
        "norm_pre",
        "norm",
        "fc_norm",
    ),
    into=("head", "head_dist"),
    group=EMBED,
)
INSIDE = Coupling(
    out=("norm1", "norm2", "attn.proj", "mlp.fc2", "ls1.gamma", "ls2.gamma"),
    into=("attn.qkv", "attn.gate", "mlp.fc1", "mlp.fc1_g", "mlp.fc1_x"),
    group=EMBED,
)


class PlainVisionTransformerSupernet(Supernet):
    """A timm ``VisionTransformer`` whose blocks, embedding, resolution and patch size are elastic.

    A subnet keeps the first channels of the embedding, the first heads of a block, and the first
    ``int(embed_dim · mlp_ratio)`` units of its MLP. Position embeddings are interpolated to the subnet's grid, and the
    patch projection is resized by FlexiViT's pseudo-inverse, both as timm does it for good.

    Args:
        model: the largest network.
        space: its dimensions: depth or layers, embed_dim, heads, mlp_ratio, resolution, patch_size.
        in_chans: number of input channels.
    """

    def __init__(self, model: VisionTransformer, space: SearchSpace, in_chans: int):
        super().__init__(model, space, in_chans, [f"blocks.{i}" for i in range(len(model.blocks))])

    def reads(self, path: str) -> Reads:
        if not path:
            return [(name, 0) for name in ("embed_dim", "patch_size", "resolution")]
        at = int(path.split(".")[1])
        return [("embed_dim", 0), ("heads", at), ("mlp_ratio", at)]

    def widths(self, path: str, choice: BlockChoice) -> dict[Coupling, int]:
        if not path:
            return {OUTSIDE: choice[0]}
        embed, heads, ratio = choice
        block: Any = self.model.get_submodule(path)
        size, chunks = block.attn.head_dim, _mlp_chunks(block.mlp)
        head = Coupling(
            (Leaf("attn.qkv", size, 3), Leaf("attn.norm", size), Leaf("attn.gate", size)), (Leaf("attn.proj", size),)
        )
        hidden = Coupling((Leaf("mlp.fc1", chunks=chunks), "mlp.fc1_g", "mlp.fc1_x", "mlp.norm"), ("mlp.fc2",))
        return {INSIDE: embed, head: heads, hidden: int(embed * ratio) // chunks}

    def narrow(self, path: str, choice: BlockChoice) -> nn.Module:
        view = couple(self.model.get_submodule(path), self.widths(path, choice))
        attn: Any = view._modules["attn"]
        attn.num_heads, attn.attn_dim = choice[1], choice[1] * attn.head_dim
        return view

    def around(self, choice: BlockChoice) -> nn.Module:
        return self._resize(super().around(choice), *choice)

    def finish(self, view: nn.Module, subnet: Subnet) -> nn.Module:
        renumber(view._modules["blocks"])  # type: ignore[arg-type]
        return self._resize(view, *self.outside(subnet))

    def _resize(self, view: Any, embed: int, patch: int, resolution: int) -> nn.Module:
        """Set the sizes of a view: embedding, patches, images, and the position embeddings of its grid."""
        view.embed_dim = view.num_features = view.head_hidden_size = embed
        stem = view.patch_embed
        old_grid = stem.grid_size
        if stem.patch_size != (patch, patch):
            stem._modules["proj"] = with_patch_size(stem.proj, patch)
            stem.patch_size = (patch, patch)
        stem.img_size, stem.grid_size, stem.num_patches = stem._init_img_size(resolution)
        if view.pos_embed is not None and stem.grid_size != old_grid:
            prefix = 0 if view.no_embed_class else view.num_prefix_tokens
            resized = resample_abs_pos_embed(view.pos_embed, stem.grid_size, old_grid, prefix)
            set_parameter(view, "pos_embed", resized)
        return view

    def segment(self, name: str, choice: BlockChoice) -> nn.Module:
        m: Any = self.around(choice)
        if name == "stem":
            return Segment(m, STEM, lambda x: m.norm_pre(m._pos_embed(m.patch_embed(x))))
        return Segment(m, HEAD, lambda x: m.forward_head(m.norm(x)))


def with_patch_size(conv: nn.Conv2d, size: int) -> nn.Conv2d:
    """Return a patch projection for patches of another size, differentiably (FlexiViT's PI-resize)."""
    clone: Any = take_channels(conv)
    weight = conv.weight
    if weight.is_meta:
        resized = weight.new_empty((*weight.shape[:2], size, size))
    else:
        matrix = _resize_matrix(weight.shape[-1], size).to(weight.device)
        resized = (weight.flatten(2).float() @ matrix).unflatten(2, (size, size)).to(weight.dtype)
    set_parameter(clone, "weight", resized)
    clone.kernel_size = clone.stride = (size, size)
    return clone


@functools.cache
def _resize_matrix(old: int, new: int) -> Tensor:
    """Return timm's resampling of patch projections as a matrix (old², new²)."""
    with torch.inference_mode(False), torch.no_grad():
        basis = torch.eye(old * old).unflatten(1, (1, old, old))
        return resample_patch_embed(basis, [new, new]).flatten(1)


def _mlp_chunks(mlp: nn.Module) -> int:
    """Return how many parts an MLP's first layer is fused of."""
    return 2 if hasattr(mlp, "gate_last") else 1


class VisionTransformerSupernet(PlainVisionTransformerSupernet):
    """Any timm ``VisionTransformer`` by name, with pretrained weights if wanted.

    Choices that are not given are: from half of the layers, three quarters of the embedding, half of the heads and
    half of the MLP up to all. Without pretrained weights the largest choices make the model: larger or smaller than
    the named one, of its kind.

    Args:
        model: name of a timm model, e.g. ``vit_tiny_patch16_224`` or ``deit_small_patch16_224``.
        num_classes: number of classes.
        in_chans: number of input channels.
        depth: choices of the number of kept layers.
        layers: in place of depth: which layers can be kept or skipped.
        keep: which layers a depth keeps, see :func:`wsn.backbones.transformer.transformer_space`.
        embed_dim: choices of the embedding's channels.
        heads: choices of the number of attention heads, per block.
        mlp_ratio: choices of the MLP's units as a share of the embedding, per block.
        resolution: choices of the input resolution in pixels; by default the model's own.
        patch_size: choices of the patch size; the smallest is the largest network's. By default the model's own.
        pretrained: a timm tag (or True for timm's default), or the path of a state dict.
        **kwargs: passed to ``timm.create_model``.

    Raises:
        WsnError: a model that is not a VisionTransformer of plain blocks, largest choices that are not the pretrained
            model's, or a resolution that patches do not divide.
    """

    def __init__(
        self,
        model: str = "vit_tiny_patch16_224",
        num_classes: int = 1000,
        in_chans: int = 3,
        depth: Any = None,
        layers: Any = None,
        keep: Any = "first",
        embed_dim: Any = None,
        heads: Any = None,
        mlp_ratio: Any = None,
        resolution: Any = None,
        patch_size: Any = None,
        pretrained: Any = False,
        **kwargs: Any,
    ):
        like = _like(model, kwargs)
        full = {
            "embed_dim": like.embed_dim,
            "depth": len(like.blocks),
            "num_heads": like.blocks[0].attn.num_heads,
            "mlp_ratio": like.blocks[0].mlp.fc2.in_features * _mlp_chunks(like.blocks[0].mlp) / like.embed_dim,
        }
        if depth is None and layers is None:
            depth = shares(full["depth"], (0.5, 0.75, 1.0))
        embeds = Dimension("embed_dim", embed_dim or shares(full["embed_dim"], (0.75, 1.0), 8))
        patches = Dimension("patch_size", patch_size or like.patch_embed.patch_size[0])
        sizes = Dimension("resolution", resolution or like.patch_embed.img_size[0])
        count = full["depth"] if depth is None else int(_largest(Dimension("depth", depth)))
        heads = heads or shares(full["num_heads"], (0.5, 0.75, 1.0))
        mlp_ratio = mlp_ratio or [full["mlp_ratio"] * f for f in (0.5, 0.75, 1.0)]
        per_block = [Dimension("heads", heads, count, "block"), Dimension("mlp_ratio", mlp_ratio, count, "block")]
        largest = {
            "depth": count,
            "embed_dim": _largest(embeds),
            "num_heads": _largest(per_block[0]),
            "mlp_ratio": _largest(per_block[1]),
        }
        overrides = {n: v for n, v in largest.items() if v != full[n]}
        if pretrained and overrides:
            n, received = next(iter(overrides.items()))
            raise WsnError(
                f"The largest choices must be those of the pretrained {model}: its {n} is {full[n]}. Received "
                f"{received}; add {full[n]} to the choices, or start from other weights with wsn.init.weight_selection"
            )
        check_patches(sizes, patches)
        network = create_model(
            model, pretrained, num_classes, in_chans,
            img_size=_largest(sizes), patch_size=patches.choices[0][-1], **overrides, **kwargs,
        )  # fmt: skip
        space = transformer_space([embeds, *per_block, sizes, patches], count, depth, layers, keep)
        super().__init__(network, space, in_chans)


def _like(model: str, kwargs: dict[str, Any]) -> Any:
    """Return the named model on the meta device, for its sizes."""
    with torch.device("meta"):
        like = create_model(model, False, 1, 3, **kwargs)
    if type(like) not in (VisionTransformer, VisionTransformerDistilled) or like.attn_pool is not None:
        raise WsnError(
            f"{model} is a timm {type(like).__name__}, not a plain VisionTransformer; take e.g. "
            "backbone.model=vit_tiny_patch16_224, or for a CNN backbone=timm_cnn"
        )
    kinds = {type(part).__name__ for b in like.blocks for part in (b, b.attn) if type(part) not in (Block, Attention)}
    if kinds:
        raise WsnError(f"{model} has blocks of {listed(sorted(kinds))}, which wsn does not narrow; take another model")
    return like


def check_patches(resolution: Dimension, patch_size: Dimension) -> None:
    """Check that the patches divide every resolution."""
    for size, patch in product(resolution.choices[0], patch_size.choices[0]):
        if size % patch:
            raise WsnError(
                f"resolution {size} is not a multiple of patch_size {patch}. Set e.g. "
                f"backbone.resolution=[{size - size % patch}] or backbone.patch_size=[...]"
            )


def _largest(dimension: Dimension) -> Any:
    return max(c for choices in dimension.choices for c in choices)


SUPERNETS = {
    "vit": VisionTransformerSupernet,
    "deit": partial(VisionTransformerSupernet, model="deit_tiny_patch16_224"),
}
