"""Losses on logits and features, functional; every one is a mean over the batch.

Teachers' tensors are detached: no gradient flows into them.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from wsn.errors import WsnError

IGNORED = -100
"""The label of a position that does not count (padding), as in torch and transformers."""


def counted(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits and labels that count: of tokens, the positions that are not padding; of images, all.

    Args:
        logits: (B, K), or (B, T, V) of tokens.
        labels: (B,) classes, (B, K) probabilities, or (B, T) tokens with :data:`IGNORED` at padding.

    Returns:
        logits (N, K) and labels with N entries.
    """
    if logits.ndim == 2:
        return logits, labels
    keep = labels != IGNORED
    if keep.all():
        return logits.flatten(0, 1), labels.flatten()
    return logits[keep], labels[keep]


def two_classes_each(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return K independent labels as K classifications into no and yes, for losses over classes.

    Their cross-entropy is the binary cross-entropy of the logits, and distillation that of each label.

    Args:
        logits: (B, K), of yes.
        labels: (B, K), 0 or 1; a value between is the probability of yes.

    Returns:
        logits (B · K, 2), and classes (B · K,), or probabilities (B · K, 2) where labels are not whole.
    """
    yes = logits.flatten().unsqueeze(1)
    both, target = torch.cat([torch.zeros_like(yes), yes], 1), labels.flatten()
    if target.is_floating_point() and not torch.equal(target, target.round()):
        return both, torch.stack([1 - target, target], 1)
    return both, target.long()


def label_loss(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with labels, hard or mixed.

    Args:
        logits: (B, K).
        target: (B,) int64 classes, or (B, K) probabilities as mixup makes them.
        label_smoothing: share of the target spread evenly over the classes.
    """
    return F.cross_entropy(logits, target, label_smoothing=label_smoothing)


def soft_cross_entropy(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    r"""Cross-entropy of the student against the teacher's probabilities, times the temperature squared.

    .. math:: -T^2 \sum_c \mathrm{softmax}(t/T)_c \log \mathrm{softmax}(z/T)_c

    Args:
        student: logits (B, K).
        teacher: logits (B, K); no gradient flows into them.
        temperature: T; the factor T² keeps the gradient's size (Hinton et al. 2015, arXiv:1503.02531, §2).

    >>> import torch
    >>> z = torch.zeros(1, 2)
    >>> round(soft_cross_entropy(z, z).item(), 4)
    0.6931
    """
    probabilities = F.softmax(teacher.detach() / temperature, dim=-1)
    return F.cross_entropy(student / temperature, probabilities) * temperature**2


def logits_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error between logits (B, K): OFA's other distillation loss (``kd_type: mse``)."""
    return F.mse_loss(student, teacher.detach())


def kl_divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0, reverse: bool = False) -> Tensor:
    r"""KL divergence between teacher p and student q, times the temperature squared.

    Args:
        student: logits (B, K).
        teacher: logits (B, K).
        temperature: T.
        reverse: :math:`KL(q \Vert p)`, mode-seeking, in place of :math:`KL(p \Vert q)`.
    """
    q = F.log_softmax(student / temperature, dim=-1)
    p = F.log_softmax(teacher.detach() / temperature, dim=-1)
    first, second = (p, q) if reverse else (q, p)
    return F.kl_div(first, second, log_target=True, reduction="batchmean") * temperature**2


def js_divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Jensen-Shannon divergence (nats, at most ln 2 times T²), times the temperature squared.

    Args:
        student: logits (B, K).
        teacher: logits (B, K).
        temperature: T.
    """
    q = F.log_softmax(student / temperature, dim=-1)
    p = F.log_softmax(teacher.detach() / temperature, dim=-1)
    mixture = torch.logaddexp(p, q) - math.log(2)
    halves = [F.kl_div(mixture, part, log_target=True, reduction="batchmean") for part in (p, q)]
    return sum(halves, start=torch.zeros_like(halves[0])) * (temperature**2 / 2)


_LARGEST_EXPONENT = 80.0  # e^80 is finite in float32 and bfloat16


def _alpha_terms(student: Tensor, teacher: Tensor, alpha: float, clip: float | None) -> tuple[Tensor, Tensor]:
    """Return each sample's divergence (B,) and the surrogate (B,) whose gradient is the divergence's."""
    log_q = F.log_softmax(student, dim=-1)
    log_p = F.log_softmax(teacher.detach(), dim=-1)
    fixed = log_q.detach()
    q, ratio = fixed.exp(), log_p - fixed
    bound = math.log(clip) if clip is not None else math.inf
    if alpha == 1:  # KL(p || q); its ratio is not clipped, as in the released code
        value = log_p.exp() * ratio
        weight = log_p.exp()
    elif alpha == 0:  # KL(q || p)
        value = -q * ratio.clamp(max=bound)
        weight = q * (ratio.clamp(max=bound) - 1)
    else:
        base = 1 / (alpha * (alpha - 1))
        # q · ratio^alpha in one exponential: neither factor can over- or underflow on its own
        power = (fixed + (alpha * ratio).clamp(max=bound)).clamp(max=_LARGEST_EXPONENT).exp()
        value = (power - q) * base
        weight = power / alpha + q * base
    return value.sum(-1), -(weight * log_q).sum(-1)


def _with_gradient_of(value: Tensor, surrogate: Tensor) -> Tensor:
    return value + surrogate - surrogate.detach()


def alpha_divergence(student: Tensor, teacher: Tensor, alpha: float, clip: float | None = None) -> Tensor:
    r"""Alpha-divergence of teacher p from student q.

    .. math:: D_\alpha(p \Vert q) = \frac{1}{\alpha(\alpha-1)} \sum_c q_c \left[(p_c/q_c)^\alpha - 1\right]

    with its limits :math:`KL(p \Vert q)` at 1 and :math:`KL(q \Vert p)` at 0. The powers are taken in log space.

    Args:
        student: logits (B, K).
        teacher: logits (B, K).
        alpha: negative values punish where the student over-estimates, positive ones where it under-estimates.
        clip: largest :math:`(p_c/q_c)^\alpha` (a large ratio makes the gradient's variance large); None: no limit.

    Returns:
        the divergence, whose gradient with a clip is AlphaNet's: clipped weights on the gradient of log q.

    Source: AlphaNet, Wang et al. 2021, arXiv:2102.07954, §3; released code ``loss_ops.py``. Differs: the number is
    the (clipped) divergence, where the released code returns a surrogate with the same gradient.
    """
    value, surrogate = _alpha_terms(student, teacher, float(alpha), clip)
    return _with_gradient_of(value, surrogate).mean()


def adaptive_alpha_divergence(
    student: Tensor, teacher: Tensor, alpha_min: float = -1.0, alpha_max: float = 1.0, clip: float | None = 5.0
) -> Tensor:
    """AlphaNet's loss: for each sample the larger of two alpha-divergences.

    It punishes the student both where it over- and where it under-estimates the teacher's uncertainty.

    Args:
        student: logits (B, K).
        teacher: logits (B, K).
        alpha_min: the negative alpha.
        alpha_max: the positive alpha; 1 is ordinary distillation.
        clip: see :func:`alpha_divergence`.

    Source: AlphaNet, Wang et al. 2021, arXiv:2102.07954, §3.2, eq. 10; released code ``AdaptiveLossSoft``.
    """
    if alpha_min > alpha_max:
        raise WsnError(f"alpha_min must not exceed alpha_max. Received {alpha_min} and {alpha_max}")
    low, low_surrogate = _alpha_terms(student, teacher, float(alpha_min), clip)
    high, high_surrogate = _alpha_terms(student, teacher, float(alpha_max), clip)
    left = low > high
    return _with_gradient_of(torch.where(left, low, high), torch.where(left, low_surrogate, high_surrogate)).mean()


def feature_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error between feature maps, over the channels that both have.

    Channels of a subnet are the first ones of a wider network, so they correspond without a learned projection.
    Maps of another size are pooled to the smaller one.

    Args:
        student: (B, C, H, W) or (B, N, C).
        teacher: the same layout; widths and map sizes may differ.
    """
    teacher = teacher.detach()
    dim = 1 if student.ndim == 4 else -1
    if student.ndim == 4 and student.shape[-2:] != teacher.shape[-2:]:
        size = (min(student.shape[-2], teacher.shape[-2]), min(student.shape[-1], teacher.shape[-1]))
        student, teacher = (F.adaptive_avg_pool2d(t, size) for t in (student, teacher))
    width = min(student.shape[dim], teacher.shape[dim])
    return F.mse_loss(student.narrow(dim, 0, width), teacher.narrow(dim, 0, width))


def relation_mse(student: Tensor, teacher: Tensor, heads: int = 1) -> Tensor:
    """Mean squared error between self-relations, which have no width: cosine similarities of positions.

    Args:
        student: (B, N, C) tokens, or (B, C, H, W) of which each pixel is a token, or (B, C) where the images of the
            batch are related to each other.
        teacher: the same layout with as many tokens; the width may differ.
        heads: number of parts of the width with relations of their own; divides both widths.

    Source: AutoDistil, Xu et al. 2022, arXiv:2201.12507, §3.2 (after MiniLM v2). Differs: mean squared error of cosine
    similarities, not of the attention-like softmax.
    """
    return F.mse_loss(_relations(student, heads), _relations(teacher.detach(), heads))


def _relations(x: Tensor, heads: int) -> Tensor:
    x = x.flatten(2).transpose(1, 2) if x.ndim == 4 else x if x.ndim == 3 else x.unsqueeze(0)
    if x.shape[-1] % heads:
        raise WsnError(f"relation_mse: heads must divide the width {x.shape[-1]}. Received heads={heads}")
    parts = F.normalize(x.unflatten(-1, (heads, -1)).transpose(1, 2), dim=-1)  # (B, heads, N, C / heads)
    return parts @ parts.transpose(-1, -2)
