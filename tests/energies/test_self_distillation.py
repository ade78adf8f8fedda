import pytest
import torch
from conftest import normal
from torch import nn

from ebm import FreeEnergy
from ebm.energies import SelfDistillation, StopGradient
from ebm.losses import PushDown
from ebm.networks import MLP, Prototypes


def plain(classes=4, **settings):
    """Codes are the variables themselves, so that the formula can be seen."""
    return SelfDistillation(nn.Identity(), nn.Identity(), classes, StopGradient, **settings).double()


def cross_entropy(x, y, centre, temperature=0.1, target_temperature=0.04):
    p, q = torch.exp((y - centre) / target_temperature), torch.exp(x / temperature)
    return -((p / p.sum(-1, keepdim=True)) * torch.log(q / q.sum(-1, keepdim=True))).sum(-1)


def test_it_is_the_cross_entropy_of_a_sharp_centred_teacher_and_a_student():
    energy, x, y = plain(), normal(5, 4) / 10, normal(5, 4, seed=1) / 10
    energy.centre.copy_(normal(4, seed=2) / 10)
    torch.testing.assert_close(energy(x, y), cross_entropy(x, y, energy.centre), rtol=1e-12, atol=1e-12)
    value = PushDown()(FreeEnergy(energy), x.requires_grad_(), y)
    slope = torch.autograd.grad(value, x)[0]
    by_hand = torch.autograd.grad(cross_entropy(x, y, energy.centre).mean(), x)[0]
    torch.testing.assert_close(slope, by_hand, rtol=1e-9, atol=1e-12)


def test_the_centre_is_a_running_mean_of_batches_moved_by_the_step_and_not_before():
    energy, batches = plain(momentum=0.9), [normal(6, 4, seed=seed) for seed in range(3)]
    expected = torch.zeros(4, dtype=torch.float64)
    for batch in batches:
        energy.encode(batch, batch)
        torch.testing.assert_close(energy.centre, expected)
        energy.after_step(0.5)
        expected = 0.9 * expected + 0.1 * batch.mean(0)
        torch.testing.assert_close(energy.centre, expected)


def test_both_directions_of_a_symmetric_step_count_alike():
    energy, x, y = plain(), normal(6, 4), normal(6, 4, seed=1)
    energy.encode(x, y)
    energy.encode(y, x)
    energy.after_step(0.5)
    torch.testing.assert_close(energy.centre, 0.1 * torch.cat([x, y]).mean(0))


def test_a_step_without_a_batch_and_what_is_only_looked_at_leave_the_centre_where_it_is():
    energy = plain()
    energy.centre.fill_(1.0)
    energy.eval().encode(normal(6, 4), normal(6, 4))
    energy.after_step(0.5)
    assert torch.equal(energy.centre, torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize(
    ("temperature", "target_temperature", "centred", "entropy"),
    [(0.1, 0.01, True, "sharp"), (0.1, 10.0, True, "uniform")],
    ids=["sharpened", "not sharpened"],
)
def test_the_temperature_of_the_teacher_says_how_sure_it_is(temperature, target_temperature, centred, entropy):
    energy = plain(temperature=temperature, target_temperature=target_temperature)
    y = torch.eye(4, dtype=torch.float64)
    # Against a student that gives all classes alike every teacher costs log 4: what differs is what it pulls towards.
    x = torch.zeros(4, 4, dtype=torch.float64, requires_grad=True)
    pull = -torch.autograd.grad(energy(x, y).sum(), x)[0] * temperature
    most = {"sharp": 0.75, "uniform": 0.0}[entropy]
    torch.testing.assert_close(pull.diagonal(), torch.full((4,), most, dtype=torch.float64), atol=0.03, rtol=0)


def test_a_class_that_takes_all_is_taken_back_by_the_centre():
    """Without a centre a teacher whose every answer is class 0 stays so; centred on its answers it prefers no class."""
    energy, y = plain(), torch.tensor([[3.0, 0.0, 0.0, 0.0]], dtype=torch.float64).expand(8, 4)
    biased = energy._taught(y)
    energy.centre.copy_(y.mean(0))
    torch.testing.assert_close(biased[:, 0], torch.ones(8, dtype=torch.float64))
    torch.testing.assert_close(energy._taught(y), torch.full((8, 4), 0.25, dtype=torch.float64))


def test_the_number_of_classes_has_to_be_that_of_the_projector():
    energy = SelfDistillation(MLP([8, 6]), MLP([6, 5]), 4)
    with pytest.raises(ValueError, match="the projector gives 5 classes, not 4: set `classes` to it"):
        energy(normal(3, 8).float(), normal(3, 8).float())


@pytest.mark.parametrize("name", ["temperature", "target_temperature"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_refused(name, value):
    with pytest.raises(ValueError, match=f"the {name} of a softmax is positive, not {value}"):
        plain(**{name: value})


def test_prototypes_are_cosines_to_unit_directions():
    head, x = Prototypes(nn.Linear(6, 3), 3, 5).double(), normal(4, 6)
    h, w = head.body(x), head.weight
    expected = (h @ w.T) / (h.norm(dim=-1)[:, None] * w.norm(dim=-1)[None])
    torch.testing.assert_close(head(x), expected, rtol=1e-12, atol=1e-12)
