"""What others offer for the same task, each driven as its documentation says and stopped by the same criterion.

Each function prepares a method for one problem, and tunes what must be tuned, before anything is timed. Those whose
library is missing raise ImportError. `limit` is the most calls of the energy that a method may take (of one sample,
where it solves them one by one).
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from problems import Problem, shrink
from scipy.optimize import minimize as scipy_minimize
from timing import TOLERANCE, Counted, Energy, Method, clock, verify
from torch import Tensor

RATES = (0.1, 0.2, 0.3, 0.5, 1.0, 0.05, 0.03, 0.02, 0.01, 0.003, 0.001)  # the likely first: they limit the others
HISTORY = 10  # of every L-BFGS here, unless another does better


def summed_lbfgs(problem: Problem, limit: int) -> Method:
    """`torch.optim.LBFGS` on the sum over the batch, with the shorter or the longer memory, whichever is faster."""
    return _fastest(problem, [_summed_lbfgs(problem, limit, history) for history in (HISTORY, 100)])


def _summed_lbfgs(problem: Problem, limit: int, history: int) -> Method:
    def solve(energy: Energy) -> Tensor:
        z = problem.start.clone().requires_grad_(True)
        optimizer = torch.optim.LBFGS(
            [z],
            max_iter=limit,
            max_eval=limit,
            tolerance_grad=TOLERANCE,  # of the largest component over the whole batch
            tolerance_change=0,
            history_size=history,
            line_search_fn="strong_wolfe",
        )

        def total() -> Tensor:
            optimizer.zero_grad()
            value = energy(z, *problem.given).sum()
            value.backward()
            return value

        optimizer.step(total)
        return z.detach()

    return Method("torch.optim.LBFGS on the sum", solve, f"history {history}")


def adam(problem: Problem, limit: int, rate: float = 0.1) -> Method:
    """`torch.optim.Adam` on the sum, where a sample that passes at one of the checks, each 10 steps, is kept."""

    def solve(energy: Energy) -> Tensor:
        z = problem.start.clone().requires_grad_(True)
        optimizer = torch.optim.Adam([z], lr=rate)
        answer, done = z.detach().clone(), torch.zeros(len(z), dtype=torch.bool, device=z.device)
        for step in range(limit):
            (gradient,) = torch.autograd.grad(energy(z, *problem.given).sum(), z)
            if step % 10 == 0:
                answer = torch.where(done[:, None], answer, z.detach())
                done |= problem.steepness(z.detach(), gradient) <= TOLERANCE
                if bool(done.all()):
                    break
            z.grad = gradient + problem.penalty * z.detach().sign()
            optimizer.step()
        return answer

    name = "torch.optim.Adam on the subgradient" if problem.penalty else "torch.optim.Adam"
    return Method(name, solve, f"rate {rate:g}", slow=bool(problem.penalty))


def best_adam(problem: Problem, limit: int) -> Method:
    """Adam at the rate of a grid that solves most samples, then takes the fewest steps, then comes closest."""
    best, best_quality, fewest = adam(problem, limit), (-1, 0, 0.0), limit
    for rate in RATES:
        energy = Counted(problem)
        z = adam(problem, fewest, rate).solve(energy)
        passed = int(verify(problem, z).sum())
        quality = passed, -energy.calls, -float(problem.check(z).median())
        if quality > best_quality:
            best, best_quality = adam(problem, limit, rate), quality
            fewest = energy.calls if passed == len(z) else limit
    return Method(best.name, best.solve, f"best {best.setting}", best.slow)


def scipy_loop(problem: Problem, limit: int) -> Method:
    """SciPy's L-BFGS-B (Byrd et al. 1995) on one sample after another."""

    def solve(energy: Energy) -> Tensor:
        answer = torch.empty_like(problem.start)
        for i, start in enumerate(problem.start):
            given = tuple(array[i] for array in problem.given)
            answer[i] = _scipy(energy, start, given, limit)
        return answer

    return Method("SciPy L-BFGS-B in a loop", solve, slow=True)


def scipy_concatenated(problem: Problem, limit: int) -> Method:
    """SciPy's L-BFGS-B on the sum, all samples concatenated into one vector."""

    def solve(energy: Energy) -> Tensor:
        return _scipy(energy, problem.start, problem.given, limit)

    return Method("SciPy L-BFGS-B on the concatenation", solve)


def _scipy(energy: Energy, start: Tensor, given: tuple[Tensor, ...], limit: int) -> Tensor:
    def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        z = torch.from_numpy(x).to(start).reshape(start.shape).requires_grad_(True)
        value = energy(z, *given).sum()
        (gradient,) = torch.autograd.grad(value, z)
        return float(value.detach()), gradient.flatten().double().cpu().numpy()

    options = {"gtol": TOLERANCE, "ftol": 0, "maxcor": HISTORY, "maxiter": limit, "maxfun": limit}
    x = start.flatten().double().cpu().numpy()
    found = scipy_minimize(value_and_gradient, x, jac=True, method="L-BFGS-B", options=options)
    return torch.from_numpy(found.x).to(start).reshape(start.shape)


def botorch_batched(problem: Problem, limit: int) -> Method:
    """BoTorch's batched L-BFGS-B: SciPy's for each sample, the evaluations of those still running in one batch."""
    from botorch.optim.batched_lbfgs_b import fmin_l_bfgs_b_batched

    def solve(energy: Energy) -> Tensor:
        def values_and_gradients(x: np.ndarray, batch_indices: list[int]) -> tuple[np.ndarray, np.ndarray]:
            z = torch.from_numpy(x).to(problem.start).requires_grad_(True)
            values = energy(z, *(array[batch_indices] for array in problem.given))
            (gradient,) = torch.autograd.grad(values.sum(), z)
            return values.detach().double().cpu().numpy(), gradient.double().cpu().numpy()

        x, _, _ = fmin_l_bfgs_b_batched(
            values_and_gradients,
            problem.start.double().cpu().numpy(),
            maxcor=HISTORY,
            factr=None,
            ftol=0.0,
            pgtol=TOLERANCE,
            maxiter=limit,
            pass_batch_indices=True,
        )
        return torch.from_numpy(x)

    return Method("botorch batched L-BFGS-B", solve)


def torchmin_loop(problem: Problem, limit: int) -> Method:
    """pytorch-minimize's L-BFGS on one sample after another, its stops other than the gradient's off."""
    import torchmin

    options = {"gtol": TOLERANCE, "xtol": -1, "gtd_tol": 0, "history_size": HISTORY}

    def solve(energy: Energy) -> Tensor:
        answer = torch.empty_like(problem.start)
        for i, start in enumerate(problem.start):
            given = tuple(array[i] for array in problem.given)
            found = torchmin.minimize(
                lambda z, given=given: energy(z, *given), start, "l-bfgs", max_iter=limit, options=options
            )
            answer[i] = found.x
        return answer

    return Method("pytorch-minimize l-bfgs in a loop", solve, slow=True)


def optimistix_lbfgs(problem: Problem, limit: int) -> Method:
    """Optimistix's L-BFGS, vmapped and jitted, at the loosest tolerance at which every sample passes.

    It stops on the last step and the last decrease; at 1e-4 it calls solved what is not.
    """
    if problem.start.device.type != "cpu":
        raise ImportError("JAX for this device is not looked for")
    tolerances = [10.0 ** (-power / 2) for power in range(8, 23)]
    for tolerance in tolerances:
        z = _optimistix(problem, limit, tolerance)(problem.energy)
        if bool(verify(problem, z).all()):
            break
    solve = _optimistix(problem, limit, tolerance)  # a new function, whose first call compiles
    return Method("optimistix LBFGS, jitted", solve, f"tolerance {tolerance:.1e}", compiled=True)


def _optimistix(problem: Problem, limit: int, tolerance: float) -> Any:
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    import jax
    import optimistix

    jax.config.update("jax_enable_x64", True)
    arrays, given = ([jax.numpy.asarray(array.numpy()) for array in each] for each in (problem.arrays, problem.given))
    start = jax.numpy.asarray(problem.start.numpy())
    solver = optimistix.LBFGS(rtol=tolerance, atol=tolerance, history_length=HISTORY)

    def energy_of_one(z: Any, given: Any) -> Any:
        return problem.formula(jax.numpy, tuple(arrays), z, *given)

    def one(z: Any, *given: Any) -> Any:
        return optimistix.minimise(energy_of_one, solver, z, given, max_steps=limit, throw=False).value

    batched = jax.jit(jax.vmap(one))

    def solve(_: Energy) -> Tensor:
        return torch.from_numpy(np.array(batched(start, *given)))

    return solve


def ista(problem: Problem, limit: int) -> Method:
    """The iterative shrinkage and thresholding of Daubechies et al. 2004, at the rate that the atoms admit."""

    def solve(energy: Energy) -> Tensor:
        z = problem.start.clone()
        for step in range(limit):
            leaf = z.requires_grad_(True)
            (gradient,) = torch.autograd.grad(energy(leaf, *problem.given).sum(), leaf)
            z = leaf.detach()
            if step % 10 == 0 and bool((problem.steepness(z, gradient) <= TOLERANCE).all()):
                break
            z = shrink(z - problem.rate * gradient, problem.rate * problem.penalty)
        return z

    return Method("ISTA", solve)


def _fastest(problem: Problem, methods: list[Method]) -> Method:
    """The method that solves most samples, then the one that takes the least time."""

    def quality(method: Method) -> tuple[int, float]:
        began = clock(problem.start.device)
        z = method.solve(Counted(problem))
        seconds = clock(problem.start.device) - began
        return int(verify(problem, z).sum()), -seconds

    return max(methods, key=quality)
