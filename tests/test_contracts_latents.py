"""What holds for every regularizer of latents, found by listing `regularizers/latents/`: each lowers information."""

import pytest
import torch
from conftest import every, normal
from hypothesis import given
from hypothesis import strategies as st
from latents import made
from torch import nn
from torch.autograd import gradcheck

OF_THE_BATCH = {"NuclearNorm"}  # the others judge each code by itself

latents = pytest.mark.parametrize("kind", [p.values[0] for p in every("ebm.regularizers.latents", nn.Module)])
branches = pytest.mark.parametrize("branches", [1, 2])
seeds = st.integers(0, 2**16)


def views(n, d, branches, seed=0):
    return [normal(n, d, seed=seed + i) for i in range(branches)]


@latents
@branches
@given(n=st.integers(2, 9), seed=seeds)
def test_it_is_one_number_that_is_never_negative(kind, branches, n, seed):
    value = made(kind)(*views(n, 4, branches, seed))
    assert value.shape == ()
    assert value.isfinite()
    assert value >= -1e-12


@latents
@branches
@given(scale=st.floats(0.0, 0.9), seed=seeds)
def test_codes_that_shrink_tell_less(kind, branches, scale, seed):
    codes = views(6, 4, branches, seed)
    assert made(kind)(*(scale * h for h in codes)) <= made(kind)(*codes)


@latents
@branches
def test_codes_of_zero_tell_nothing(kind, branches):
    value = made(kind)(*[torch.zeros(6, 4, dtype=torch.float64)] * branches)
    torch.testing.assert_close(value, torch.zeros_like(value), atol=1e-12, rtol=0)


@latents
@branches
@given(order=st.permutations(range(6)))
def test_the_order_of_the_batch_is_nothing_to_it(kind, branches, order):
    codes = views(6, 4, branches)
    torch.testing.assert_close(made(kind)(*(h[order] for h in codes)), made(kind)(*codes), rtol=1e-9, atol=1e-9)


@latents
@branches
def test_its_gradient_is_that_of_finite_differences(kind, branches):
    codes = [h.requires_grad_() for h in views(5, 4, branches)]
    assert torch.autograd.grad(made(kind)(*codes), codes)[0].abs().max() > 1e-4
    assert gradcheck(made(kind), codes)


@latents
@pytest.mark.parametrize("code", ["all at one point", "all at zero"])
def test_flat_codes_have_a_finite_gradient(kind, code):
    codes = torch.full((6, 4), {"all at one point": 0.7, "all at zero": 0.0}[code], requires_grad=True)
    made(kind)(codes).backward()
    assert codes.grad.isfinite().all()


@latents
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_half_precision_codes_are_measured_in_single(kind, dtype):
    codes = normal(400, 16, dtype=torch.float32).to(dtype).requires_grad_()
    value = made(kind)(codes)
    value.backward()
    exact = codes.detach().double().requires_grad_()
    made(kind)(exact).backward()
    torch.testing.assert_close(value.double(), made(kind)(exact), rtol=1e-4, atol=1e-6)
    # The gradient is rounded once, to the precision of the codes that it is of.
    error = (codes.grad.double() - exact.grad).norm() / exact.grad.norm()
    assert error < 1e-3 if dtype == torch.float16 else error < 4e-3


@latents
def test_it_compiles_as_a_whole(kind):
    codes, term = normal(6, 4), made(kind)
    torch.testing.assert_close(torch.compile(term, fullgraph=True, backend="aot_eager")(codes), term(codes))


@pytest.mark.parametrize(
    "kind", [p.values[0] for p in every("ebm.regularizers.latents", nn.Module) if p.id not in OF_THE_BATCH]
)
def test_it_judges_each_code_by_itself_one_alone_too(kind):
    codes = normal(5, 4)
    alone = torch.stack([made(kind)(row[None]) for row in codes])
    torch.testing.assert_close(made(kind)(codes), alone.mean())


@latents
@pytest.mark.parametrize("shape", [(8,), (8, 3, 3)], ids=str)
def test_codes_that_are_not_rows_of_features_are_refused_by_their_shape(kind, shape):
    with pytest.raises(ValueError, match=r"\(batch, features\), got \(8"):
        made(kind)(normal(*shape))


@latents
def test_no_branch_at_all_is_refused(kind):
    with pytest.raises(ValueError, match=f"{kind.__name__} needs the codes of at least one branch, got none"):
        made(kind)()
