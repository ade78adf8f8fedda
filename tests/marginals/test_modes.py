"""Which modes are found, counted once and trusted."""

import pytest
import torch
from conftest import normal
from integrals import SOLVER, Folded, Quadratic

from ebm import ImportanceSampling, Laplace, Lebesgue, Normal, Restarts, Uniform, marginalise
from ebm.marginals.modes import find_modes
from ebm.minimize import pose

FLAT = Lebesgue()


def wells(z):
    """Minima of energy zero at every corner of the cube between -1 and 1, with curvature 8."""
    return (z.square() - 1).square().sum(-1)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_each_corner_of_a_cube_is_one_mode_however_many_starts_lead_there(d):
    problem, rows = pose(wells, normal(3, d))
    _, modes = find_modes(problem, rows, FLAT, 10.0, SOLVER, Restarts(200, spread=1.5))
    assert len(modes) == 2**d
    assert modes.distinct.all()
    assert modes.strict.all()
    corners = {tuple(corner) for corner in modes.z[:, 0].sign().tolist()}
    assert len(corners) == 2**d
    # A Newton step from a gradient of 1e-8 leaves rounding.
    torch.testing.assert_close(modes.z.abs(), torch.ones_like(modes.z), atol=1e-12, rtol=0)
    torch.testing.assert_close(modes.curvatures, torch.full_like(modes.z, 8), atol=1e-10, rtol=0)


def test_corners_add_up_where_one_of_them_misses_the_others():
    start = 1 + 0.1 * normal(3, 2)
    one, four = (marginalise(wells, start, Laplace(50.0, FLAT), restarts=Restarts(n, 3.0)) for n in (1, 40))
    assert one.modes.tolist() == [1] * 3
    assert four.modes.tolist() == [4] * 3
    # log 4 / beta, but for modes that are found to a tolerance of 1e-4, squared.
    torch.testing.assert_close(
        one.value - four.value, torch.full_like(one.value, torch.tensor(4.0).log().item() / 50), atol=1e-8, rtol=0
    )


def test_each_sample_has_modes_of_its_own():
    depth = torch.tensor([[0.0], [5.0]], dtype=torch.float64)  # tilted by 5 the wells are one

    def fn(z, depth):
        return (z.square() - 1).square().sum(-1) + (depth * z).sum(-1)

    answer = marginalise(fn, depth * 0 + 0.3, Laplace(10.0, FLAT), given=(depth,), restarts=Restarts(20, 2.0))
    assert answer.modes.tolist() == [2, 1]
    assert answer.search.converged.all()


def test_a_saddle_is_left_out_and_the_error_says_so():
    start = torch.zeros(2, 2, dtype=torch.float64)  # where the slope is zero, and the solver stays
    answer = marginalise(wells, start, Laplace(10.0, FLAT))
    assert answer.modes.tolist() == [0, 0]
    assert answer.error.tolist() == [torch.inf, torch.inf]
    assert answer.value.tolist() == [2.0, 2.0]  # the energy there


def test_a_mode_at_the_edge_of_the_support_is_left_out_of_laplace_and_sampled_by_importance():
    def fn(z):
        return 3 * (z - 2).square().sum(-1)

    start = torch.zeros(1, 1, dtype=torch.float64)
    axis = torch.linspace(0, 1, 100001, dtype=torch.float64)
    exact = -torch.trapezoid(torch.exp(-4 * fn(axis[:, None])), axis).log() / 4
    laplace = marginalise(fn, start, Laplace(4.0, Uniform(0, 1)))
    assert laplace.error.isinf().all()
    sampled = marginalise(fn, start, ImportanceSampling(4.0, Uniform(0, 1)))
    # Half of the proposal is thrown away; measured 3e-3.
    torch.testing.assert_close(sampled.value[0], exact, atol=0.02, rtol=0)


def test_importance_sampling_survives_starts_that_lead_nowhere():
    start = torch.zeros(1, 1, dtype=torch.float64)
    flat = marginalise(lambda z: 0 * z.sum(-1), start, ImportanceSampling(1.0, Normal(2.0)))
    torch.testing.assert_close(flat.value, flat.value * 0, atol=0.02, rtol=0)  # log 1; 1024 samples
    saddle = marginalise(wells, start, ImportanceSampling(1.0, Normal()))
    axis = torch.linspace(-8, 8, 8001, dtype=torch.float64)[:, None]
    exact = -torch.logsumexp(Normal().log_density(axis) - wells(axis), 0) - torch.tensor(16 / 8000).log()
    torch.testing.assert_close(saddle.value[0], exact, atol=0.02, rtol=0)  # measured 4e-3


def test_where_the_energy_is_not_a_number_a_sample_weighs_nothing():
    def fn(z):  # the logarithm of a negative number where z < 0
        return z.sum(-1).log().square()

    start = torch.ones(2, 1, dtype=torch.float64)
    half = torch.linspace(1e-6, 9, 900001, dtype=torch.float64)[:, None]
    exact = -torch.logsumexp(Normal().log_density(half) - fn(half), 0) - torch.tensor(1e-5).double().log()
    answer = marginalise(fn, start, ImportanceSampling(1.0))
    torch.testing.assert_close(answer.value, exact.expand(2), atol=0.02, rtol=0)  # 1024 samples; measured 1e-3


@pytest.mark.parametrize("fn", [Folded(1, samples=2), lambda z, y: (z - y).square().sum(-1)], ids=["any", "quadratic"])
def test_second_derivatives_of_laplace_raise(fn):
    y = normal(2, 3 if isinstance(fn, Folded) else 1).requires_grad_()
    start = torch.zeros(2, 1, dtype=torch.float64)
    value = marginalise(fn, start, Laplace(10.0), given=(y,), solver=SOLVER).value
    (gradient,) = torch.autograd.grad(value.sum(), y, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivatives of Laplace"):
        torch.autograd.grad(gradient.square().sum(), y)


def test_chunks_change_neither_the_value_nor_the_gradient():
    fn = Folded(2, samples=3)
    y = fn.y.clone().requires_grad_()
    answers = [
        marginalise(fn, fn.start, ImportanceSampling(4.0, rows_at_once=rows), given=(y,), restarts=4)
        for rows in (2**20, 500)
    ]
    torch.testing.assert_close(*(answer.value for answer in answers), atol=1e-12, rtol=1e-12)  # rounding
    gradients = [torch.autograd.grad(answer.value.sum(), y)[0] for answer in answers]
    torch.testing.assert_close(*gradients, atol=1e-12, rtol=1e-12)  # rounding of another order of sums


def test_a_looser_solver_costs_importance_sampling_little():
    fn = Quadratic(5, 3)
    answer = marginalise(fn, torch.zeros_like(fn.centre), ImportanceSampling(5.0), given=fn.given)
    tight = marginalise(fn, torch.zeros_like(fn.centre), ImportanceSampling(5.0), given=fn.given, solver=SOLVER)
    torch.testing.assert_close(answer.value, tight.value, atol=1e-8, rtol=0)  # modes are polished by a Newton step
