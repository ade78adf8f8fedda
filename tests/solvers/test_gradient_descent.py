import torch
from conftest import normal

from ebm import GradientDescent, minimize
from ebm.minimize import pose

CURVATURES = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)


def bowl(z):
    return (CURVATURES * z.square()).sum(-1) / 2


def test_each_step_keeps_the_share_of_the_distance_that_rate_and_curvature_say():
    start = normal(4, 3)
    answer = minimize(bowl, start, GradientDescent(rate=0.2, steps=9, tolerance=0.0))
    # z_k = (1 - rate curvature)^k z_0, in nine roundings.
    torch.testing.assert_close(answer.z, (1 - 0.2 * CURVATURES) ** 9 * start, atol=1e-14, rtol=1e-13)


def test_momentum_is_the_heavy_ball_of_polyak():
    # His form has no velocity: z_{k+1} = z_k - rate dE/dz_k + momentum (z_k - z_{k-1}).
    rate, momentum = 0.1, 0.7
    before, z = normal(4, 3), normal(4, 3)
    problem, _ = pose(bowl, z)
    solver, point = GradientDescent(rate, momentum), problem(z)
    state = solver.init(problem, point)
    for _ in range(8):
        point, state = solver.step(problem, point, state)
        before, z = z, z - rate * CURVATURES * z + momentum * (z - before)
    # Eight steps of a few roundings each.
    torch.testing.assert_close(point.z, z, atol=1e-14, rtol=1e-13)


def test_momentum_takes_fewer_steps_where_curvatures_differ():
    start = torch.ones(1, 3, dtype=torch.float64)
    plain, heavy = (minimize(bowl, start, GradientDescent(0.1, momentum)).steps for momentum in (0.0, 0.6))
    assert heavy < plain


def test_nesterovs_momentum_is_that_of_torch():
    problem, start = pose(bowl, normal(4, 3))
    solver, point = GradientDescent(0.1, momentum=0.7, nesterov=True), problem(start)
    z, state = start.clone().requires_grad_(), solver.init(problem, point)
    torchs = torch.optim.SGD([z], lr=0.1, momentum=0.7, nesterov=True)
    for _ in range(8):
        point, state = solver.step(problem, point, state)
        z.grad = CURVATURES * z.detach()
        torchs.step()
    # Eight steps of a few roundings each.
    torch.testing.assert_close(point.z, z.detach(), atol=1e-14, rtol=1e-13)
