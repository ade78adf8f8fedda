import pytest
import torch
from conftest import normal

from ebm.networks import ConvTransition, RecurrentTransition, ResidualTransition

KINDS = {
    "residual": lambda actions, latents: ResidualTransition(12, actions, latents),
    "recurrent": lambda actions, latents: RecurrentTransition(12, actions, latents),
    "convolutional": lambda actions, latents: ConvTransition((3, 2, 2), actions, latents),
}
kinds = pytest.mark.parametrize("kind", KINDS)
# The same sums in another order.
ROUNDING = {"atol": 1e-12, "rtol": 1e-12}


@kinds
@pytest.mark.parametrize(("actions", "latents"), [(0, 0), (2, 0), (0, 3), (2, 3)])
def test_a_code_becomes_another_of_as_many_features(kind, actions, latents):
    transition = KINDS[kind](actions, latents).double()
    acting = [normal(5, count, seed=count) if count else None for count in (actions, latents)]
    after = transition(normal(5, 12), *acting)
    assert after.shape == (5, 12)
    assert after.isfinite().all()


@kinds
def test_leading_axes_broadcast(kind):
    transition = KINDS[kind](2, 3).double()
    code, action, latent = normal(4, 1, 12), normal(3, 2, seed=1), normal(3, seed=2)
    after = transition(code, action, latent)
    assert after.shape == (4, 3, 12)
    alone = transition(code[2, 0], action[1], latent)
    torch.testing.assert_close(after[2, 1], alone, **ROUNDING)


@kinds
def test_what_is_done_and_what_nobody_sees_both_matter(kind):
    transition = KINDS[kind](2, 3).double()
    code, action, latent = normal(1, 12), normal(1, 2, seed=1), normal(1, 3, seed=2)
    after = transition(code, action, latent)
    assert not torch.allclose(after, transition(code, -action, latent))
    assert not torch.allclose(after, transition(code, action, -latent))


@kinds
@pytest.mark.parametrize(
    ("code", "action", "latent", "named"),
    [(11, 2, 3, "12 features, got 11"), (12, 1, 3, "2 actions, got 1"), (12, 2, None, "3 latents, got 0")],
)
def test_other_features_than_it_was_made_for_are_named(kind, code, action, latent, named):
    given = [None if count is None else torch.zeros(1, count) for count in (code, action, latent)]
    with pytest.raises(ValueError, match=named):
        KINDS[kind](2, 3)(*given)


def test_a_local_latent_acts_in_its_place_and_next_to_it_alone():
    transition = ConvTransition((2, 5, 7), latents=1, hidden=(), local=True).double()
    assert transition.latents == 35
    code, latent = normal(1, 70), torch.zeros(1, 5, 7).double()
    moved = latent.clone()
    moved[0, 2, 3] = 1.0
    change = (transition(code, None, moved.flatten(1)) - transition(code, None, latent.flatten(1))).reshape(2, 5, 7)
    near = torch.zeros(5, 7, dtype=torch.bool)
    near[1:4, 2:5] = True
    assert change[:, near].abs().min() > 0
    assert not change[:, ~near].any()


def test_a_transition_of_no_features_is_refused():
    with pytest.raises(ValueError, match="at least one feature"):
        ResidualTransition(0)
