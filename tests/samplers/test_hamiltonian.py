import math

import numpy as np
import pytest
import scipy.integrate
import torch
from arviz_stats.base import array_stats
from conftest import normal

from ebm.sample import sample
from ebm.samplers import Hamiltonian


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def well(z):
    return (z.square() - 1).square().sum(-1)


def test_ten_leapfrogs_are_ten_evaluations():
    calls = []

    def counted(z):
        calls.append(z)
        return well(z)

    answer = sample(counted, normal(3, 2), Hamiltonian(0.1, leapfrog_steps=10), draws=20)
    assert len(calls) == 2 + 200  # one to learn the shape, one at the start
    assert answer.evaluations == 201


def test_a_move_follows_the_equations_of_motion():
    start, size, count = normal(4, 3), 1e-3, 200
    answer = sample(well, start, Hamiltonian(size, leapfrog_steps=count), draws=1, generator=seeded())
    momentum = torch.randn(16, 4, 3, generator=seeded(), dtype=torch.float64)[0]

    def motion(_, both):
        z, p = both.reshape(2, 4, 3)
        return np.stack([p, -4 * z * (z**2 - 1)]).ravel()

    both = torch.stack([start, momentum]).numpy().ravel()
    exact = scipy.integrate.solve_ivp(motion, (0, size * count), both, rtol=1e-11, atol=1e-11)
    assert answer.acceptance.tolist() == [1] * 4
    # The error of leapfrogs is of the order size^2, times third derivatives of some tens.
    expected = exact.y[:, -1].reshape(2, 4, 3)[0]
    np.testing.assert_allclose(answer.z[0].numpy(), expected, atol=1e-4)


def test_the_double_well_is_sampled_as_quadrature_says():
    start = torch.where(normal(64, 1) > 0, 1.0, -1.0).double()
    answer = sample(well, start, Hamiltonian(0.25, leapfrog_steps=5), draws=1000, warmup=100, generator=seeded())
    z = answer.by_chain()["z"][..., 0]

    def moment(power):
        return scipy.integrate.quad(lambda x: x**power * math.exp(-((x**2 - 1) ** 2)), -5, 5)[0]

    assert array_stats.rhat(z) < 1.02
    for power in (1, 2, 4):
        exact, values = moment(power) / moment(0), z**power
        error = values.std() / math.sqrt(array_stats.ess(values, method="mean"))
        assert abs(values.mean() - exact) < 5 * error


def test_correlated_and_unequal_directions_are_sampled():
    axes, _ = torch.linalg.qr(normal(3, 3))
    covariance = axes @ torch.diag(torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)) @ axes.T
    precision = torch.linalg.inv(covariance)
    start = normal(64, 3) @ torch.linalg.cholesky(covariance).T
    answer = sample(
        lambda z: (z @ precision * z).sum(-1) / 2, start, Hamiltonian(0.25, 8), draws=1000, generator=seeded()
    )
    z = answer.z.flatten(0, 1)
    # An effective 20000 draws at least: five times 3 sqrt(2 / 20000).
    torch.testing.assert_close(z.T @ z / len(z), covariance, atol=0.15, rtol=0)
    assert answer.acceptance.mean() > 0.8


def test_a_step_beyond_stability_raises():
    with pytest.raises(RuntimeError, match=r"6 of 6 chains \(100%\) diverged at step 1 of 5.*`step_size`, now 3"):
        sample(lambda z: z.square().sum(-1) / 2, normal(6, 2), Hamiltonian(3.0), draws=5)


def test_the_bound_of_divergence_is_in_units_of_the_temperature():
    # One step of 2.5 makes a quadratic energy up to some 30 times what it is: 800 at the start, or 4 T if T is 1e4.
    sampler, start = Hamiltonian(2.5, leapfrog_steps=1), 20 * normal(32, 4)
    with pytest.raises(RuntimeError, match="more than 1000 temperatures"):
        sample(lambda z: z.square().sum(-1) / 2, start, sampler, draws=1, generator=seeded())
    hot = sample(lambda z: z.square().sum(-1) / 2, start, sampler, draws=1, temperature=1e4, generator=seeded())
    assert hot.z.isfinite().all()


@pytest.mark.parametrize("count", [0, -1, 2.5])
def test_a_move_without_leapfrogs_is_refused(count):
    with pytest.raises(ValueError, match="`leapfrog_steps` of Hamiltonian is a whole number of at least 1, not"):
        Hamiltonian(0.1, leapfrog_steps=count)


def test_a_negative_step_is_refused():
    with pytest.raises(ValueError, match=r"`step_size` of Hamiltonian is positive and finite, not -0\.1"):
        Hamiltonian(-0.1)
