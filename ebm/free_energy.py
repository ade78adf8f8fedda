"""The free energy: an energy after the latent has been inferred, which is all that a loss sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._pytree import tree_leaves, tree_map

from ebm.adjoint import Adjoint, Detached
from ebm.constraints import Constraint
from ebm.energy import Energy, Variable
from ebm.marginals.marginal import Estimate, Marginal
from ebm.minimize import Minimum, Restarts, pose, run
from ebm.penalties import Penalty
from ebm.problem import Problem, SumOfSquares
from ebm.solve import Status
from ebm.solvers.solver import Solver


@final
class FreeEnergy(nn.Module):
    """`F(hx, hy) = min_z E(hx, hy, z)`, shape `(*batch,)`; for an energy without a latent, the energy itself.

    With a `marginal` it is the free energy at a temperature instead, `-1/beta log E_p exp(-beta E)`, as that marginal
    estimates it: z is averaged out, and may no longer be whatever explains one sample best.

    How z is inferred is an argument each: `solver`, `adjoint`, `within`, `penalty` and `restarts` are those of
    `minimize`. A penalty is a part of F.

    Called on codes, since losses already hold them: for an energy that encodes nothing these are the variables.
    `infer` takes the variables and tells the minimiser too, `marginalise` the error of the estimate.
    """

    def __init__(
        self,
        energy: Energy,
        solver: Solver | None = None,
        adjoint: Adjoint | None = None,
        *,
        within: Constraint | Any = None,
        penalty: Penalty | Any = None,
        restarts: int | Restarts = 1,
        marginal: Marginal | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(energy, Energy):
            raise TypeError(f"a free energy is that of an `Energy`, not of {energy!r}: for a function call `minimize`")
        self.energy = energy
        self.solver = solver
        self.adjoint = adjoint or Detached()
        self.within, self.penalty, self.restarts = within, penalty, restarts
        self.marginal = marginal

    def forward(self, hx: Variable, hy: Variable) -> Tensor:
        """Free energies `(*batch,)` of codes, whose leading axes broadcast; None for one that is not used."""
        return self._infer(hx, hy).energy if self.marginal is None else self._marginalise(hx, hy).value

    def infer(self, x: Variable, y: Variable) -> Minimum:
        """The latent that explains `x` and `y` best, with its energy, status and cost for each sample."""
        return self._infer(*self.energy.encode(x, y))

    def marginalise(self, x: Variable, y: Variable) -> Estimate:
        """The free energy with its error and what it is built on; without a marginal, the minimum."""
        return self._marginalise(*self.energy.encode(x, y))

    def pairs(self, hx: Variable, hy: Variable) -> Tensor:
        """Free energies `(n, m)` of every `hx[i]` with every `hy[j]`."""
        if self.energy.latent(hx[:1], hy[:1]) is None:
            return self.energy.pairs(hx, hy)
        n, m = len(hx), len(hy)
        left, right = hx[:, None].expand(n, m, *hx.shape[1:]), hy[None, :].expand(n, m, *hy.shape[1:])
        # One axis of pairs, so that those whose latents have been found are left out of further steps.
        return self(left.flatten(0, 1), right.flatten(0, 1)).reshape(n, m)

    def _infer(self, hx: Variable, hy: Variable) -> Minimum:
        start = self.energy.latent(hx, hy)
        if start is None:
            return _no_latent(self.energy.cost(hx, hy))
        with self._posed(hx, hy, start) as (problem, rows):
            return run(problem, rows, self.solver, self.adjoint, self.restarts)

    def _marginalise(self, hx: Variable, hy: Variable) -> Estimate:
        start = self.energy.latent(hx, hy)
        if self.marginal is None or start is None:
            return Estimate.of(self._infer(hx, hy))
        with self._posed(hx, hy, start) as (problem, rows):
            return self.marginal(problem, rows, self.solver, self.restarts, self.adjoint)

    @contextmanager
    def _posed(self, hx: Variable, hy: Variable, start: Any) -> Iterator[tuple[Problem, Tensor]]:
        """The problem of the codes in rows, for as long as what couples samples is refused."""
        # Steps near a minimum are smaller than half precision can tell, so no solve is under autocast.
        device = tree_leaves(start)[0].device.type
        hx, hy, start = _in_full_precision(device, (hx, hy, start))
        with refuse_coupling(self.energy), torch.autocast(device, enabled=False):
            yield pose(self._cost(hx, hy, start), start, (hx, hy), self.within, self.penalty, bind=True)

    def _cost(self, hx: Variable, hy: Variable, start: Any) -> Callable[..., Tensor]:
        """The energy as a function of z and the codes; as a sum of squares where the solver needs residuals."""
        needed = self.solver is not None and self.solver.least_squares
        if needed and self.energy.residuals(hx, hy, start) is not None:
            return SumOfSquares(lambda z, hx, hy: self.energy.residuals(hx, hy, z))
        return lambda z, hx, hy: self.energy.cost(hx, hy, z)


def _in_full_precision(device: str, variables: Any) -> Any:
    if not torch.is_autocast_enabled(device):
        return variables
    low = (torch.float16, torch.bfloat16)
    return tree_map(lambda v: v.float() if isinstance(v, Tensor) and v.dtype in low else v, variables)


def _no_latent(energy: Tensor) -> Minimum:
    zeros = torch.zeros_like(energy, dtype=torch.long, requires_grad=False)
    return Minimum(
        z=energy.new_zeros(*energy.shape, 0),
        energy=energy,
        status=zeros + int(Status.CONVERGED),
        steps=zeros,
        evaluations=zeros + 1,
        gradient_norm=torch.zeros_like(energy, requires_grad=False),
    )


def _couples(module: nn.Module) -> bool:
    if isinstance(module, _BatchNorm):
        return module.training or not module.track_running_stats
    return isinstance(module, _DropoutNd) and module.training


@contextmanager
def refuse_coupling(energy: Energy) -> Iterator[None]:
    """Refuse a module that mixes samples, or draws noise, when `cost` runs it: each is solved, or drawn, by itself."""

    def refuse(module: nn.Module, _: object) -> None:
        mode = "in training mode" if module.training else "without running statistics"
        raise ValueError(
            f"`cost` ran {type(module).__name__} {mode} while a sample was inferred or drawn: it makes the energy of a"
            " sample depend on the others or on noise, so no sample has an energy of its own. Move it to `encode`, call"
            " `.eval()` on it, or use LayerNorm or GroupNorm"
        )

    modules = [module for module in energy.modules() if _couples(module)]
    handles = [module.register_forward_pre_hook(refuse) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
