"""How solves end: what a status says is so, for every solver; the way there; and steps that are compiled."""

import shutil
import sys

import pytest
import torch
from conftest import every, normal
from test_contracts_solvers import Quadratic, make, valley

from ebm import LBFGS, Adam, GradientDescent, Restarts, Status, SumOfSquares, minimize
from ebm.constraints import Box
from ebm.penalties import L1
from ebm.problem import Point
from ebm.solvers import ProximalGradient, ProximalLBFGS, Solver
from ebm.solvers.line_search import LARGE, choose

every_solver = every("ebm.solvers", Solver)
gradient_kinds = pytest.mark.parametrize("kind", [kind for kind in every_solver if not kind.values[0].gradient_free])
blind_kinds = pytest.mark.parametrize("kind", [kind for kind in every_solver if kind.values[0].gradient_free])
kinds = pytest.mark.parametrize("kind", every_solver)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


@SumOfSquares
def crooked(z):
    """Valleys, saddles and kinks whose curvature is infinite: some samples converge, others do not."""
    a, b = z.unbind(-1)
    return torch.stack([a - 1, 3 * (b - a * a), 0.3 * (a * b + 1e-6).abs().sqrt()], -1)


def slope_at(fn, z):
    z = z.detach().requires_grad_()
    return torch.autograd.grad(fn(z).sum(), z)[0].abs().amax(-1)


@gradient_kinds
@dtypes
@pytest.mark.parametrize("fn", [valley, crooked], ids=["smooth", "kinked"])
def test_a_success_is_not_denied_by_its_own_gradient(kind, dtype, fn):
    starts = 2 * normal(8, 2, dtype=dtype)
    for solver in (kind(), kind(steps=15)):
        answer = minimize(fn, starts, solver, given=())
        slope = slope_at(fn, answer.z)
        assert (slope[answer.converged] <= solver.tolerance).all()
        assert (slope[~answer.converged & answer.z.isfinite().all(-1)] > solver.tolerance).all()
        assert torch.equal(answer.energy, fn(answer.z))
        assert (answer.energy <= fn(starts)).all()
        # Two passes over one graph, in rows of another number.
        torch.testing.assert_close(answer.gradient_norm, slope, rtol=1e-4, atol=10 * torch.finfo(dtype).eps)


@blind_kinds
def test_a_solver_that_takes_no_gradient_says_nothing_of_it(kind):
    answer = minimize(valley, normal(3, 2), make(kind))
    assert answer.gradient_norm.isnan().all()
    assert torch.equal(answer.energy, valley(answer.z))


CUBES = torch.tensor([2.0, 3.0, 5.0, 7.0, 11.0])


@SumOfSquares
def cubic(z):
    """Zero at the cube roots, where the slope of a feature, up to 6 z^2 z^3 = 320, rounds by 2e-5."""
    return torch.cat([z**3 - CUBES, torch.ones_like(z[:, :1])], -1)


@gradient_kinds
def test_below_what_single_precision_resolves_a_solve_stalls_at_its_best_point_before_it_runs_out(kind):
    starts = CUBES.pow(1 / 3) + 0.2 * normal(6, 5, dtype=torch.float32)
    settings = {"rate": 0.003} if kind.__name__ in {"Adam", "GradientDescent"} else {}
    answer = minimize(cubic, starts, kind(tolerance=1e-8, **settings))
    assert (answer.status == Status.STALLED).all()
    assert (answer.steps < kind(tolerance=1e-8).steps - 100).all() or kind.at_once
    # It is there all the same: curvatures are at least 18 * 2^(4/3) = 45, and slopes resolved to 1e-4 or better.
    atol = 1e-3 if kind is Adam else 1e-4  # whose steps hardly shrink from its rate
    torch.testing.assert_close(answer.z, CUBES.pow(1 / 3).expand(6, 5), atol=atol, rtol=0)
    assert "use float64 or raise `tolerance`" in answer.summary()


@kinds
def test_a_trace_leads_from_the_start_to_the_answer_and_rests_there(kind):
    starts = 0.5 * normal(7, 2)
    answer = minimize(valley, starts, make(kind), trace=True)
    trace = answer.trace
    assert trace.z.shape == (len(trace.energy), 7, 2)
    assert trace.energy.shape == trace.gradient_norm.shape == (len(trace.energy), 7)
    if kind.__name__ not in ("Enumeration", "CategoricalCrossEntropy"):  # which begin at a candidate
        assert torch.equal(trace.z[0], starts)
    torch.testing.assert_close(trace.energy, torch.stack([valley(z) for z in trace.z]))
    for i in range(7):
        if answer.converged[i]:
            assert torch.equal(trace.z[-1, i], answer.z[i])
            if not kind.at_once:
                assert len(trace.energy) == answer.steps.max() + 1
                assert (trace.z[answer.steps[i] :, i] == answer.z[i]).all()
    assert minimize(valley, starts, make(kind)).trace is None


def test_the_trace_of_restarts_is_that_of_the_one_that_was_kept():
    def two_wells(z):
        return ((z.square() - 1).square() + 0.2 * z).sum(-1)

    start = torch.full((4, 1), 0.9, dtype=torch.float64)
    answer = minimize(two_wells, start, restarts=Restarts(6, spread=2.0), trace=True)
    assert answer.trace.z.shape[1:] == (4, 1)
    assert torch.equal(answer.trace.z[-1], answer.z)
    assert (answer.z < 0).all()  # the lower of the two, which the given start does not lead to
    assert not (answer.trace.z[0] == start).all()


def test_a_trace_holds_no_graph_and_fits_any_tree():
    target = normal(2, 3, 4)
    held = target.clone().requires_grad_()

    def fn(z):
        return (z["a"] - held).square().sum(-1) + (z["b"] - 1).square()

    answer = minimize(fn, {"a": torch.zeros(2, 3, 4).double(), "b": torch.zeros(2, 3).double()}, trace=True)
    assert answer.energy.requires_grad
    assert not any(part.requires_grad for part in (answer.trace.z["a"], answer.trace.energy))
    assert answer.trace.z["a"].shape[1:] == (2, 3, 4)
    assert answer.trace.z["b"].shape[1:] == answer.trace.energy.shape[1:] == (2, 3)


@pytest.mark.parametrize("patience", [3, 30])
def test_a_sample_that_gets_nowhere_stalls_once_its_patience_is_over(patience):
    def staircase(z):
        return (z - z.detach().round()).sum(-1)  # its slope of one leads nowhere

    answer = minimize(staircase, torch.full((2, 1), 0.4), GradientDescent(1.0, patience=patience))
    assert answer.status.tolist() == [Status.STALLED] * 2
    assert answer.steps.tolist() == [patience] * 2


def test_every_sample_has_the_status_of_its_own_end():
    def fn(z, kind):
        slow, fast = 1e-4 * z.square().sum(-1), z.square().sum(-1)
        # One that runs away to minus infinity, one that is slow, one that is not defined after a while, one that works.
        cliff = torch.where(z.sum(-1) < 1, torch.nan, fast)
        return torch.stack([-fast.square(), slow, cliff, fast], -1).gather(-1, kind[:, None])[:, 0]

    answer = minimize(fn, torch.ones(4, 2), GradientDescent(steps=50), given=(torch.arange(4),))
    ends = [Status.NOT_FINITE, Status.OUT_OF_STEPS, Status.NOT_FINITE, Status.CONVERGED]
    assert answer.status.tolist() == ends
    assert answer.z.isfinite().all()
    lines = answer.summary().splitlines()
    assert lines[0].startswith("2 of 4 not finite: ")
    assert {line.split(":")[0] for line in lines[1:]} == {"1 of 4 out of steps", "1 of 4 converged"}
    assert all(Status(status).advice in answer.summary() for status in ends)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
def test_steps_that_are_compiled_are_those_that_are_not_for_one_solver_after_another():
    fn, start = Quadratic(5, 3), torch.zeros(5, 3, dtype=torch.float64)
    cases = [
        (LBFGS(), {}),
        (ProximalGradient(), {"penalty": L1(0.1)}),
        (ProximalLBFGS(), {"penalty": L1(0.1)}),
        (LBFGS(tolerance=1e-6), {"within": Box(-0.3, 0.3)}),
    ]
    for solver, where in cases:
        eager, compiled = (minimize(fn, start, solver, compile=compile, **where) for compile in (False, True))
        assert torch.equal(compiled.status, eager.status)
        assert eager.converged.all()
        # Sums that are fused round in another order.
        torch.testing.assert_close(compiled.z, eager.z, atol=1e-9, rtol=0)
        assert (compiled.steps - eager.steps).abs().max() <= 1


@pytest.mark.parametrize("solver", [LBFGS(), Adam()], ids=repr)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_what_the_cpu_finds(solver):
    fn = Quadratic(32, 5)
    on_cpu = minimize(fn, torch.zeros(32, 5).double(), solver)
    fn.root, fn.minimum, fn.constant = fn.root.cuda(), fn.minimum.cuda(), fn.constant.cuda()
    on_gpu = minimize(fn, torch.zeros(32, 5).double().cuda(), solver, within=Box(-9.0, 9.0))
    assert on_gpu.z.is_cuda
    assert on_gpu.converged.all()
    # Both within the tolerance of 1e-4 in each of five coordinates, over a curvature of one.
    torch.testing.assert_close(on_gpu.z.cpu(), on_cpu.z, atol=1e-3, rtol=0)


def test_a_slope_that_falls_slowly_below_the_rounding_of_the_energy_is_progress_all_the_same():
    # In float32, near a minimum of 0.75, where each step takes a twentieth off the slope and nothing off the energy.
    def bowl(z):
        return 2.75 * (z[:, 0] - 2).square() + 0.75

    answer = minimize(bowl, torch.tensor([[3.0]]), GradientDescent(rate=0.01))
    assert answer.status.tolist() == [Status.CONVERGED]
    slow = minimize(bowl, torch.tensor([[3.0]]), GradientDescent(rate=0.01, patience=3))
    assert slow.status.tolist() == [Status.CONVERGED]


def test_a_large_batch_is_chosen_from_row_by_row_as_a_small_one_is_number_by_number():
    n = LARGE // 64
    new, old = (Point(normal(n, 64, seed=k), normal(n, seed=k + 1), normal(n, 64, seed=k + 2)) for k in (0, 3))
    mask = normal(n, seed=6) > 0
    whole = choose(mask, new, old)
    parts = [choose(mask[i::2], *(Point(*(part[i::2] for part in each)) for each in (new, old))) for i in (0, 1)]
    for i, part in enumerate(parts):
        assert all(torch.equal(a[i::2], b) for a, b in zip(whole, part, strict=True))
    assert torch.equal(whole.z, torch.where(mask[:, None], new.z, old.z))
