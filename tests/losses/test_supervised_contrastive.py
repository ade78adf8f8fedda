import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st
from process_group import on_processes
from torch import nn
from torch.nn.functional import normalize

from ebm import FreeEnergy
from ebm.distances import CosineDistance
from ebm.energies import JointEmbedding
from ebm.losses import NTXent, SupervisedContrastive

F = FreeEnergy(JointEmbedding(nn.Identity(), distance=CosineDistance()))


def by_paper(hx, hy, labels, temperature):
    """Equation 2 of the paper as a mean over anchors, anchor by anchor, of inner products of unit codes."""
    codes = normalize(torch.cat([hx, hy]), dim=1)
    classes = [*labels.tolist(), *labels.tolist()]
    total = 0.0
    for i, code in enumerate(codes):
        others = [a for a in range(len(codes)) if a != i]
        log_sum = torch.stack([code @ codes[a] / temperature for a in others]).logsumexp(0)
        positives = [p for p in others if classes[p] == classes[i]]
        total = total - sum(code @ codes[p] / temperature - log_sum for p in positives) / len(positives)
    return total / len(codes)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("labels", [[0, 1, 0, 2, 1, 0], [3, 3, 3, 3, 3, 3], [5, 4, 3, 2, 1, 0]], ids=str)
def test_value_and_gradient_are_those_of_the_paper(temperature, labels):
    hx, hy, labels = normal(6, 4).requires_grad_(), normal(6, 4, seed=1).requires_grad_(), torch.tensor(labels)
    value, expected = SupervisedContrastive(temperature)(F, hx, hy, labels), by_paper(hx, hy, labels, temperature)
    # Sums of eleven exponentials in two orders, over a temperature of 0.1.
    torch.testing.assert_close(value, expected, atol=1e-9, rtol=1e-9)
    slopes, references = (torch.autograd.grad(loss, (hx, hy)) for loss in (value, expected))
    torch.testing.assert_close(slopes, references, atol=1e-9, rtol=1e-9)


@given(n=st.integers(2, 7), seed=st.integers(0, 2**16))
def test_without_labels_it_is_nt_xent(n, seed):
    hx, hy = normal(n, 4, seed=seed).requires_grad_(), normal(n, 4, seed=seed + 1).requires_grad_()
    value, expected = SupervisedContrastive(0.2)(F, hx, hy), NTXent(0.2)(F, hx, hy)
    # The same sums in another order, over a temperature of 0.2.
    torch.testing.assert_close(value, expected, atol=1e-11, rtol=1e-11)
    slopes, references = (torch.autograd.grad(loss, (hx, hy)) for loss in (value, expected))
    torch.testing.assert_close(slopes, references, atol=1e-11, rtol=1e-11)


def test_in_chunks_each_row_keeps_its_label():
    hx, hy, labels = normal(6, 4), normal(6, 4, seed=1), torch.tensor([0, 1, 0, 2, 1, 0])
    whole, parts = (SupervisedContrastive(chunk=chunk)(F, hx, hy, labels) for chunk in (None, 5))
    torch.testing.assert_close(parts, whole, atol=1e-12, rtol=1e-12)


LABELS = torch.tensor([0, 1, 0, 2, 1, 0])


def spread(parts):
    """Of a batch of which each process has some rows: the value, and its gradient for those of x."""
    rank = torch.distributed.get_rank()
    hx, hy, labels = (h.split(parts)[rank] for h in (normal(6, 4), normal(6, 4, seed=1), LABELS))
    value = SupervisedContrastive()(F, hx.requires_grad_(), hy, labels)
    return value.detach(), torch.autograd.grad(value, hx)[0]


def test_samples_of_one_class_find_each_other_on_other_processes():
    hx, hy = normal(6, 4).requires_grad_(), normal(6, 4, seed=1)
    value = SupervisedContrastive()(F, hx, hy, LABELS)
    found, slopes = zip(*on_processes(2, spread, (4, 2)), strict=True)
    torch.testing.assert_close(list(found), [value.detach()] * 2)
    # Training takes the average of the gradients of two processes.
    torch.testing.assert_close(torch.cat(slopes) / 2, torch.autograd.grad(value, hx)[0])


@pytest.mark.parametrize("labels", [torch.zeros(3), torch.zeros(4, 2), torch.zeros(())], ids=lambda h: str(h.shape))
def test_labels_that_are_not_one_for_each_sample_are_refused(labels):
    with pytest.raises(ValueError, match=r"one label for each row of the codes, \(4,\), got \("):
        SupervisedContrastive()(F, normal(4, 3), normal(4, 3, seed=1), labels)
