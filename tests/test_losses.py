import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from wsn import WsnError
from wsn.callbacks.data_importance import gradient_sizes
from wsn.losses import (
    IGNORED,
    adaptive_alpha_divergence,
    alpha_divergence,
    counted,
    feature_mse,
    js_divergence,
    kl_divergence,
    label_loss,
    logits_mse,
    relation_mse,
    soft_cross_entropy,
    two_classes_each,
)

ALPHAS = [-1.0, -0.5, 0.0, 0.5, 1.0, 2.0]
RELEASED = json.loads((Path(__file__).parent / "assets" / "alphanet_loss.json").read_text())


def logits(*shape, scale=1.0):
    return (scale * torch.randn(*shape, dtype=torch.float64)).requires_grad_()


def gradient(loss, of):
    return torch.autograd.grad(loss, of)[0]


def test_soft_cross_entropy_is_kl_plus_the_teachers_entropy():
    student, teacher = torch.randn(6, 5), torch.randn(6, 5)
    for t in (1.0, 4.0):
        entropy = -((teacher / t).softmax(-1) * (teacher / t).log_softmax(-1)).sum(-1).mean()
        expected = kl_divergence(student, teacher, t) + t**2 * entropy
        torch.testing.assert_close(soft_cross_entropy(student, teacher, t), expected)


def test_kl_both_ways_and_js_against_torch_distributions():
    student, teacher = logits(6, 5), logits(6, 5)
    q, p = (torch.distributions.Categorical(logits=z) for z in (student, teacher))
    mixture = torch.distributions.Categorical(probs=(p.probs + q.probs) / 2)
    kl = torch.distributions.kl_divergence
    torch.testing.assert_close(kl_divergence(student, teacher), kl(p, q).mean())
    torch.testing.assert_close(kl_divergence(student, teacher, reverse=True), kl(q, p).mean())
    torch.testing.assert_close(js_divergence(student, teacher), ((kl(p, mixture) + kl(q, mixture)) / 2).mean())
    assert js_divergence(torch.tensor([[99.0, 0.0]]), torch.tensor([[0.0, 99.0]])).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    "loss",
    [
        soft_cross_entropy,
        logits_mse,
        kl_divergence,
        js_divergence,
        adaptive_alpha_divergence,
        relation_mse,
        feature_mse,
    ],
)
def test_no_gradient_reaches_the_teacher(loss):
    student, teacher = (torch.randn(2, 4, 3, 3, requires_grad=True) for _ in range(2))
    if loss not in (relation_mse, feature_mse):
        student, teacher = (torch.randn(2, 3, requires_grad=True) for _ in range(2))
    loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


def test_label_loss_takes_classes_and_probabilities():
    z, classes = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    hard = label_loss(z, classes, 0.1)
    soft = label_loss(z, F.one_hot(classes, 3).float(), 0.1)
    torch.testing.assert_close(hard, soft)
    assert label_loss(torch.zeros(1, 8), torch.tensor([3])).item() == pytest.approx(math.log(8))


@pytest.mark.parametrize("alpha", ALPHAS)
def test_unclipped_alpha_divergence_and_its_true_gradient(alpha):
    student, teacher = logits(7, 6, scale=2), logits(7, 6, scale=2)
    p, q = teacher.detach().softmax(-1), student.softmax(-1)
    if alpha == 1:
        true = (p * (p / q).log()).sum(-1)
    elif alpha == 0:
        true = (q * (q / p).log()).sum(-1)
    else:
        true = (q * ((p / q) ** alpha - 1)).sum(-1) / (alpha * (alpha - 1))
    ours = alpha_divergence(student, teacher, alpha)
    torch.testing.assert_close(ours, true.mean())
    torch.testing.assert_close(gradient(ours, student), gradient(true.mean(), student), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_clipped_alpha_divergence_equals_the_released_code(alpha):
    student, teacher = (torch.tensor(RELEASED[n], dtype=torch.float64) for n in ("student", "teacher"))
    student.requires_grad_()
    expected = RELEASED[f"alpha {alpha}"]
    ours = alpha_divergence(student, teacher, alpha, clip=5.0)
    assert ours.item() == pytest.approx(expected["divergence"], rel=1e-12)
    torch.testing.assert_close(gradient(ours, student), torch.tensor(expected["gradient"], dtype=torch.float64))


def test_adaptive_alpha_divergence_equals_the_released_code():
    student, teacher = (torch.tensor(RELEASED[n], dtype=torch.float64) for n in ("student", "teacher"))
    student.requires_grad_()
    ours = gradient(adaptive_alpha_divergence(student, teacher), student)
    torch.testing.assert_close(ours, torch.tensor(RELEASED["adaptive_gradient"], dtype=torch.float64))
    both = [alpha_divergence(student[i : i + 1], teacher[i : i + 1], a, 5.0) for i in range(6) for a in (-1.0, 1.0)]
    larger = torch.stack(both).view(6, 2).max(1).values.mean()  # of each sample
    torch.testing.assert_close(adaptive_alpha_divergence(student, teacher), larger)
    with pytest.raises(WsnError, match="alpha_min"):
        adaptive_alpha_divergence(student, teacher, alpha_min=1.0, alpha_max=0.0)


@pytest.mark.parametrize("clip", [5.0, None])
def test_finite_for_extreme_logits(clip):
    extreme = torch.tensor([[200.0, -200.0, 0.0], [-200.0, 200.0, 0.0]])
    for alpha in ALPHAS:
        student = extreme.flip(0).clone().requires_grad_()
        value = alpha_divergence(student, extreme, alpha, clip)
        assert value.isfinite()
        assert gradient(value, student).isfinite().all()


def test_feature_and_relation_losses_need_no_equal_widths():
    wide, narrow = torch.randn(2, 8, 6, 6), torch.randn(2, 5, 3, 3)
    pooled = F.avg_pool2d(wide, 2)
    torch.testing.assert_close(feature_mse(narrow, wide), F.mse_loss(narrow, pooled[:, :5]))
    tokens, few = torch.randn(2, 7, 12), torch.randn(2, 7, 4)
    expected = F.mse_loss(
        F.cosine_similarity(few[:, :, None], few[:, None], dim=-1),
        F.cosine_similarity(tokens[:, :, None], tokens[:, None], dim=-1),
    )
    torch.testing.assert_close(relation_mse(few, tokens), expected)
    assert relation_mse(3 * tokens, tokens, heads=4).item() == pytest.approx(0, abs=1e-10)
    assert relation_mse(torch.randn(9, 3), torch.randn(9, 5)) > 0
    with pytest.raises(WsnError, match="heads=5"):
        relation_mse(few, tokens, heads=5)


def test_gradient_sizes_of_an_example_are_the_norms_of_autograd():
    """Of images one by one, of texts the mean over the tokens that count, of several labels the mean over them."""
    torch.manual_seed(0)

    def norms(logits, loss):
        logits = logits.clone().requires_grad_()
        return torch.autograd.grad(loss(logits), logits)[0].norm(dim=-1)

    logits, labels = torch.randn(3, 5), torch.tensor([0, 4, 2])
    expected = norms(logits, lambda z: F.cross_entropy(z, labels, reduction="sum"))
    torch.testing.assert_close(gradient_sizes(logits, labels), expected)
    tokens = torch.tensor([[1, 2, 3], [4, IGNORED, IGNORED]])
    rows, wanted = counted(torch.randn(2, 3, 5), tokens)
    each = norms(rows, lambda z: F.cross_entropy(z, wanted, reduction="sum"))
    torch.testing.assert_close(gradient_sizes(rows, tokens), torch.stack([each[:3].mean(), each[3]]))
    several = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    rows, wanted = two_classes_each(torch.randn(2, 3), several)
    each = norms(rows, lambda z: F.cross_entropy(z, wanted, reduction="sum"))
    torch.testing.assert_close(gradient_sizes(rows, several), each.view(2, 3).mean(1))
