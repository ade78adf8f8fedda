"""What holds for every loss that fits a density, found by listing `losses/density`."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache

import pytest
import torch
import torch.distributed as dist
from conftest import Shifted, every, normal
from process_group import on_processes
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from ebm import LBFGS, Energy, FreeEnergy, Implicit
from ebm.energies import LatentDecoder
from ebm.losses.density.density_loss import DensityLoss
from ebm.networks import MLP
from ebm.processes import Batch

KINDS = every("ebm.losses.density", nn.Module)

# By their formulas: these are for binary data, and this one learns the constant of the energy.
DISCRETE = {"PseudoLikelihood", "RatioMatching"}
SEES_A_CONSTANT = {"NoiseContrastive"}
# These have third derivatives of the energy in their gradient, and tests of their own for a latent.
OF_CURVATURE = {"ScoreMatching", "SlicedScoreMatching"}
# Their chains follow the energy and no derivative follows the chains; and a compiler cannot see whether they diverge.
BY_CHAINS = {"ContrastiveDivergence", "PersistentContrastiveDivergence"}

losses = pytest.mark.parametrize("kind", KINDS)
without_chains = pytest.mark.parametrize("kind", [k for k in KINDS if k.id not in BY_CHAINS])
of_differences = pytest.mark.parametrize("kind", [k for k in KINDS if k.id not in SEES_A_CONSTANT])
conditions = pytest.mark.parametrize("conditional", [True, False], ids=["of y given x", "of y alone"])


class Scored(Energy):
    """A smooth network's score of y, or of y beside x, none of whose derivatives is small."""

    def __init__(self, conditional=True):
        super().__init__()
        self.network = MLP([5 if conditional else 3, 8, 1], activation=nn.Tanh).double()
        with torch.no_grad():
            for i, parameter in enumerate(self.network.parameters()):
                parameter.copy_(normal(*parameter.shape, seed=20 + i))

    def cost(self, hx, hy, z=None):
        y = hy.flatten(1)
        return self.network(y if hx is None else torch.cat([hx, y], 1))[:, 0]


def codes(kind, n=6, conditional=True):
    y = normal(n, 3, seed=1)
    return normal(n, 2) if conditional else None, (y > 0).double() if kind.__name__ in DISCRETE else y


def ready(kind, F, hx, hy):
    """A loss that has seen a batch, as some take their shapes or their noise from the first; the same at each call."""
    torch.manual_seed(30)
    loss = kind().double()
    loss(F, hx, hy)
    return loss.eval()


def seeded(fn, *args):
    torch.manual_seed(31)
    return fn(*args)


@losses
@conditions
def test_it_is_one_finite_number_whose_gradient_reaches_every_parameter(kind, conditional):
    F, (hx, hy) = FreeEnergy(Scored(conditional)), codes(kind, conditional=conditional)
    loss = kind().double()
    value = loss(F, hx, hy)
    assert value.shape == ()
    assert value.isfinite()
    # The bias of the output is a constant of the energy, which cancels.
    parameters = [*list(F.parameters())[:-1], *loss.parameters()]
    assert all(gradient.abs().max() > 1e-9 for gradient in torch.autograd.grad(value, parameters))


@losses
def test_the_gradient_reaches_the_codes_of_x(kind):
    F, (hx, hy) = FreeEnergy(Scored()), codes(kind)
    (gradient,) = torch.autograd.grad(kind().double()(F, hx.requires_grad_(), hy), hx)
    assert (gradient.abs().amax(1) > 1e-9).all()


@without_chains
@conditions
def test_the_gradient_is_that_of_finite_differences_for_one_draw_of_the_noise(kind, conditional):
    F, (hx, hy) = FreeEnergy(Scored(conditional)), codes(kind, conditional=conditional)
    loss = ready(kind, F, hx, hy)
    parameters = [*F.parameters(), *loss.parameters()]
    gradients = torch.autograd.grad(seeded(loss, F, hx, hy), parameters, materialize_grads=True)
    start = parameters_to_vector(parameters).detach()
    for seed in range(3):
        direction, values = normal(len(start), seed=seed), []
        for side in (1e-5, -1e-5):
            vector_to_parameters(start + side * direction, parameters)
            values.append(seeded(loss, F, hx, hy).item())
        vector_to_parameters(start, parameters)
        expected = parameters_to_vector(gradients) @ direction
        # Central differences err by 1e-10 times a third derivative, and by rounding over 1e-5.
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(expected.item(), rel=1e-6, abs=1e-6)


@losses
def test_the_value_of_a_sample_is_its_own(kind):
    F, (hx, hy) = FreeEnergy(Scored()), codes(kind)
    loss = ready(kind, F, hx, hy)
    other = hy.clone()
    other[2] = 1 - other[2]
    values, changed = (seeded(loss.values, F, hx, y) for y in (hy, other))
    rest = torch.arange(6) != 2
    torch.testing.assert_close(values[rest], changed[rest], rtol=1e-12, atol=1e-12)  # rounding of products in blocks
    assert abs(values[2] - changed[2]) > 1e-6
    torch.testing.assert_close(seeded(loss, F, hx, hy), values.mean(), rtol=1e-12, atol=1e-12)


@losses
def test_the_order_of_the_batch_is_nothing_to_it(kind, monkeypatch):
    F, (hx, hy) = FreeEnergy(Scored()), codes(kind)
    loss, order = ready(kind, F, hx, hy), [3, 0, 5, 1, 4, 2]
    _hold_noise_still(monkeypatch)
    if hasattr(loss, "chains"):
        loss.chains[:] = loss.chains[0].clone()
    torch.testing.assert_close(loss(F, hx[order], hy[order]), loss(F, hx, hy), rtol=1e-11, atol=1e-11)


def _hold_noise_still(monkeypatch):
    """Give each row of a batch the same noise, so that rows can be told from their places."""
    for name in ("randn", "rand"):
        monkeypatch.setattr(torch, name, lambda *shape, **kind: torch.full(shape, 0.3, dtype=kind.get("dtype")))
    monkeypatch.setattr(torch, "randn_like", lambda rows: torch.full_like(rows, 0.3))
    monkeypatch.setattr(torch, "randint", lambda _, shape, **kind: torch.ones(shape, dtype=torch.long))
    monkeypatch.setattr(torch, "normal", lambda mean, std: mean + 0.3 * std)


@of_differences
def test_a_constant_of_the_energy_changes_nothing(kind):
    F, (hx, hy) = FreeEnergy(Scored()), codes(kind)
    loss = ready(kind, F, hx, hy)
    higher = FreeEnergy(Shifted(F.energy, 5.0))
    # Adding 5 rounds energies to 1e-15.
    torch.testing.assert_close(seeded(loss, higher, hx, hy), seeded(loss, F, hx, hy), rtol=1e-12, atol=1e-12)


@losses
def test_all_noise_is_of_the_global_generator(kind):
    F, (hx, hy) = FreeEnergy(Scored()), codes(kind)
    loss = ready(kind, F, hx, hy)
    assert torch.equal(seeded(loss, F, hx, hy), seeded(loss, F, hx, hy))


@losses
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_has_the_same_value_where_nothing_is_recorded(kind, mode):
    F, (hx, hy) = FreeEnergy(Scored()), codes(kind)
    loss = ready(kind, F, hx, hy)
    with mode():
        value = seeded(loss, F, hx, hy)
    # torch.func may add in another order.
    torch.testing.assert_close(value.clone(), seeded(loss, F, hx, hy).detach(), rtol=1e-10, atol=1e-10)


@losses
def test_it_leaves_nothing_on_parameters_or_codes(kind):
    F, (hx, hy) = FreeEnergy(Scored()), codes(kind)
    kept = hx.clone(), hy.clone()
    kind().double()(F, hx, hy)
    assert all(parameter.grad is None for parameter in F.parameters())
    assert not hx.requires_grad
    assert not hy.requires_grad
    assert torch.equal(hx, kept[0])
    assert torch.equal(hy, kept[1])


@losses
def test_data_of_several_axes_is_its_features_flattened(kind):
    F, (hx, hy) = FreeEnergy(Scored()), codes(kind)
    flat = seeded(kind().double(), F, hx, hy)
    assert torch.equal(seeded(kind().double(), F, hx, hy.view(6, 1, 3)), flat)


@losses
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision_is_taken_in_single(kind, dtype, autocast):
    F = FreeEnergy(Scored().float())
    hx, hy = (code.to(dtype) for code in codes(kind))
    loss = kind()
    wanted = seeded(loss, F, hx.float(), hy.float())
    with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
        value = seeded(kind(), F, hx, hy)
    assert value.dtype == torch.float32
    assert torch.equal(value, wanted)


@losses
def test_its_state_comes_back_into_a_new_one(kind):
    F, (hx, hy) = FreeEnergy(Scored()), codes(kind)
    loss = ready(kind, F, hx, hy)
    again = kind().double().eval()
    again.load_state_dict(loss.state_dict())
    assert torch.equal(seeded(again, F, hx, hy), seeded(loss, F, hx, hy))


@pytest.mark.parametrize("kind", [k for k in KINDS if k.id not in OF_CURVATURE])
def test_a_latent_is_inferred_wherever_the_energy_is_asked_for(kind):
    F = FreeEnergy(LatentDecoder.small().double(), LBFGS(), Implicit())
    y = normal(3, 8)
    value = kind().double()(F, None, (y > 0).double() if kind.__name__ in DISCRETE else y)
    assert value.isfinite()
    assert max(gradient.abs().max() for gradient in torch.autograd.grad(value, list(F.parameters()))) > 1e-6


@losses
def test_an_energy_that_is_not_one_number_a_sample_is_refused(kind):
    class Column(Scored):
        def cost(self, hx, hy, z=None):
            return super().cost(hx, hy)[:, None]

    with pytest.raises(ValueError, match=r"an energy (is|returns) one number (a|per) sample"):
        kind()(FreeEnergy(Column().float()), *(code.float() for code in codes(kind)))


@losses
def test_codes_that_are_no_data_are_refused_by_what_they_are(kind):
    F, (hx, hy) = FreeEnergy(Scored()), codes(kind)
    with pytest.raises(ValueError, match=f"{kind.__name__} needs codes whose rows match, got 4 rows of hx and 6 of hy"):
        kind()(F, hx[:4], hy)
    with pytest.raises(ValueError, match=r"got \(6, 3\) of torch.int64: .*`.float\(\)` on integers"):
        kind()(F, hx, hy.long())
    with pytest.raises(ValueError, match=r"shape \(batch, features, \.\.\.\) in floating point, got \(6,\)"):
        kind()(F, hx, hy[:, 0])


@losses
def test_it_is_a_density_loss(kind):
    assert issubclass(kind, DensityLoss)


@without_chains
@conditions
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of the compiler itself
def test_compiled_whole_it_has_the_same_value_and_gradient(kind, conditional):
    F = FreeEnergy(Scored(conditional).float())
    hx, hy = (None if code is None else code.float() for code in codes(kind, conditional=conditional))
    loss = ready(kind, F, hx, hy).float()
    parameters, found = [*F.parameters(), *loss.parameters()], []
    torch._dynamo.reset()
    for fn in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        value = seeded(fn, F, hx, hy)
        found.append((value, *torch.autograd.grad(value, parameters, materialize_grads=True)))
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-5)  # single precision, in another order


# How the same 7 rows lie over the processes.
PARTS = (4, 1, 2)


def on_a_process(kinds):
    """For each loss its value, the values of this process's rows, the average gradient, and its buffers."""
    found = {}
    for kind in kinds:
        hx, hy = (code.split(PARTS)[dist.get_rank()] for code in codes(kind, 7))
        F, loss = FreeEnergy(Scored()), kind().double()
        torch.manual_seed(dist.get_rank())
        loss(F, hx, hy)
        before = {name: buffer.clone() for name, buffer in loss.named_buffers()}
        assert Batch.of(hy).counts == PARTS
        state = torch.get_rng_state()
        value = loss(F, hx, hy)
        after = {name: buffer.clone() for name, buffer in loss.named_buffers()}
        gradients = list(torch.autograd.grad(value, list(F.parameters()), materialize_grads=True))
        for gradient in gradients:
            dist.all_reduce(gradient)
        loss.load_state_dict(loss.state_dict() | before)
        torch.set_rng_state(state)
        own = loss.values(F, hx, hy)
        slopes = torch.autograd.grad(own.sum(), list(F.parameters()), materialize_grads=True)
        average = [gradient / len(PARTS) for gradient in gradients]
        found[kind.__name__] = value.detach(), own.detach(), average, list(slopes), after
    return found


@cache
def over_processes():
    return on_processes(len(PARTS), on_a_process, [parameter.values[0] for parameter in KINDS])


@losses
def test_over_processes_it_is_the_mean_over_all_rows_with_its_gradient(kind):
    results = [result[kind.__name__] for result in over_processes()]
    rows = torch.cat([own for _, own, *_ in results])
    slopes = [sum(parts) / 7 for parts in zip(*(slopes for *_, slopes, _ in results), strict=True)]
    assert len(rows) == 7
    for value, _, gradients, _, _ in results:
        # The same sums in another order, in double precision.
        torch.testing.assert_close(value, rows.mean(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(gradients, slopes, rtol=1e-9, atol=1e-12)


@losses
def test_over_processes_its_buffers_are_the_same_on_all(kind):
    """A checkpoint is written by one process, and holds for all of them."""
    first, *rest = [result[kind.__name__][-1] for result in over_processes()]
    for buffers in rest:
        assert buffers.keys() == first.keys()
        assert all(torch.equal(buffers[name], first[name]) for name in first)
