"""Draw from `exp(-E / T)`: one call for every sampler, and an answer that tells the temperature it really had."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_leaves, tree_map

from ebm.layout import Layout, Tree, batch_of, check_start
from ebm.problem import Point, RowEnergy
from ebm.samplers.evaluation import Evaluation, of_replicas, of_rows
from ebm.samplers.hamiltonian import Hamiltonian
from ebm.samplers.sampler import Evaluate, Noise, Sampler, State, check_count

_BLOCK = 16  # steps whose noise is drawn at once, and at whose end divergence is looked for
_LARGEST = 2**24  # random numbers to draw at once, at most


@dataclass(frozen=True)
class Samples:
    """What a run drew: every sample of the batch is a chain by itself."""

    z: Tree
    """The draws, `(draws, *batch, ...)`."""
    energy: Tensor
    """Their energies `(draws, *batch)`."""
    acceptance: Tensor
    """The share of moves after warm-up that each chain took, `(*batch,)`; 1 for a sampler that refuses none."""
    swap_acceptance: Tensor
    """The share of swaps after warm-up that neighbouring replicas took, `(*batch, replicas - 1)`; NaN if none tried."""
    evaluations: int
    """Evaluations of the energy and its gradient of each chain, replicas and warm-up included."""
    temperature: float
    """The temperature that was asked for."""
    effective_temperature: Tensor
    """The temperature of each chain, `(*batch,)`: `<(z - c) . dE/dz> / D` over its draws, by the virial theorem.

    For draws of `exp(-E / T)` it is T for any c (here the mean start of all chains, which knows nothing of the noise),
    if z has no boundary and does not wrap around as angles do. Few draws are noisy; chains that are still near their
    start give too little; steps that are too long give too much.
    """

    def by_chain(self) -> dict[str, np.ndarray[Any, Any]]:
        """Arrays `(chains, draws, ...)` of each part of z and of the energy, as ArviZ takes them for ESS and R-hat."""
        parts = {f"z{keystr(path)}": leaf for path, leaf in tree_flatten_with_path(self.z)[0]}
        parts["energy"] = self.energy
        chains = {name: part.flatten(1, self.energy.ndim - 1).transpose(0, 1) for name, part in parts.items()}
        return {
            name: part.to(torch.promote_types(part.dtype, torch.float16)).cpu().numpy() for name, part in chains.items()
        }

    def summary(self) -> str:
        """What was drawn, how much was accepted, and the temperature that was asked for and found, in a few lines."""
        chains, found = self.effective_temperature.numel(), self.effective_temperature.flatten()
        error = f" +- {found.std() / math.sqrt(chains):.2g}" if chains > 1 else ""
        lines = [
            f"{len(self.energy)} draws of each of {chains} chains, {self.evaluations} evaluations each",
            f"accepted {self.acceptance.mean():.0%} of moves, in the worst chain {self.acceptance.min():.0%}",
            f"temperature {found.mean():.4g}{error}, asked for {self.temperature:g}",
        ]
        pairs = self.swap_acceptance.shape[-1]
        if pairs:
            shares = ", ".join(f"{share:.0%}" for share in self.swap_acceptance.reshape(-1, pairs).mean(0).tolist())
            lines.append(f"accepted swaps of replicas, coldest pair first: {shares}")
        return "\n".join(lines)


def sample(
    fn: Callable[..., Tensor],
    start: Tree,
    sampler: Sampler | None = None,
    *,
    draws: int,
    warmup: int = 0,
    thin: int = 1,
    temperature: float = 1.0,
    given: tuple[Tree, ...] | None = None,
    generator: torch.Generator | None = None,
    compile: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Samples:
    """Draws from `exp(-fn(z, *given) / temperature)` by a chain for every sample of the batch, from `start`.

    `fn` takes a tree of `(*batch, ...)`, such as one tensor, to energies `(*batch,)`. What it holds fixed and has a row
    for each sample is best named in `given`, `()` if there is nothing: then replicas are evaluated all at once.

    `sampler` is Hamiltonian unless given. `warmup` steps are taken first and not kept, then one of `thin` is kept until
    there are so many `draws`. All noise comes from `generator`, the same for any number of steps. `compile` compiles
    blocks of steps, which takes a minute and pays when energies of one shape are sampled for long. `progress` is told
    the share of the steps that are done, now and then.

    Raises ValueError if `fn` does not return one energy a sample, if the start or its energies are not finite, or for a
    plan that makes no sense; RuntimeError where chains diverge, with the share of them, the step and what to do.
    """
    sampler = sampler or Hamiltonian()
    plan = Plan(draws, warmup, thin, temperature)
    _check_generator(generator, start)
    with torch.no_grad():
        layout, rows, single = _lay_out(fn, start, given)
        energies = of_replicas(fn, layout, given, single, sampler.replicas)
        ones = rows.new_ones(len(rows))
        with torch.enable_grad():
            point = Evaluation(single, ones)(rows)
        _check_energies(point)
        evaluate = Evaluation(energies, ones.repeat(sampler.replicas))
        run = _Run(evaluate, sampler, plan, point, sampler.init(point))
        run.take_all(generator, compile, progress or (lambda share: None))
        return run.samples(layout)


@dataclass(frozen=True)
class Plan:
    """Which steps to take and which of them to keep, at which temperature."""

    draws: int
    warmup: int = 0
    thin: int = 1
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_count("a run", 1, draws=self.draws, thin=self.thin)
        check_count("a run", 0, warmup=self.warmup)
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"a temperature is positive and finite, not {self.temperature}; at 0 use `minimize`")

    @property
    def steps(self) -> int:
        """All steps that are taken."""
        return self.warmup + self.draws * self.thin

    def kept(self, begin: int, end: int) -> list[int]:
        """Those of the steps from `begin` to `end` that are kept."""
        return [step for step in range(max(begin, self.warmup), end) if (step - self.warmup + 1) % self.thin == 0]


class Moves(NamedTuple):
    """Where each of some steps led, and the state after it."""

    points: list[Point]
    states: list[State]


def take(evaluate: Evaluate, sampler: Sampler, point: Point, state: State, noise: list[Noise]) -> Moves:
    """As many steps as there is noise for."""
    points, states = [], []
    for one in noise:
        point, state = sampler.step(evaluate, point, state, one)
        points.append(point)
        states.append(state)
    return Moves(points, states)


def take_compiled(evaluate: Evaluate, sampler: Sampler, point: Point, state: State, noise: list[Noise]) -> Moves:
    """The same by one compiled function, called for a few steps at a time where each has many evaluations."""
    compiled = _compiled()
    few, moves = _power_of_two(len(noise) // sampler.evaluations), Moves([], [])
    for first in range(0, len(noise), few):
        some = compiled(evaluate, sampler, point, state, noise[first : first + few])
        point, state = some.points[-1], some.states[-1]
        moves.points.extend(some.points)
        moves.states.extend(some.states)
    return moves


@cache
def _compiled() -> Callable[[Evaluate, Sampler, Point, State, list[Noise]], Moves]:
    return torch.compile(take, dynamic=False)  # making one takes longer than a call of it


def _power_of_two(most: int) -> int:
    return int(2 ** int(math.log2(max(1, most))))


@dataclass
class _Run:
    """The loop, and what it adds up on the way; nothing in it waits for the device but the look at each block's end."""

    evaluate: Evaluate
    sampler: Sampler
    plan: Plan
    point: Point
    state: State
    done: int = 0
    centre: Tensor = field(init=False)
    z: Tensor = field(init=False)
    energy: Tensor = field(init=False)
    virial: Tensor = field(init=False)
    accepted: Tensor = field(init=False)
    swapped: Tensor = field(init=False)
    tried: Tensor = field(init=False)

    def __post_init__(self) -> None:
        z, draws = self.point.z, self.plan.draws
        self.centre = z.mean(0)
        self.z, self.energy = z.new_empty(draws, *z.shape), z.new_empty(draws, len(z))
        self.virial, self.accepted = torch.zeros_like(self.point.energy), torch.zeros_like(self.point.energy)
        self.swapped, self.tried = z.new_zeros(2, len(z), self.sampler.replicas - 1)

    def take_all(self, generator: torch.Generator | None, compile: bool, progress: Callable[[float], None]) -> None:
        """All steps of the plan, in blocks whose length does not depend on it: neither do the noise and the chain."""
        temperature = self.point.z.new_full((1, 1), self.plan.temperature)
        block = _power_of_two(min(_BLOCK, _LARGEST // (self.point.z.numel() * self.sampler.replicas)))
        while self.done < self.plan.steps:
            drawn = self.sampler.noise(self.point.z, temperature, block, generator)
            noise = list(zip(*(numbers.unbind(0) for numbers in drawn), strict=True))[: self.plan.steps - self.done]
            # A last block that is not whole would be compiled anew for its length alone.
            compiled = compile and len(noise) == block
            with torch.set_grad_enabled(not compiled):
                taking = take_compiled if compiled else take
                moves = taking(self.evaluate, self.sampler, self.point, self.state, noise)
            self.record(moves)
            progress(self.done / self.plan.steps)

    def record(self, moves: Moves) -> None:
        """Keep what is to be kept of some steps, and go on from the last."""
        points, states = moves
        begin, end = self.done, self.done + len(points)
        self.check(torch.stack([state.error for state in states]))
        counted = states[max(0, self.plan.warmup - begin) :]
        accepted = [state.accepted for state in counted if state.accepted is not None]
        self.accepted += torch.stack(accepted).sum(0) if accepted else len(counted)
        swapped = [state.swapped for state in counted if state.swapped is not None]
        if swapped:
            self.swapped += torch.stack(swapped).nansum(0)
            self.tried += (~torch.stack(swapped).isnan()).sum(0)
        self.keep([points[step - begin] for step in self.plan.kept(begin, end)], begin)
        self.point, self.state, self.done = points[-1], states[-1], end

    def keep(self, points: list[Point], begin: int) -> None:
        """Copy some points to where they belong among the draws."""
        if not points:
            return
        first = max(0, begin - self.plan.warmup) // self.plan.thin
        draws = slice(first, first + len(points))
        z = torch.stack([point.z for point in points], out=self.z[draws])
        torch.stack([point.energy for point in points], out=self.energy[draws])
        gradients = torch.stack([point.gradient for point in points])
        self.virial += (z - self.centre).mul_(gradients).sum((0, -1))

    def check(self, errors: Tensor) -> None:
        """Raise RuntimeError where a chain diverged."""
        diverged = self.sampler.diverged(errors / self.plan.temperature)
        if not bool(diverged.any()):
            return
        step = int(diverged.any(1).nonzero()[0])
        count, chains = int(diverged[step].sum()), diverged.shape[1]
        raise RuntimeError(
            f"{count} of {chains} chains ({count / chains:.0%}) diverged at step {self.done + step + 1} of"
            f" {self.plan.steps} under {self.sampler}: {self.sampler.advice}"
        )

    def samples(self, layout: Layout) -> Samples:
        """What was drawn, in the shapes of the start."""
        counted, batch = self.plan.steps - self.plan.warmup, layout.batch
        return Samples(
            z=layout.tree(self.z, (self.plan.draws, *batch)),
            energy=self.energy.reshape(self.plan.draws, *batch),
            acceptance=(self.accepted / counted).reshape(batch),
            swap_acceptance=(self.swapped / self.tried).reshape(*batch, self.sampler.replicas - 1),
            evaluations=1 + self.plan.steps * self.sampler.evaluations,
            temperature=self.plan.temperature,
            effective_temperature=(self.virial / (self.plan.draws * self.z.shape[-1])).reshape(batch),
        )


def _lay_out(
    fn: Callable[..., Tensor], start: Tree, given: tuple[Tree, ...] | None
) -> tuple[Layout, Tensor, RowEnergy]:
    check_start(start)
    energies = fn(start, *(given or ()))
    batch = batch_of(energies, start)
    if batch.numel() == 0:
        raise ValueError(f"there is no chain to run: the batch has shape {tuple(batch)}")
    layout = Layout.of(start, batch)
    rows = layout.rows(tree_map(Tensor.detach, start))
    return layout, rows, of_rows(fn, layout, given or (), energies.dtype)


def _check_energies(point: Point) -> None:
    count = int((~point.energy.isfinite()).sum())
    if count:
        raise ValueError(
            f"the energy of the start is NaN or infinite in {count} of {len(point.energy)} chains: a chain starts where"
            " its distribution has some mass"
        )


def _check_generator(generator: torch.Generator | None, start: Tree) -> None:
    for leaf in tree_leaves(start):
        if generator is not None and isinstance(leaf, Tensor) and generator.device.type != leaf.device.type:
            raise ValueError(
                f"the generator is on {generator.device}, but the start on {leaf.device}: make one for that"
            )
