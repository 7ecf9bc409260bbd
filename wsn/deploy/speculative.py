"""Self-speculative decoding: a small subnet drafts tokens, the full network verifies them, in one copy of the weights.

Source: Fast Inference from Transformers via Speculative Decoding, Leviathan et al. 2023, arXiv:2211.17192, greedy case;
with sub-models of the same weights, Sorted LLaMA, Valipour et al. 2023, arXiv:2309.08968, §4.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wsn.errors import WsnError


@dataclass
class Speculation:
    """The result of speculative decoding.

    Args:
        tokens: prompt and continuation (1, T).
        drafted: tokens that the draft proposed.
        accepted: of these, the full network's own choice.
        passes: forward passes of the full network, the prompt's included.
    """

    tokens: Tensor
    drafted: int = 0
    accepted: int = 0
    passes: int = 1

    @property
    def acceptance(self) -> float:
        """Share of the drafted tokens that were accepted."""
        return self.accepted / max(self.drafted, 1)


@torch.inference_mode()
def speculate(
    full: Any, draft: Any, tokens: Tensor, max_new_tokens: int = 64, draft_tokens: int = 4, stop: int | None = None
) -> Speculation:
    """Continue a prompt greedily; the tokens are those of the full network alone.

    Args:
        full: a causal language model of transformers, e.g. ``net.view(net.space.max())``.
        draft: a cheaper one with the same vocabulary, e.g. a shallower view of the same supernet.
        tokens: prompt (1, T).
        max_new_tokens: how many to add.
        draft_tokens: proposed before each verification.
        stop: a token that ends the text.

    Raises:
        WsnError: more than one sequence, or no token to draft.
    """
    if tokens.ndim != 2 or len(tokens) != 1 or draft_tokens < 1:
        raise WsnError(
            f"Speculative decoding takes one sequence (1, T) and draft_tokens of 1 or more. Received "
            f"{tuple(tokens.shape)} and {draft_tokens}"
        )
    out = full(input_ids=tokens, use_cache=True, logits_to_keep=1)
    memory, draft_memory = out.past_key_values, draft(input_ids=tokens, use_cache=True).past_key_values
    text = [int(out.logits[0, -1].argmax())]
    result, end = Speculation(tokens), tokens.shape[1] + max_new_tokens
    pending = text[-1:]  # what the draft has not read yet
    while tokens.shape[1] + len(text) < end and text[-1] != stop:
        count = min(draft_tokens, end - tokens.shape[1] - len(text))
        proposal = _propose(draft, draft_memory, pending, count, tokens)
        verified = full(input_ids=tokens.new_tensor([[text[-1], *proposal]]), past_key_values=memory, use_cache=True)
        choices = verified.logits[0].argmax(-1).tolist()
        right = next((i for i, (a, b) in enumerate(zip(proposal, choices)) if a != b), count)
        _forget(memory, count - right)
        _forget(draft_memory, count - 1 - right)
        text += [*proposal[:right], choices[right]]
        pending = text[-2:] if right == count else text[-1:]
        result.drafted, result.accepted, result.passes = (
            result.drafted + count, result.accepted + right, result.passes + 1,
        )  # fmt: skip
    if stop in text:
        text = text[: text.index(stop) + 1]
    result.tokens = torch.cat([tokens, tokens.new_tensor([text[:max_new_tokens]])], 1)
    return result


def _propose(draft: Any, memory: Any, pending: list[int], count: int, like: Tensor) -> list[int]:
    proposal: list[int] = []
    for _ in range(count):
        out = draft(input_ids=like.new_tensor([pending]), past_key_values=memory, use_cache=True, logits_to_keep=1)
        proposal.append(int(out.logits[0, -1].argmax()))
        pending = proposal[-1:]
    return proposal


def _forget(memory: Any, count: int) -> None:
    """Remove the last tokens of a cache."""
    if count > 0:
        memory.crop(-count)
