"""AutoFormer's attention with relative position tables; needs torch and timm alone, and travels with exported networks.

Source: AutoFormer, Chen et al. 2021, arXiv:2107.00651, released code (``AutoFormer/model``); relative positions, Shaw
et al. 2018, arXiv:1803.02155, in two directions.
"""

from typing import Any

import torch
from timm.layers import Attention
from torch import Tensor, nn

HEAD_DIM = 64
MAX_DISTANCE = 14


class RelativePosition2D(nn.Module):
    """Learned vectors for the vertical and horizontal distance of two patches, clipped to ±14; one for the class."""

    def __init__(self, head_dim: int, device: Any = None, dtype: Any = None):
        super().__init__()
        size = (2 * MAX_DISTANCE + 2, head_dim)
        self.embeddings_table_v = nn.Parameter(torch.empty(size, device=device, dtype=dtype))
        self.embeddings_table_h = nn.Parameter(torch.empty(size, device=device, dtype=dtype))
        nn.init.trunc_normal_(self.embeddings_table_v, std=0.02)
        nn.init.trunc_normal_(self.embeddings_table_h, std=0.02)

    def forward(self, tokens: int) -> Tensor:
        """Return the vectors (tokens, tokens, head_dim) for a square grid of patches after a class token."""
        side = int((tokens - 1) ** 0.5)
        at = torch.arange(tokens - 1, device=self.embeddings_table_v.device)
        vertical = self._rows(at[None, :] // side - at[:, None] // side)
        horizontal = self._rows(at[None, :] % side - at[:, None] % side)
        return self.embeddings_table_v[vertical] + self.embeddings_table_h[horizontal]

    def _rows(self, distance: Tensor) -> Tensor:
        rows = distance.clamp(-MAX_DISTANCE, MAX_DISTANCE) + MAX_DISTANCE + 1
        return nn.functional.pad(rows, (1, 0, 1, 0))  # row 0 is for the class token


class RelativeAttention(Attention):
    """timm's attention with heads of 64 channels, and relative position vectors added to keys and values."""

    def __init__(self, dim: int, num_heads: int, device: Any = None, dtype: Any = None, **kwargs: Any):
        super().__init__(dim, num_heads, HEAD_DIM, device=device, dtype=dtype, **kwargs)
        self.rel_pos_embed_k = RelativePosition2D(self.head_dim, device, dtype)
        self.rel_pos_embed_v = RelativePosition2D(self.head_dim, device, dtype)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Attend over (B, N, C) tokens; masks are not supported."""
        tokens = x.shape[1]
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, self.head_dim))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, N, head_dim)
        q = q * self.scale
        attention = q @ k.transpose(-2, -1)
        attention = attention + torch.einsum("bhqd,qkd->bhqk", q, self.rel_pos_embed_k(tokens))
        attention = self.attn_drop(attention.softmax(dim=-1))
        x = attention @ v + torch.einsum("bhqk,qkd->bhqd", attention, self.rel_pos_embed_v(tokens))
        x = x.transpose(1, 2).flatten(2)
        return self.proj_drop(self.proj(x))
