"""The minimisers of SciPy, as a reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, jacrev, vjp

from ebm.constraints import Box, NonNegative
from ebm.problem import value_and_gradient
from ebm.solvers.line_search import choose
from ebm.solvers.solver import Point, Problem, Solver, State


class Counts(NamedTuple):
    """What SciPy says that each sample took."""

    iterations: Tensor  # (N,)
    evaluations: Tensor  # (N,)


@final
@dataclass(frozen=True, eq=False)
class Method:
    """What a method of `scipy.optimize.minimize` can use, and the names of its options."""

    derivatives: str = "gradient"  # or "none", "products" with the Hessian, or the "hessian"
    bounds: bool = False
    tolerances: Mapping[str, float] = field(default_factory=dict)  # as `factor`: the option is `factor * tolerance`
    squares: tuple[str, ...] = ()  # options that a square of the tolerance fits
    zeros: tuple[str, ...] = ()  # options that would end a solve for another reason
    limit: str = "maxiter"
    counts_evaluations: bool = False  # the limit is one of evaluations


METHODS = {
    "Nelder-Mead": Method("none", True, {"xatol": 0.1}, ("fatol",)),
    "Powell": Method("none", True, {"xtol": 0.1}, ("ftol",)),
    "CG": Method(tolerances={"gtol": 1}),
    "BFGS": Method(tolerances={"gtol": 1}),
    "Newton-CG": Method("products", tolerances={"xtol": 0.1}),
    "L-BFGS-B": Method(bounds=True, tolerances={"gtol": 1}, zeros=("ftol",)),
    "TNC": Method(bounds=True, tolerances={"gtol": 1}, zeros=("ftol", "xtol"), limit="maxfun", counts_evaluations=True),
    "COBYLA": Method("none", True, {"tol": 0.1}, counts_evaluations=True),
    "COBYQA": Method("none", True, {"final_tr_radius": 0.1}),
    "SLSQP": Method(bounds=True, squares=("ftol",)),
    "trust-constr": Method("products", tolerances={"gtol": 1, "xtol": 1e-4}),
    "dogleg": Method("hessian", tolerances={"gtol": 1}),
    "trust-ncg": Method("products", tolerances={"gtol": 1}),
    "trust-krylov": Method("products", tolerances={"gtol": 1}),
    "trust-exact": Method("hessian", tolerances={"gtol": 1}),
}


@final
@dataclass(frozen=True)
class SciPy(Solver):
    """`scipy.optimize.minimize(E, start, method=...)` of each sample by itself: an independent reference, and slow.

    SciPy works in float64 on the CPU; the energy is evaluated as it is, with derivatives by torch where the method
    takes them. A step is a whole solve. `steps` is the limit of SciPy's iterations (for TNC and COBYLA, evaluations),
    and the steps in the answer are its own count, as are the evaluations but for those of the start and of its answer.
    Its tolerances follow from `tolerance`; `options` goes to SciPy over those.

    Boxes are passed on as bounds where the method takes them. Else it minimises `E(P(u)) + |u - P(u)|^2 / 2` over free
    u, with `P` the projection on the constraints: its minima are those of E within them, since u = P(u) there. Where
    SciPy stops at one of its kinks, short of a minimum, it is started again a step down the slope from there.

    Whether a sample has converged does not go by what SciPy says of it: like that of every solver its slope is checked.
    """

    at_once: ClassVar[bool] = True
    patience = 1

    method: str = "L-BFGS-B"
    options: Mapping[str, Any] | None = field(default=None, hash=False)
    steps: int = 500
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"`method` is one of {', '.join(METHODS)}, not {self.method!r}")

    def init(self, problem: Problem, point: Point) -> State:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "what SciPy does cannot be recorded, so no derivative comes back through its steps: use `Implicit()`"
                " for derivatives of z, or `Detached()` for those of the energy"
            )
        zeros = torch.zeros(len(point.z), dtype=torch.long, device=point.z.device)
        return Counts(zeros, zeros)

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # which would trace the inside of SciPy, and err
    def step(self, problem: Problem, point: Point, state: State) -> tuple[Point, State]:
        going = (self.residual(problem, point, state) > self.tolerance) & point.energy.isfinite()
        z, counts = point.z.clone(), torch.zeros(len(going), 2, dtype=torch.long)
        for i in going.nonzero().flatten().tolist():
            row, iterations, evaluations = self._solve(problem, point.z, i)
            z[i] = torch.from_numpy(row).to(z)
            counts[i] = torch.tensor((iterations, evaluations))
        taken, spent = counts.to(point.z.device).unbind(1)
        answer = problem(z)
        if problem.domain is None:
            return answer, Counts(taken, spent + going)
        return _onto_the_boundary(problem, answer), Counts(taken, spent + 2 * going)

    def taken(self, steps: Tensor, state: State) -> Tensor:
        return Counts(*state).iterations

    def evaluations(self, steps: Tensor, state: State, features: int) -> Tensor:
        return 1 + Counts(*state).evaluations

    def _solve(self, problem: Problem, z: Tensor, i: int) -> tuple[np.ndarray, int, int]:
        """The answer (D,) for the sample i, the iterations and the evaluations."""
        row, bounds = _Row(problem, z, i), _bounds(problem, z) if METHODS[self.method].bounds else None
        start: np.ndarray | None = row.best
        answer, iterations, evaluations = row.best, 0, 0
        while start is not None and iterations < self.steps:
            answer, taken, spent = self._call(row, start, bounds, self.steps - iterations)
            start, trials = row.off_a_kink(answer, self.tolerance)
            iterations, evaluations = iterations + max(taken, 1), evaluations + spent + trials
        return answer, iterations, evaluations

    def _call(self, row: _Row, start: np.ndarray, bounds: Any, steps: int) -> tuple[np.ndarray, int, int]:
        """SciPy's answer (D,) from a start, its iterations and evaluations."""
        from scipy.optimize import minimize

        method = METHODS[self.method]
        result = minimize(
            row.value if method.derivatives == "none" else row.value_and_slope,
            start,
            method=self.method,
            jac=None if method.derivatives == "none" else True,
            hess=row.hessian if method.derivatives == "hessian" else None,
            hessp=row.product if method.derivatives == "products" else None,
            bounds=bounds,
            options=self._options(method, steps),
        )
        products = result.get("nhev", 0) * (len(start) if method.derivatives == "hessian" else 1)
        iterations = result.nfev if method.counts_evaluations else result.nit
        answer = result.x if np.isfinite(result.fun) else row.best
        return answer, int(iterations), int(result.nfev + products)

    def _options(self, method: Method, steps: int) -> dict[str, Any]:
        return {
            **{name: factor * self.tolerance for name, factor in method.tolerances.items()},
            **dict.fromkeys(method.squares, 0.01 * self.tolerance**2),
            **dict.fromkeys(method.zeros, 0.0),
            method.limit: steps,
            **(self.options or {}),
        }


class _Row:
    """The energy of one sample as SciPy sees it: on vectors (D,) of float64, anywhere, even outside its constraints."""

    def __init__(self, problem: Problem, z: Tensor, i: int) -> None:
        self.problem, self.z, self.i = problem, z, i
        self.alone = None if problem.given is None else problem.subset(torch.tensor([i], device=z.device))
        self.best, self.lowest = z[i].double().cpu().numpy(), np.inf

    def merit(self, u: Tensor) -> Tensor:
        """`E(P(u)) + |u - P(u)|^2 / 2`, `(1, D) -> (1,)`; `E(u)` where u is free."""
        if self.problem.domain is None:
            return self._energy(u)
        z = self.problem.domain.project(u)
        return self._energy(z) + (u - z).square().sum(-1) / 2

    def value(self, u: np.ndarray) -> float:
        with torch.no_grad():
            return self._seen(u, self.merit(self._tensor(u)))

    def value_and_slope(self, u: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = value_and_gradient(self.merit, self._tensor(u))
        return self._seen(u, value), _array(slope[0])

    def hessian(self, u: np.ndarray) -> np.ndarray:
        slope: Callable[[Tensor], Tensor] = grad(self._scalar)
        return _array(jacrev(slope)(self._tensor(u)[0]))

    def product(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        pull = vjp(grad(self._scalar), self._tensor(u)[0])[1]
        return _array(pull(self._tensor(v)[0])[0])

    def off_a_kink(self, u: np.ndarray, tolerance: float) -> tuple[np.ndarray | None, int]:
        """A lower point a step down the slope from P(u), and the evaluations it took; None if there is nothing to do.

        At a corner of the constraints P may have no derivative, and what autograd takes for one be zero: there SciPy
        stops, minimum or not.
        """
        domain = self.problem.domain
        if domain is None:
            return None, 0
        z = domain.project(self._tensor(u))
        z = domain.project(z - self.problem.resolution**0.5 * value_and_gradient(self._energy, z)[1])
        energy, gradient = value_and_gradient(self._energy, z)
        slope = domain.slope(z, gradient)
        steepest = slope.abs().amax().item()
        if steepest <= tolerance or not bool(energy.isfinite()):
            return None, 2
        for halvings in range(30):
            trial = domain.project(z - 0.5**halvings / max(1.0, steepest) * slope)
            if (self._energy(trial) < energy - 1e-4 * ((z - trial) * slope).sum()).item():
                return _array(trial[0]), halvings + 3
        return None, 32

    def _scalar(self, u: Tensor) -> Tensor:
        return self.merit(u[None])[0]

    def _energy(self, z: Tensor) -> Tensor:
        if self.alone is not None:
            return self.alone.smooth(z)
        return self.problem.smooth(torch.cat([self.z[: self.i], z, self.z[self.i + 1 :]]))[self.i : self.i + 1]

    def _tensor(self, u: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(u)).to(self.z)[None]

    def _seen(self, u: np.ndarray, merit: Tensor) -> float:
        value = merit.item()
        if value < self.lowest:
            self.best, self.lowest = np.array(u), value
        return value


def _onto_the_boundary(problem: Problem, point: Point) -> Point:
    """The point after a tiny step downhill, where that flattens the slope.

    Some methods stop a rounding short of a bound, where nothing would hold up the gradient.
    """
    nearest = problem(point.z - problem.resolution**0.5 * point.gradient)
    flatter = problem.slope(nearest).abs().amax(-1) < problem.slope(point).abs().amax(-1)
    return choose(flatter, nearest, point)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().cpu().numpy()


def _bounds(problem: Problem, z: Tensor) -> Any:
    """The bounds on a row, if bounds are all that there is; else None."""
    from scipy.optimize import Bounds

    domain = problem.domain
    if domain is None or not all(term is None or isinstance(term, Box | NonNegative) for term in domain.terms):
        return None
    lower, upper = (_array(domain.project(torch.full_like(z[:1], end))[0]) for end in (-torch.inf, torch.inf))
    return Bounds(lower, upper)
