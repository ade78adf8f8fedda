"""Free energies known by other means: a Gaussian integral, a Bessel function, and quadrature on a fine grid."""

import math
from functools import cache

import torch
from conftest import normal

from ebm import LBFGS, Energy, Normal, Restarts

SOLVER = LBFGS(tolerance=1e-8)
STARTS = Restarts(12, spread=2.0)


class Quadratic:
    """`(z - c)' A (z - c) / 2` for each of n samples, the eigenvalues of A between 0.5 and 3.5."""

    def __init__(self, n, d, seed=0):
        axes, _ = torch.linalg.qr(normal(n, d, d, seed=seed))
        curvatures = 0.5 + 3 * torch.sigmoid(normal(n, d, seed=seed + 1))
        self.matrix = axes @ curvatures.diag_embed() @ axes.mT
        self.centre = normal(n, d, seed=seed + 2)

    @property
    def given(self):
        return self.centre, self.matrix

    def __call__(self, z, centre, matrix):
        offset = z - centre
        return (offset * (matrix @ offset[..., None])[..., 0]).sum(-1) / 2

    def free_energy(self, beta, scale):
        """`exp(-beta E)` is normal in z with covariance `(beta A)^-1`, and convolves with a normal prior."""
        d = self.centre.shape[-1]
        covariance = torch.linalg.inv(self.matrix) / beta + scale**2 * torch.eye(d, dtype=torch.float64)
        distance = (self.centre * torch.linalg.solve(covariance, self.centre[..., None])[..., 0]).sum(-1)
        evidence = -distance / 2 - torch.logdet(2 * math.pi * covariance) / 2
        return -(evidence + self.lebesgue(beta)) / beta

    def lebesgue(self, beta):
        """`log integral exp(-beta E) dz`."""
        return self.centre.shape[-1] / 2 * math.log(2 * math.pi / beta) - torch.logdet(self.matrix) / 2


class Circle(Energy):
    """How far y lies from the point of a circle that the angle z picks."""

    def __init__(self, radius):
        super().__init__()
        self.radius = torch.nn.Parameter(torch.tensor(radius, dtype=torch.float64))

    def latent(self, hx, hy):
        return torch.atan2(hy[..., 1:], hy[..., :1])

    def cost(self, hx, hy, z=None):
        return (hy - self.radius * torch.cat([z.cos(), z.sin()], -1)).square().sum(-1)

    def free_energy(self, y, beta):
        """`|y|^2 + r^2 - log I0(2 beta r |y|) / beta`, for an angle that is uniform on the circle."""
        argument = 2 * beta * self.radius * y.norm(dim=-1)
        bessel = torch.special.i0e(argument).log() + argument
        return y.square().sum(-1) + self.radius**2 - bessel / beta


class Folded:
    """`|y - f(z)|^2` with f a random network that folds the line, or the plane, into space: one to five modes."""

    def __init__(self, features, samples=16):
        self.inner = 2 / math.sqrt(features) * normal(features, 16, seed=1)
        self.bias, self.outer = normal(16, seed=2), 1.5 / 4 * normal(16, 3, seed=3)
        self.y = self.decode(normal(samples, features, seed=4)) + 0.2 * normal(samples, 3, seed=5)
        self.features = features
        self.start = self.y.new_zeros(samples, features)

    def decode(self, z):
        return torch.tanh(z @ self.inner + self.bias) @ self.outer

    def __call__(self, z, y):
        return (y - self.decode(z)).square().sum(-1)


def quadrature(fn, y, prior, beta):
    """The free energies of a few samples by the trapezoid rule, which leaves out 1e-8 of a standard normal prior."""
    axis = torch.linspace(-6, 6, 8001 if fn.features == 1 else 601, dtype=torch.float64)
    z = axis[:, None] if fn.features == 1 else torch.cartesian_prod(axis, axis)
    volume = fn.features * (axis[1] - axis[0]).log()
    log_prior = prior.log_density(z)
    return torch.stack([-(torch.logsumexp(log_prior - beta * fn(z, row), 0) + volume) / beta for row in y])


@cache
def exact(features, beta):
    """The free energies of `Folded(features)` over a standard normal prior, and their derivatives in y."""
    fn = Folded(features)
    rows = [row.clone().requires_grad_() for row in fn.y]
    values = [quadrature(fn, row[None], Normal(1.0), beta) for row in rows]
    gradients = [torch.autograd.grad(value, row)[0] for value, row in zip(values, rows, strict=True)]
    return torch.cat(values).detach(), torch.stack(gradients)


def by_differences(fn, x, step=1e-5):
    """The derivative of `fn(x).sum()` in each entry of x by central differences."""
    grad = torch.zeros_like(x)
    for i in range(x.numel()):
        shift = torch.zeros(x.numel(), dtype=x.dtype)
        shift[i] = step
        shift = shift.reshape(x.shape)
        with torch.no_grad():
            grad.view(-1)[i] = (fn(x + shift).sum() - fn(x - shift).sum()) / (2 * step)
    return grad
