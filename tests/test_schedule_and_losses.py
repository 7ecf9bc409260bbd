import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from wsn import WsnError
from wsn.losses import label_loss, logits_mse, soft_cross_entropy
from wsn.schedule import Phase, constant, cosine, learning_rate, linear, phase_at, total_epochs

PHASES = [Phase("full", 4, warmup_epochs=1, lr=1.0), Phase("kernel", 2), Phase("depth", 3, lr=0.5)]


def rate(epoch, curve=cosine):
    return learning_rate(PHASES, curve, epoch, default_lr=0.2, warmup_from=0.1)


def test_phases():
    assert total_epochs(PHASES) == 10
    assert [phase_at(PHASES, e)[0] for e in range(11)] == [0] * 5 + [1] * 2 + [2] * 3 + [2]
    with pytest.raises(WsnError, match="epochs"):
        Phase("x", 0)


def test_warmup_peak_and_restart():
    assert rate(0) == pytest.approx(0.1)
    assert rate(0.5) == pytest.approx(0.55)
    assert rate(1) == pytest.approx(1.0)
    assert rate(3) == pytest.approx(0.5)
    assert rate(5) == pytest.approx(0.2)  # restarts, at the optimizer's own rate
    assert rate(7) == pytest.approx(0.5)
    assert rate(10) == pytest.approx(0.0)


@given(st.floats(0, 1))
def test_curves_stay_between_their_ends(progress):
    assert 0 <= cosine(progress) <= 1
    assert cosine(progress, final=0.1) >= 0.1
    assert linear(progress) == pytest.approx(1 - progress)
    assert constant(progress) == 1


def test_soft_cross_entropy_is_kl_plus_the_teachers_entropy():
    student, teacher = torch.randn(6, 5), torch.randn(6, 5)
    for t in (1.0, 4.0):
        kl = F.kl_div(
            (student / t).log_softmax(-1), (teacher / t).log_softmax(-1), log_target=True, reduction="batchmean"
        )
        entropy = -((teacher / t).softmax(-1) * (teacher / t).log_softmax(-1)).sum(-1).mean()
        torch.testing.assert_close(soft_cross_entropy(student, teacher, t), t**2 * (kl + entropy))


def test_no_gradient_reaches_the_teacher():
    student, teacher = (torch.randn(2, 3, requires_grad=True) for _ in range(2))
    (soft_cross_entropy(student, teacher) + logits_mse(student, teacher)).backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_label_loss_takes_classes_and_probabilities():
    logits, classes = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    hard = label_loss(logits, classes, 0.1)
    soft = label_loss(logits, F.one_hot(classes, 3).float(), 0.1)
    torch.testing.assert_close(hard, soft)
    assert label_loss(torch.zeros(1, 8), torch.tensor([3])).item() == pytest.approx(math.log(8))
