import pytest
import torch
from conftest import normal

from ebm import Adam
from ebm.minimize import pose


def uneven(z):
    return (z.square() * torch.arange(1, 4, dtype=z.dtype) + z.sin()).sum(-1)


@pytest.mark.parametrize("settings", [{}, {"rate": 0.03, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3}], ids=str)
def test_it_walks_as_the_adam_of_torch_does(settings):
    solver = Adam(**settings)
    problem, start = pose(uneven, normal(4, 3))
    point = problem(start)
    state = solver.init(problem, point)
    z = normal(4, 3).requires_grad_()
    torchs = torch.optim.Adam([z], lr=solver.rate, betas=(solver.beta1, solver.beta2), eps=solver.epsilon)
    for _ in range(30):
        z.grad = problem(z.detach()).gradient
        torchs.step()
        point, state = solver.step(problem, point, state)
        # Both round each step a few times, and a step is no longer than the rate.
        torch.testing.assert_close(point.z, z.detach(), atol=1e-12, rtol=1e-12)


def test_the_first_step_is_as_long_as_the_rate_in_every_coordinate_however_steep():
    problem, start = pose(uneven, normal(4, 3) * 1e3)
    solver, point = Adam(rate=0.25), problem(start)
    after, _ = solver.step(problem, point, solver.init(problem, point))
    # Epsilon takes 1e-8 of it where a slope is near 1.
    torch.testing.assert_close((after.z - point.z).abs(), torch.full_like(point.z, 0.25), atol=1e-8, rtol=0)


def test_a_coordinate_without_a_slope_stays_where_it_is():
    problem, start = pose(lambda z: z[:, 0].square(), normal(3, 2))
    solver, point = Adam(), problem(start)
    after, _ = solver.step(problem, point, solver.init(problem, point))
    assert torch.equal(after.z[:, 1], point.z[:, 1])
    assert (after.z[:, 0] != point.z[:, 0]).all()
