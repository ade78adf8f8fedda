import pytest
import torch
from conftest import normal

from ebm import LBFGS, minimize
from ebm.constraints import Ball, Box, NonNegative, Simplex, Sphere
from ebm.domain import Domain
from ebm.layout import Layout
from ebm.penalties import L1, NonNegativeL1
from ebm.solvers import ProximalGradient

# Of solves to a gradient of 1e-6, where curvatures are 2.
SOLVED = {"atol": 1e-6, "rtol": 0}


def to_targets(z, targets):
    """`sum |part - target|^2` over the parts of a dict, whatever features each has."""
    return sum((z[name] - targets[name]).square().flatten(1).sum(-1) for name in targets)


TARGETS = {"a": normal(5, 3, seed=1), "b": normal(5, 2, 4, seed=2), "c": normal(5, seed=3)[:, None]}


def zeros():
    return {name: torch.zeros_like(target) for name, target in TARGETS.items()}


def solved(within=None, penalty=None):
    solver = ProximalGradient(tolerance=1e-6) if penalty else LBFGS(tolerance=1e-6)
    answer = minimize(to_targets, zeros(), solver, given=(TARGETS,), within=within, penalty=penalty)
    return answer.raise_if_failed().z


def test_each_part_of_z_has_its_own_constraint():
    z = solved(within={"a": NonNegative(), "b": Simplex(), "c": None})
    # The minimum of a distance is a projection, for a simplex of each row along the last axis.
    torch.testing.assert_close(z["a"], TARGETS["a"].relu(), **SOLVED)
    torch.testing.assert_close(z["b"], Simplex().project(TARGETS["b"]), **SOLVED)
    torch.testing.assert_close(z["c"], TARGETS["c"], **SOLVED)


def test_a_constraint_is_found_by_its_key_in_whatever_order_they_stand():
    z = solved(within={"c": Box(-0.1, 0.1), "b": None, "a": NonNegative()})
    torch.testing.assert_close(z["a"], TARGETS["a"].relu(), **SOLVED)
    torch.testing.assert_close(z["b"], TARGETS["b"], **SOLVED)
    torch.testing.assert_close(z["c"], TARGETS["c"].clamp(-0.1, 0.1), **SOLVED)


def test_one_part_may_be_constrained_and_another_penalised():
    z = solved(
        within={"a": Ball(0.5), "b": None, "c": None}, penalty={"a": None, "b": L1(0.4), "c": NonNegativeL1(0.2)}
    )
    torch.testing.assert_close(z["a"], Ball(0.5).project(TARGETS["a"]), **SOLVED)
    # Soft thresholds by half of the strength, as the curvature is 2.
    torch.testing.assert_close(z["b"], torch.nn.functional.softshrink(TARGETS["b"], 0.2), **SOLVED)
    torch.testing.assert_close(z["c"], (TARGETS["c"] - 0.1).relu(), **SOLVED)


def test_one_term_holds_for_every_part():
    z = solved(within=Box(-0.2, 0.3))
    for name, part in z.items():
        torch.testing.assert_close(part, TARGETS[name].clamp(-0.2, 0.3), **SOLVED)
    z = solved(penalty=L1(0.4))
    for name, part in z.items():
        torch.testing.assert_close(part, torch.nn.functional.softshrink(TARGETS[name], 0.2), **SOLVED)


def test_one_term_for_a_part_that_is_a_tree_itself_holds_for_all_of_it():
    target = normal(4, 3)
    start = {"pair": (torch.zeros(4, 3), torch.zeros(4, 3)), "rest": [torch.zeros(4, 3)]}

    def fn(z):
        return sum((part.double() - target).square().sum(-1) for part in (*z["pair"], *z["rest"]))

    within = {"rest": [None], "pair": (NonNegative(), Box(-0.1, 0.1))}
    z = minimize(fn, start, within=within).z
    assert (z["pair"][0] >= 0).all()
    assert (z["pair"][1].abs() <= 0.1).all()
    assert (z["rest"][0] < -0.1).any()
    z = minimize(fn, start, within={"pair": NonNegative(), "rest": None}).z
    assert all((part >= 0).all() for part in z["pair"])
    assert (z["rest"][0] < -0.1).any()


def test_a_latent_that_is_one_number_a_sample_is_a_row_of_one():
    target = normal(6)
    answer = minimize(lambda z: (z - target).square(), torch.zeros(6).double(), within=Box(torch.tensor([-0.3]), 0.2))
    torch.testing.assert_close(answer.z, target.clamp(-0.3, 0.2), **SOLVED)
    on_both_ends = minimize(lambda z: (z - target).square(), 0.1 * target, within=Sphere(2.0))
    torch.testing.assert_close(on_both_ends.z, 2 * target.sign(), **SOLVED)


def test_bounds_that_broadcast_to_the_last_axes_hold_where_they_stand():
    target, upper = normal(5, 2, 4), torch.tensor([[0.1], [torch.inf]])
    z = minimize(lambda z: (z - target).square().sum((-2, -1)), torch.zeros(5, 2, 4).double(), within=Box(0, upper)).z
    torch.testing.assert_close(z, torch.stack([target[:, 0].clamp(0, 0.1), target[:, 1].relu()], 1), **SOLVED)


def test_an_energy_is_called_inside_its_constraints_alone_even_to_see_its_shape():
    seen = []

    def entropy(z):
        seen.append(z.detach())
        assert (z >= 0).all(), "the logarithm of a negative number"
        return (z * (z + 1e-9).log()).sum(-1)

    answer = minimize(entropy, -torch.ones(2, 3, 4), within=Simplex())
    torch.testing.assert_close(answer.z, torch.full((2, 3, 4), 0.25))
    assert all((z.sum(-1) - 1).abs().max() < 1e-5 for z in seen)


@pytest.mark.parametrize(
    "within",
    [
        {"a": NonNegative(), "b": None},
        {"a": None, "b": None, "c": None, "d": NonNegative()},
        {"a": NonNegative(), "b": (None, NonNegative()), "c": None},
        {"a": 1.0, "b": None, "c": None},
        (NonNegative(), None, None),
        [NonNegative()],
        NonNegative,
    ],
    ids=["one too few", "one too many", "deeper than z", "a number", "a tuple", "a list", "a class"],
)
@pytest.mark.parametrize("name", ["within", "penalty"])
def test_a_tree_of_terms_of_another_structure_is_refused(within, name):
    with pytest.raises(ValueError, match="one term for all of z, or a tree of terms of the same structure as z"):
        solved(**{name: within})


def test_a_tuple_of_terms_that_is_one_short_is_refused():
    with pytest.raises(ValueError, match=r"for a part such as \(None, None\) that cannot be \(NonNegative\(\),\)"):
        minimize(lambda z: z[0].sum(-1), (torch.zeros(2, 3), torch.zeros(2, 3)), within=(NonNegative(),))


def test_one_part_cannot_have_both_a_constraint_and_a_penalty():
    with pytest.raises(ValueError, match=r"both NonNegative\(\) and L1\(.*\), .* do not compose .* use NonNegativeL1"):
        minimize(lambda z: z.sum(-1), torch.zeros(2, 3), within=NonNegative(), penalty=L1(0.1))
    with pytest.raises(ValueError, match="do not compose"):
        solved(within=Box(0, 1), penalty={"a": None, "b": L1(0.1), "c": None})


def test_a_term_that_does_not_fit_its_part_is_refused_by_what_does_not():
    with pytest.raises(
        ValueError, match=r"`lower` of shape \(4,\) does not broadcast to the last axes of z.* \(4, 3\)"
    ):
        minimize(lambda z: z.square().sum(-1), torch.zeros(4, 3), within=Box(torch.zeros(4), 1.0))
    with pytest.raises(ValueError, match="the box is empty"):
        solved(within={"a": None, "b": Box(1.0, 0.0), "c": None})


def test_a_penalty_needs_a_solver_that_takes_proximal_steps():
    with pytest.raises(ValueError, match=r"LBFGS follows gradients, .* use ProximalLBFGS, or write a smooth penalty"):
        minimize(lambda z: z.square().sum(-1), torch.zeros(4, 3), LBFGS(), penalty=L1(0.1))


def test_z_without_constraints_has_no_domain():
    layout = Layout.of(TARGETS, torch.Size([5]))
    assert Domain.of(layout, None, None) is None
    assert Domain.of(layout, dict.fromkeys(TARGETS), dict.fromkeys(TARGETS)) is None
    assert not Domain.of(layout, NonNegative(), None).penalised
    assert Domain.of(layout, None, {"a": None, "b": L1(0.1), "c": None}).penalised


def test_rows_are_seen_by_each_term_as_its_part_of_z():
    layout = Layout.of(TARGETS, torch.Size([5]))
    domain = Domain.of(layout, {"a": NonNegative(), "b": Simplex(), "c": None}, {"a": None, "b": None, "c": L1(0.7)})
    rows = layout.rows(TARGETS)
    inside = layout.tree(domain.project(rows))
    assert torch.equal(inside["a"], TARGETS["a"].relu())
    assert torch.equal(inside["b"], Simplex().project(TARGETS["b"]))
    assert torch.equal(inside["c"], TARGETS["c"])
    torch.testing.assert_close(domain.cost(rows), 0.7 * TARGETS["c"][:, 0].abs())
    step = torch.linspace(0.1, 0.5, 5, dtype=torch.float64)[:, None]
    nearest = layout.tree(domain.prox(rows, step))
    torch.testing.assert_close(nearest["c"], TARGETS["c"].sign() * (TARGETS["c"].abs() - 0.7 * step).relu())
    assert torch.equal(nearest["a"], inside["a"])


def test_no_samples_pass_through_a_domain():
    layout = Layout.of({name: target[:0] for name, target in TARGETS.items()}, torch.Size([0]))
    domain = Domain.of(layout, {"a": Ball(), "b": Simplex(), "c": None}, {"a": None, "b": None, "c": L1(0.7)})
    none = torch.zeros(0, 12)
    assert domain.project(none).shape == domain.tangent(none, none).shape == domain.free(none, none, none).shape
    assert domain.prox(none, none[:, :1]).shape == domain.slope(none, none).shape == (0, 12)
    assert domain.cost(none).shape == (0,)
