"""What is named in `given` lets samples be told apart: those that have ended cost nothing, and change nothing."""

import pytest
import torch
from conftest import every, normal
from test_contracts_solvers import Quadratic, make

from ebm import LBFGS, GradientDescent, Restarts, Status, minimize
from ebm.constraints import Box
from ebm.solvers import Solver

kinds = pytest.mark.parametrize("kind", every("ebm.solvers", Solver))
REFERENCES = {"SciPy"}  # are called with one sample at a time


class Stretched(Quadratic):
    """Quadratics that take from few to very many steps; it counts how often it was called with each row."""

    def __init__(self, n, d, dtype=torch.float64):
        super().__init__(n, d, dtype=dtype)
        self.root[:, 0] *= torch.linspace(0.2, 1, n, dtype=dtype)[:, None]
        self.calls = []

    def residuals(self, z, rows):
        self.calls.append(rows.clone())
        return (self.root[rows] @ (z - self.minimum[rows])[..., None])[..., 0]

    @property
    def spent(self):
        """How many times each sample was evaluated by the solve.

        Besides that it is once for its shape, once for the energy of its answer, and the first half is once more to
        see that it comes out the same.
        """
        n = len(self.root)
        others = 2 + (torch.arange(n) < (n + 1) // 2).long()
        return torch.cat(self.calls).bincount(minlength=n) - others


def starts(n, d):
    """Some samples begin where they end, some far away."""
    return Stretched(n, d).minimum + torch.linspace(0, 3, n).double()[:, None] ** 2


def test_samples_that_have_converged_are_no_longer_evaluated():
    fn, n = Stretched(64, 6), 64
    answer = minimize(fn, starts(64, 6), GradientDescent(steps=4000), given=(torch.arange(n),)).raise_if_failed()
    assert answer.steps.max() > 4 * answer.steps.float().median()  # a few take long
    spent = fn.spent
    assert (spent >= answer.evaluations).all()
    assert spent.sum() < 0.5 * n * answer.steps.max()
    # Those that are still going are gathered once they are half of those computed, so that at most as many again are.
    assert spent.sum() <= 2 * answer.evaluations.sum()
    # The sample that takes longest is evaluated as often as it says, to the last.
    assert spent[answer.steps.argmax()] == answer.evaluations.max()


def test_when_samples_are_gathered_no_more_than_half_of_those_computed_has_ended():
    fn = Stretched(32, 4)
    answer = minimize(fn, starts(32, 4), given=(torch.arange(32),), solver=LBFGS(tolerance=1e-9))
    for step, rows in enumerate(fn.calls[3:-1], 1):  # from the first step to the last
        assert (answer.steps[rows] >= step).double().mean() > 0.5


@pytest.mark.parametrize("kind", [kind for kind in every("ebm.solvers", Solver) if kind.id not in REFERENCES])
def test_no_sample_is_evaluated_less_often_than_it_says_and_seldom_more(kind):
    fn, n = Stretched(16, 2), 16
    answer = minimize(fn, starts(16, 2), make(kind), given=(torch.arange(n),))
    derivatives = kind.__name__ in {"Newton", "GaussNewton", "ProximalGradient"}  # products without calls of fn
    assert derivatives or (fn.spent >= answer.evaluations).all()
    assert fn.spent.sum() <= 2 * answer.evaluations.sum() + 3 * n


@kinds
def test_an_answer_is_the_same_with_and_without_gathering_and_in_any_order(kind):
    n, order = 12, torch.randperm(12, generator=torch.Generator().manual_seed(0))
    fn, start = Stretched(n, 2), starts(n, 2)
    gathered = minimize(fn, start, make(kind), given=(torch.arange(n),))
    whole = minimize(lambda_of(fn, torch.arange(n)), start, make(kind))
    permuted = minimize(fn, start[order], make(kind), given=(order,))
    # Matrix products of fewer rows may round differently, which steps of a solve may carry on.
    for other, rows in ((whole, torch.arange(n)), (permuted, order)):
        torch.testing.assert_close(other.z, gathered.z[rows], atol=1e-10, rtol=1e-10)
        assert torch.equal(other.status, gathered.status[rows])
        assert (other.steps - gathered.steps[rows]).abs().max() <= 1


def lambda_of(fn, rows):
    """The function of z alone, still a sum of squares."""
    bound = Quadratic(1, 1)
    bound.residuals = lambda z: fn.residuals(z, rows)
    return bound


def separable(z, y):
    """An energy in arithmetic that is done feature by feature: no product of matrices."""
    a, b = (z - y).unbind(-1)
    return (a * a - 1) * (a * a - 1) + b * b * (2 + a) * (2 + a)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_where_arithmetic_allows_the_answer_of_a_sample_is_the_same_to_the_last_bit(dtype):
    y = normal(64, 2, dtype=dtype)
    together = minimize(separable, torch.zeros_like(y), GradientDescent(0.02), given=(y,))
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    permuted = minimize(separable, torch.zeros_like(y), GradientDescent(0.02), given=(y[order],))
    whole = minimize(lambda z: separable(z, y), torch.zeros_like(y), GradientDescent(0.02))
    assert len(together.steps.unique()) > 5
    for name in ("z", "energy", "status", "steps", "evaluations", "gradient_norm"):
        assert torch.equal(getattr(permuted, name), getattr(together, name)[order])
        assert torch.equal(getattr(whole, name), getattr(together, name))
    for i in (0, 17, 63):
        alone = minimize(separable, torch.zeros(1, 2, dtype=dtype), GradientDescent(0.02), given=(y[i : i + 1],))
        assert torch.equal(alone.z[0], together.z[i])


@pytest.mark.parametrize("gathers", [True, False], ids=["gathered", "whole"])
@pytest.mark.parametrize("where", ["from the start", "on the way"])
@pytest.mark.parametrize("solver", [LBFGS(), GradientDescent(0.02)], ids=repr)
def test_one_sample_that_is_no_number_leaves_the_other_255_as_they_were(gathers, where, solver):
    y, ill = normal(256, 2), torch.arange(256) == 99
    edge = -torch.inf if where == "from the start" else 0.02

    def treacherous(z, y, ill):
        return torch.where(ill & (z.abs().amax(-1) > edge), torch.nan, separable(z, y))

    start = torch.zeros_like(y)
    if gathers:
        healthy = minimize(separable, start, solver, given=(y,))
        answer = minimize(treacherous, start, solver, given=(y, ill))
    else:
        healthy = minimize(lambda z: separable(z, y), start, solver)
        answer = minimize(lambda z: treacherous(z, y, ill), start, solver)
    assert healthy.converged.all()
    assert (answer.z - healthy.z)[~ill].abs().max() <= 1e-10  # products of the memory of L-BFGS may round differently
    assert torch.equal(answer.status[~ill], healthy.status[~ill])
    assert answer.status[99] in (Status.NOT_FINITE, Status.STALLED)
    if where == "from the start":
        assert answer.status[99] == Status.NOT_FINITE
        assert answer.steps[99] == 0
    assert answer.z.isfinite().all()
    with pytest.raises(RuntimeError, match="1 of 256"):
        answer.raise_if_failed()


def test_under_gathering_a_trace_shows_every_sample_on_its_way_and_at_rest():
    y = normal(32, 2)
    gathered = minimize(separable, torch.zeros_like(y), GradientDescent(0.02), given=(y,), trace=True)
    whole = minimize(lambda z: separable(z, y), torch.zeros_like(y), GradientDescent(0.02), trace=True)
    assert torch.equal(gathered.trace.z, whole.trace.z)
    assert torch.equal(gathered.trace.energy, whole.trace.energy)
    assert torch.equal(gathered.trace.gradient_norm, whole.trace.gradient_norm)


def test_restarts_are_gathered_too():
    fn, n = Stretched(16, 3), 16
    solver = GradientDescent(steps=4000)
    answer = minimize(fn, starts(16, 3), solver, given=(torch.arange(n),), restarts=Restarts(3, spread=0.1))
    spent = fn.spent
    assert (spent >= answer.evaluations).all()
    assert spent.sum() <= 2 * answer.evaluations.sum()
    assert torch.equal(answer.evaluations, answer.starts.evaluations.sum(0))


@pytest.mark.parametrize("batch", [0, 1])
@kinds
def test_a_batch_may_hold_one_sample_or_none(kind, batch):
    fn = Stretched(2, 2)
    for within in (None, Box(-10.0, 10.0)):
        answer = minimize(
            fn, starts(2, 2)[:batch], make(kind), given=(torch.arange(batch),), restarts=2, trace=True, within=within
        )
        assert answer.z.shape == (batch, 2)
        assert answer.starts.z.shape == (2, batch, 2)
        assert answer.energy.shape == answer.status.shape == answer.evaluations.shape == (batch,)
        assert answer.trace.energy.shape[1:] == (batch,)


def test_an_energy_that_remembers_the_size_of_its_batch_is_told_so():
    y = normal(8, 3) * torch.linspace(0, 1, 8).double()[:, None]
    with pytest.raises(
        ValueError, match=r"the energy of \d samples has shape \(8,\).* called with some of the samples"
    ):
        minimize(lambda z: z.mean() * 0 + (z.sum(-1).mean() - y).square().sum(-1), torch.zeros_like(y), given=())
