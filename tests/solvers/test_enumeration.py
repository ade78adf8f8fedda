import dataclasses

import pytest
import torch
from conftest import normal
from torch import nn

from ebm import Energy, Enumeration, FreeEnergy, Sphere, Status, Unrolled, minimize


class Distance(Energy):
    """`|y - z|^2`: the codes are the candidates themselves."""

    def latent(self, hx, hy):
        return torch.zeros_like(hy)

    def cost(self, hx, hy, z):
        return (hy - z).square().sum(-1)


class Codebook(Energy):
    """`|y - codes' z|^2`: z is one-hot and says which code."""

    def __init__(self, codes):
        super().__init__()
        self.codes = nn.Parameter(codes)

    def latent(self, hx, hy):
        return hy.new_zeros(len(hy), len(self.codes))

    def cost(self, hx, hy, z):
        return (hy - z @ self.codes).square().sum(-1)


@pytest.mark.parametrize("chunk", [1, 7, 256])
def test_the_free_energy_of_a_codebook_is_vector_quantisation(chunk):
    codebook, y = normal(50, 3), normal(20, 3, seed=1)
    answer = FreeEnergy(Distance(), Enumeration(codebook, chunk)).infer(None, y)
    assert torch.equal(answer.z, codebook[torch.cdist(y, codebook).argmin(-1)])
    assert torch.equal(answer.energy, (y - answer.z).square().sum(-1))


def test_it_is_exact_after_one_step_and_says_what_it_cost():
    answer = minimize(lambda z: z.sin().sum(-1), normal(4, 2), Enumeration(normal(30, 2)))
    assert answer.converged.all()
    assert answer.steps.tolist() == [1] * 4
    assert answer.evaluations.tolist() == [31] * 4
    assert answer.gradient_norm.isnan().all()


@pytest.mark.parametrize("given", [None, ()], ids=["held", "given"])
def test_it_agrees_with_brute_force_whether_or_not_rows_can_be_told_apart(given):
    offsets, candidates = normal(5, 2, seed=3), normal(40, 2)

    def rough(z, offsets=offsets):
        return ((3 * z + offsets).cos() + 0.1 * z.square()).sum(-1)

    answer = minimize(rough, torch.zeros(5, 2), Enumeration(candidates), given=None if given is None else (offsets,))
    by_hand = torch.stack([rough(candidate.expand(5, 2).float()) for candidate in candidates])
    assert torch.equal(answer.z, candidates.float()[by_hand.argmin(0)])


@pytest.mark.parametrize("chunk", [1, 2, 256])
def test_of_equals_the_first_is_taken(chunk):
    candidates = torch.tensor([[3.0], [1.0], [-1.0], [1.0]])
    assert (
        minimize(lambda z: z.abs().sum(-1), torch.zeros(2, 1), Enumeration(candidates, chunk)).z.tolist() == [[1.0]] * 2
    )


def test_the_envelope_gives_the_codes_that_were_taken_their_gradient():
    energy, y = Codebook(normal(8, 3)), normal(20, 3, seed=1)
    FreeEnergy(energy, Enumeration(torch.eye(8, dtype=torch.float64)))(None, y).sum().backward()
    codes = energy.codes.detach().clone().requires_grad_()
    torch.cdist(y, codes).square().amin(-1).sum().backward()
    # A square root squared again.
    torch.testing.assert_close(energy.codes.grad, codes.grad, rtol=1e-9, atol=1e-9)


def test_unrolled_gives_candidates_that_are_learned_theirs():
    codes, y = normal(8, 3).requires_grad_(), normal(20, 3, seed=1)
    FreeEnergy(Distance(), Enumeration(codes), Unrolled())(None, y).sum().backward()
    expected = torch.zeros_like(codes)
    nearest = torch.cdist(y, codes.detach()).argmin(-1)
    expected.index_add_(0, nearest, 2 * (codes.detach()[nearest] - y))
    # The same sums in another order.
    torch.testing.assert_close(codes.grad, expected, rtol=1e-12, atol=1e-12)


def test_the_start_does_not_matter_even_where_it_is_lower_or_not_defined():
    candidates = torch.tensor([[4.0], [1.0], [2.0]])
    for start, fn in ((0.0, lambda z: z.square().sum(-1)), (3.0, lambda z: z.clamp_max(2.5).log().sum(-1))):
        answer = minimize(fn, torch.full((2, 1), start), Enumeration(candidates))
        assert answer.converged.all()
        assert answer.z.tolist() == [[1.0]] * 2


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_candidate_without_a_finite_energy_is_not_taken_though_it_be_the_first(bad):
    candidates = torch.tensor([[4.0], [1.0], [2.0]])
    answer = minimize(lambda z: torch.where(z > 3, bad, z).sum(-1), torch.zeros(2, 1), Enumeration(candidates))
    assert answer.z.tolist() == [[1.0]] * 2
    assert answer.converged.all()


def test_where_no_candidate_has_a_finite_energy_the_sample_says_so():
    ill = torch.tensor([True, False])
    fn = lambda z: torch.where(ill & (z != 0).all(-1), torch.nan, z.square().sum(-1))  # noqa: E731
    answer = minimize(fn, torch.zeros(2, 1), Enumeration(torch.tensor([[2.0], [1.0]])))
    assert answer.status.tolist() == [Status.NOT_FINITE, Status.CONVERGED]
    assert answer.z.tolist() == [[2.0], [1.0]]


def test_a_number_and_a_matrix_for_each_sample_are_enumerated_too():
    angles = torch.linspace(0, 6, 61)
    assert minimize(torch.cos, torch.zeros(3), Enumeration(angles)).z.tolist() == [angles[31].item()] * 3
    matrices = normal(9, 2, 3)
    answer = minimize(lambda z: z.sum((-2, -1)), torch.zeros(4, 2, 3, dtype=torch.float64), Enumeration(matrices))
    assert torch.equal(answer.z, matrices[matrices.sum((1, 2)).argmin()].expand(4, 2, 3))


def test_it_is_frozen_and_equal_to_itself_alone():
    candidates = normal(3, 2)
    one, other = Enumeration(candidates), Enumeration(candidates)
    assert one == one
    assert one != other
    assert len({one, other}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.chunk = 3


@pytest.mark.parametrize(
    ("candidates", "settings", "message"),
    [
        (torch.arange(3), {}, r"in floating point.* are torch.int64 of shape \(3,\); for labels"),
        (torch.tensor(1.0), {}, r"with one more axis in front, .* of shape \(\)"),
        (torch.zeros(0, 2), {}, r"of shape \(0, 2\)"),
        (torch.tensor([[1.0, torch.nan]]), {}, "the candidates hold 1 values that are NaN or infinite"),
        (torch.zeros(2, 2), {"chunk": 0}, "at least one candidate is evaluated at once, not 0"),
    ],
    ids=str,
)
def test_candidates_that_cannot_be_are_refused(candidates, settings, message):
    with pytest.raises(ValueError, match=message):
        Enumeration(candidates, **settings)


def test_candidates_that_do_not_fit_z_are_refused():
    with pytest.raises(ValueError, match=r"\(5, 2\) here, not \(5, 3\)"):
        minimize(lambda z: z.sum(-1), torch.zeros(4, 2), Enumeration(torch.zeros(5, 3)))
    start = (torch.zeros(4, 2), torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"\(5, 2\) and \(5, 3\) here.*several parts as one tensor"):
        minimize(lambda z: z[0].sum(-1) + z[1].sum(-1), start, Enumeration(torch.zeros(5, 3)))
    with pytest.raises(ValueError, match="1 of 2 candidates lie outside the constraints on z: project them"):
        minimize(lambda z: z.sum(-1), torch.ones(4, 2), Enumeration(torch.tensor([[1.0, 0], [1, 1]])), within=Sphere())
