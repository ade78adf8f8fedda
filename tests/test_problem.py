"""What an energy is asked, in which dtype and mode, and what is refused."""

import pytest
import torch
from conftest import normal
from torch.nn.functional import batch_norm

from ebm import LBFGS, GradientDescent, Implicit, Restarts, Status, SumOfSquares, minimize
from ebm.constraints import Box, Simplex
from ebm.minimize import pose
from ebm.penalties import L1
from ebm.problem import value_and_gradient
from ebm.solvers import CrossEntropyMethod, GaussNewton, Newton, ProximalGradient, ProximalLBFGS

TARGET = normal(6, 4)


def bowl(z, y):
    distance = (z - y).square().sum(-1)
    return distance + distance.square()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("solver", [LBFGS(), GradientDescent(), Newton()], ids=repr)
def test_half_precision_is_solved_in_single_and_comes_back_in_half(dtype, solver):
    # Targets that half precision holds, so that there is a minimum to be found.
    target = TARGET.to(dtype)
    answer = minimize(lambda z, y: (z - y).square().sum(-1), torch.zeros_like(target), solver, given=(target,))
    assert answer.z.dtype == dtype
    assert answer.energy.dtype == answer.gradient_norm.dtype == torch.float32
    assert answer.converged.all()
    assert torch.equal(answer.z, target)


def test_half_precision_says_that_it_has_converged_only_where_the_slope_of_the_answer_says_so_too():
    target = TARGET.bfloat16()

    def fn(z, y):  # its minimum is at roots that half precision does not hold
        return (z * z - y.abs() - 0.3).square().sum(-1)

    answer = minimize(fn, torch.ones_like(target), given=(target,))
    z = answer.z.clone().requires_grad_()
    slope = torch.autograd.grad(fn(z, target).sum(), z)[0].abs().amax(-1).float()
    assert (slope[answer.converged] <= LBFGS().tolerance).all()
    assert not answer.converged.all()
    # The last of eight bits.
    torch.testing.assert_close(answer.z, (target.abs() + 0.3).sqrt(), atol=0, rtol=2**-6)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("solver", [LBFGS(), Newton(), GaussNewton(), CrossEntropyMethod()], ids=repr)
@pytest.mark.parametrize("within", [None, Box(-0.5, 0.5)], ids=str)
def test_an_answer_is_the_same_in_every_mode_of_autograd(mode, solver, within):
    fn = SumOfSquares(lambda z, y: z - y)
    expected = minimize(fn, torch.zeros(6, 4).double(), solver, given=(TARGET,), within=within)
    with mode():
        answer = minimize(fn, torch.zeros(6, 4).double(), solver, given=(TARGET,), within=within)
        torch.testing.assert_close(answer.z, expected.z)
        assert torch.equal(answer.status, expected.status)


def test_a_start_that_was_made_in_inference_mode_can_be_solved_from_outside_of_it():
    with torch.inference_mode():
        start = torch.zeros(6, 4).double()
    answer = minimize(bowl, start, given=(TARGET,)).raise_if_failed()
    torch.testing.assert_close(answer.z, TARGET, atol=1e-4, rtol=0)
    assert not answer.z.is_inference()


def test_a_start_that_requires_grad_is_neither_changed_nor_followed_back_to():
    start = torch.zeros(6, 4, dtype=torch.float64, requires_grad=True)
    y = TARGET.clone().requires_grad_()
    answer = minimize(bowl, 1 * start, given=(y,))
    assert not answer.z.requires_grad
    answer.energy.sum().backward()
    assert start.grad is None
    assert torch.equal(start, torch.zeros_like(start))
    # The derivative at a minimum is the partial one, which is zero here.
    torch.testing.assert_close(y.grad, torch.zeros_like(y), atol=1e-3, rtol=0)


def test_how_a_start_and_what_is_held_lie_in_memory_changes_nothing():
    start, y = normal(6, 4, seed=1), TARGET
    scattered = torch.zeros(4, 12, dtype=torch.float64)[:, ::2].T
    scattered.copy_(start)
    assert not scattered.is_contiguous()
    expected = minimize(bowl, start, given=(y,))
    answer = minimize(bowl, scattered, given=(y.T.contiguous().T,))
    torch.testing.assert_close(answer.z, expected.z, atol=1e-10, rtol=0)  # sums in another order
    assert torch.equal(answer.status, expected.status)
    # One number for all of its places, which must not be written to.
    broadcast = torch.zeros(1, 1, dtype=torch.float64).expand(6, 4)
    torch.testing.assert_close(minimize(bowl, broadcast, given=(y,)).z, expected.z, atol=1e-4, rtol=0)
    assert (broadcast == 0).all()


def wells(z, y):
    """Many minima, each a little lower the closer it is to y."""
    return 4 * (1 - (3 * z).cos()).sum(-1) + 0.1 * (z - y).square().sum(-1)


@pytest.mark.parametrize("restarts", [4, Restarts(8, spread=3.0, seed=5)], ids=str)
@pytest.mark.parametrize("solver", [LBFGS(), CrossEntropyMethod(population=16, elites=4)], ids=repr)
def test_of_restarts_the_best_is_kept_for_each_sample_and_none_is_worse_than_without(restarts, solver):
    start = torch.full_like(TARGET, 2.0)
    once = minimize(wells, start, solver, given=(TARGET,))
    answer = minimize(wells, start, solver, given=(TARGET,), restarts=restarts)
    assert (answer.energy <= once.energy + 1e-12).all()
    assert (answer.energy < once.energy - 0.1).any()
    assert torch.equal(answer.energy, answer.starts.energy.amin(0))
    assert torch.equal(answer.evaluations, answer.starts.evaluations.sum(0))
    for i, best in enumerate(answer.starts.energy.argmin(0)):
        assert torch.equal(answer.z[i], answer.starts.z[best, i])
        for name in ("status", "steps"):
            assert getattr(answer, name)[i] == getattr(answer.starts, name)[best, i]
    again = minimize(wells, start, solver, given=(TARGET,), restarts=restarts)
    assert torch.equal(again.z, answer.z)


def test_the_first_of_restarts_is_the_given_start_and_their_seed_picks_the_others():
    start = torch.full_like(TARGET, 2.0)
    answer = minimize(wells, start, given=(TARGET,), restarts=Restarts(5))
    once = minimize(wells, start, given=(TARGET,))
    torch.testing.assert_close(answer.starts.z[0], once.z, atol=1e-10, rtol=0)  # rows of another number
    other = minimize(wells, start, given=(TARGET,), restarts=Restarts(5, seed=1))
    assert not torch.equal(other.starts.z[1:], answer.starts.z[1:])
    assert minimize(wells, start, given=(TARGET,), restarts=1).starts is None


def test_restarts_do_not_touch_the_global_generator_and_do_not_depend_on_the_batch():
    state = torch.get_rng_state()
    start = torch.full_like(TARGET, 2.0)
    together = minimize(wells, start, given=(TARGET,), restarts=4)
    assert torch.equal(torch.get_rng_state(), state)
    alone = minimize(wells, start[2:3], given=(TARGET[2:3],), restarts=4)
    torch.testing.assert_close(alone.starts.z[:, 0], together.starts.z[:, 2], atol=1e-10, rtol=0)


@pytest.mark.parametrize("given", [None, ()], ids=["whole", "gathered"])
def test_restarts_work_for_batches_of_several_axes(given):
    start = torch.full((2, 3, 2, 2), 1.5, dtype=torch.float64)

    def fn(z):
        return ((z.square() - 1).square() + 0.1 * z).sum((-2, -1))

    answer = minimize(fn, start, given=given, restarts=8, within=Box(-0.9, 2.0))
    assert answer.z.shape == start.shape
    assert answer.starts.z.shape == (8, *start.shape)
    assert answer.starts.energy.shape == answer.starts.status.shape == (8, 2, 3)
    assert (answer.starts.z >= -0.9).all()
    assert (answer.z < 0).any()


@pytest.mark.parametrize(
    "make",
    [lambda: Restarts(0), lambda: Restarts(3, spread=0.0), lambda: Restarts(3, spread=-1.0)],
    ids=["none", "no spread", "negative spread"],
)
def test_restarts_are_at_least_one_and_apart(make):
    with pytest.raises(ValueError, match="restarts are at least 1, with a positive spread, not Restarts"):
        make()
    with pytest.raises(ValueError, match="restarts are at least 1"):
        minimize(bowl, TARGET, given=(TARGET,), restarts=0)


@pytest.mark.parametrize("given", [None, ()], ids=["whole", "gathered"])
def test_an_energy_that_draws_noise_is_refused(given):
    for noisy in (
        lambda z: torch.nn.functional.dropout(z - 1).square().sum(-1),
        lambda z: (z - torch.rand_like(z)).square().sum(-1),
    ):
        with pytest.raises(ValueError, match=r"two evaluations of the energy at one z differ .* is there a dropout"):
            minimize(noisy, TARGET, given=given)


@pytest.mark.parametrize(
    "mixed",
    [lambda z: z - z.mean(0), lambda z: batch_norm(z, None, None, training=True), lambda z: z + z.flip(0)],
    ids=["less the mean", "normalised", "with a neighbour"],
)
def test_an_energy_that_mixes_samples_is_refused_where_its_rows_can_be_told_apart(mixed):
    with pytest.raises(ValueError, match=r"the energy of a sample depends on .* a normalisation over the batch\?"):
        minimize(lambda z: mixed(z).square().sum(-1) + z.square().sum(-1), normal(6, 4), given=())


def test_an_energy_that_does_not_use_z_is_refused_unless_no_derivative_is_asked_for():
    for still in (lambda z: TARGET.sum(-1), lambda z: z.detach().sum(-1), lambda z: z.round().detach().sum(-1)):
        with pytest.raises(
            ValueError, match=r"no derivative with respect to z: it does not use z, .* CrossEntropyMethod"
        ):
            minimize(still, TARGET)
    steps = minimize(lambda z: (4 * z).round().abs().sum(-1).detach(), TARGET, CrossEntropyMethod())
    assert (steps.energy == 0).all()


def test_a_part_that_an_energy_does_not_use_stays_where_it_was():
    start = (normal(6, 2), normal(6, 3, seed=1))
    answer = minimize(lambda z: (z[0] - 1).square().sum(-1), start, given=())
    torch.testing.assert_close(answer.z[0], torch.ones(6, 2).double(), atol=1e-4, rtol=0)
    assert torch.equal(answer.z[1], start[1])


def test_least_squares_are_asked_for_their_residuals_by_name():
    with pytest.raises(ValueError, match=r"Gauss-Newton needs the residuals .* `SumOfSquares\(residuals\)`"):
        minimize(bowl, TARGET, GaussNewton(), given=(TARGET,))
    fn = SumOfSquares(lambda z, y: z - y)
    torch.testing.assert_close(fn(TARGET, 2 * TARGET), TARGET.square().sum(-1))
    problem, rows = pose(fn, torch.zeros(2, 3, 4).double(), (TARGET.reshape(2, 3, 4),))
    torch.testing.assert_close(problem.residuals(rows), -TARGET)


@pytest.mark.parametrize("given_", [None, (TARGET,)], ids=["whole", "gathered"])
def test_candidates_are_evaluated_as_they_are_one_by_one(given_):
    fn = bowl if given_ else lambda z: bowl(z, TARGET)
    problem, rows = pose(fn, torch.zeros_like(TARGET), given_)
    candidates = normal(5, 6, 4, seed=3)
    expected = torch.stack([bowl(z, TARGET) for z in candidates])
    torch.testing.assert_close(problem.candidates(candidates), expected)
    torch.testing.assert_close(problem.repeated(5).energies(candidates.flatten(0, 1)), expected.flatten())
    point = problem(rows)
    assert torch.equal(point.energy, bowl(rows, TARGET))
    z = rows.clone().requires_grad_()
    torch.testing.assert_close(point.gradient, torch.autograd.grad(bowl(z, TARGET).sum(), z)[0])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_value_and_gradient_leave_no_graph(mode):
    with mode():
        energy, gradient = value_and_gradient(lambda z: bowl(z, TARGET), torch.ones_like(TARGET))
    assert not energy.requires_grad
    assert not gradient.requires_grad


def test_no_solver_but_a_proximal_one_is_chosen_where_there_is_a_penalty():
    once = minimize(lambda z, y: (z - y).square().sum(-1), torch.zeros(6, 4).double(), given=(TARGET,), penalty=L1(0.4))
    expected = torch.nn.functional.softshrink(TARGET, 0.2)
    torch.testing.assert_close(once.z, expected, atol=1e-4, rtol=0)
    same = minimize(
        lambda z, y: (z - y).square().sum(-1),
        torch.zeros(6, 4).double(),
        ProximalLBFGS(),
        given=(TARGET,),
        penalty=L1(0.4),
    )
    assert torch.equal(same.z, once.z)


def test_a_solve_of_no_steps_is_out_of_them():
    answer = minimize(bowl, torch.ones_like(TARGET), LBFGS(steps=0), given=(TARGET,), within=Simplex())
    assert (answer.status == Status.OUT_OF_STEPS).all()
    torch.testing.assert_close(answer.z, torch.full_like(TARGET, 0.25))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"solver": LBFGS}, r"`solver` is an instance of Solver, such as `LBFGS\(tolerance=1e-6\)`, not <class"),
        ({"solver": "LBFGS"}, r"`solver` is an instance of Solver, .* not 'LBFGS'"),
        ({"adjoint": Implicit}, r"`adjoint` is an instance of Adjoint, such as `Implicit\(\)`, not <class"),
        ({"restarts": 2.5}, r"`restarts` is an instance of Restarts, such as `Restarts\(4\)` or `4`, not 2.5"),
    ],
    ids=["a class", "a name", "the class of an adjoint", "half a restart"],
)
def test_an_argument_of_the_wrong_kind_is_named_with_what_it_should_be(arguments, said):
    with pytest.raises(TypeError, match=said):
        minimize(lambda z: (z - TARGET).square().sum(-1), torch.zeros_like(TARGET), **arguments)


@pytest.mark.parametrize("solver", [LBFGS(steps=-1), LBFGS(patience=0), LBFGS(tolerance=-1.0)], ids=repr)
def test_a_solver_that_could_not_end_well_is_refused(solver):
    with pytest.raises(
        ValueError, match="steps and a tolerance that are not negative, and a patience of at least 1: LBFGS"
    ):
        minimize(lambda z: (z - TARGET).square().sum(-1), torch.zeros_like(TARGET), solver)


@pytest.mark.parametrize(
    "make",
    [lambda: GradientDescent(rate=-1.0), lambda: LBFGS(history=0), lambda: ProximalGradient(rate=0.0)],
    ids=["rate", "history", "proximal rate"],
)
def test_settings_that_make_no_sense_are_refused_when_the_solver_is_made(make):
    with pytest.raises(ValueError, match="is positive and finite, not"):
        make()


def test_a_complex_energy_is_refused():
    with pytest.raises(ValueError, match=r"a real number for each sample, not torch.complex128"):
        minimize(lambda z: (z - TARGET).square().sum(-1) + 0j, torch.zeros_like(TARGET))
