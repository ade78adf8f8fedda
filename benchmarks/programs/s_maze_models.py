"""The models of the S-maze: one level, learned from walks at random, and levels above it, learned from its codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from world_training import probe, r_squared, rows, train

from ebm import FreeEnergy
from ebm.data import Simulated, TrajectoryPairs
from ebm.energies import HierarchicalJEPA, LearnedDynamics, Level, OfLevel, OfTrajectory, WorldModel
from ebm.energies.world_model import packed
from ebm.learner import Learner, Term, rate
from ebm.losses import PushDown
from ebm.networks import ResidualTransition
from ebm.regularizers import Covariance, InverseDynamics, TemporalSmoothness, Variance
from ebm.worlds import SMaze

SIZE = 16  # pixels a side
WORLD = SMaze(size=SIZE)
WALKS = SMaze(size=SIZE, anywhere=True)
LENGTH = 24  # steps of a walk
FEATURES, OWN, MACRO = 32, 8, 3  # of codes of the lowest level and of those above, and of macro-actions
REFINED = 4, 256  # steps of a rollout and pieces in a batch, once the codes are fixed
LADDERS = {"two": (6,), "stride_3": (3,), "stride_10": (10,), "same_space": (6,), "three": (3, 4)}  # strides of levels


@dataclass(frozen=True)
class Walks:
    """Walks at random as they are seen by the lowest level, once it is fixed."""

    states: Tensor
    codes: Tensor
    actions: Tensor

    def piece(self, steps: int, batch: int) -> tuple[Tensor, Tensor]:
        """Codes of pieces of walks as energies of trajectories take them, all from the same time."""
        chosen = torch.randint(len(self.codes), (batch,))
        first = int(torch.randint(self.actions.shape[1] - steps + 1, ()))
        codes, actions = self.codes[chosen, first : first + steps + 1], self.actions[chosen, first : first + steps]
        return packed(codes[:, 0], actions), codes[:, 1:]


def encoder() -> nn.Module:
    """Two convolutions of stride 2 and two linear layers, for pictures of 16 x 16."""
    convolutions = [nn.Conv2d(2, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*convolutions, nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, FEATURES))


def lowest(steps: int, seed: int) -> tuple[WorldModel, Walks, Walks]:
    """The model of single steps, with walks that it was trained on and others; its codes are fixed then."""
    torch.manual_seed(seed)
    model = WorldModel(LearnedDynamics(encoder(), ResidualTransition(FEATURES, WORLD.actions)))
    learner = Learner(
        model,
        losses={
            "predict": Term(10, PushDown()),
            "slowness": Term(2, OfTrajectory(TemporalSmoothness())),
            "inverse": Term(1, OfTrajectory(InverseDynamics(FEATURES, WORLD.actions))),
        },
        regularizers={"variance": Term(10, Variance()), "covariance": Term(0.5, Covariance())},
    )
    data = TrajectoryPairs(Simulated(WALKS, train=3000, held_out=300, steps=LENGTH, seed=seed), steps=4)
    train(learner, data, steps)
    dynamics = model.dynamics.requires_grad_(False)
    seen, fresh = (Walks(states, read(dynamics, states), actions) for states, actions in splits(data))
    dynamics.transition.requires_grad_(True)
    descend(FreeEnergy(model), {"predict": Term(1, PushDown())}, seen, *REFINED, steps)
    return model.eval().requires_grad_(False), seen, fresh


def splits(data: TrajectoryPairs) -> list[tuple[Tensor, Tensor]]:
    """The trajectories to learn from, and the others."""
    return [rows(data, "train"), rows(data, "held_out")]


@torch.no_grad()
def read(dynamics: LearnedDynamics, states: Tensor) -> Tensor:
    """Codes `(count, times, features)` of states, a part of them at a time."""
    return torch.cat([dynamics.read(WORLD.observe(part)) for part in states.split(64)])


def ladder(model: WorldModel, walks: Walks, name: str, steps: int) -> HierarchicalJEPA:
    """Levels above the lowest, each with its own slow codes, or in the same space: trained on codes that are kept."""
    strides, own = LADDERS[name], None if name == "same_space" else OWN
    sizes = [(FEATURES, WORLD.actions), *[(own or FEATURES, MACRO) for _ in strides]]
    levels = [Level.of(*sizes[k], stride, MACRO, own) for k, stride in enumerate(strides)]
    hierarchy = HierarchicalJEPA(model.dynamics, levels, [0.0, *[1.0] * len(levels)], joint=False)
    losses = {"predict": Term(10, PushDown())}
    for k in range(1, len(levels) + 1) if own else ():
        losses[f"variance {k}"] = Term(10, OfLevel(k, Variance()))
        losses[f"covariance {k}"] = Term(1, OfLevel(k, Covariance()))
        losses[f"slowness {k}"] = Term(5, OfLevel(k, TemporalSmoothness(), ordered=True))
    span = hierarchy.span(len(levels))
    descend(FreeEnergy(hierarchy), losses, walks, span * max(1, min(3, LENGTH // span)), 128, steps)
    return hierarchy.eval().requires_grad_(False)


def descend(F: FreeEnergy, losses: dict[str, Term], walks: Walks, length: int, batch: int, steps: int) -> None:
    """Minimise losses of pieces of walks by Adam, its rate falling along a cosine."""
    optimizer = torch.optim.Adam([p for p in F.parameters() if p.requires_grad], 1e-3)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * rate(step, steps, 0.0, 0.02)
        hx, hy = walks.piece(length, batch)
        loss = torch.stack([term.weight * term.fn(F, hx, hy) for term in losses.values()]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def probed(model: WorldModel, seen: Walks, fresh: Walks) -> tuple[nn.Module, dict[str, float]]:
    """A probe of position, how well it reads, and where rollouts of so many steps end, by it."""
    where = probe(seen.codes.flatten(0, 1), seen.states[..., :2].flatten(0, 1))
    found = {"model/probe": r_squared(where(fresh.codes.flatten(0, 1)), fresh.states[..., :2].flatten(0, 1))}
    for steps in (6, 12, 24):
        ends = model.dynamics.rollout(fresh.codes[:, 0], fresh.actions[:, :steps])[:, -1]
        found[f"model/open_{steps}"] = float((where(ends) - fresh.states[:, steps, :2]).square().mean().sqrt())
    return where, found


def order(distances: Tensor, truth: Tensor) -> float:
    """Spearman's correlation of ranks, `(N,)` and `(N,)`."""
    ranks = torch.stack([part.argsort().argsort().double() for part in (distances, truth)])
    return float(torch.corrcoef(ranks)[0, 1])


def metric(hierarchy: HierarchicalJEPA, count: int = 2000) -> list[float]:
    """For each level, how well its squared distances order pairs of places by the way between them."""
    states = WALKS.start(count, torch.Generator().manual_seed(0))
    truth = WORLD.distance(states)
    found = []
    for k in range(len(hierarchy.levels) + 1):
        dynamics = hierarchy.dynamics_of(k)
        here, there = (dynamics.read(WORLD.observe(part)) for part in (states, WORLD.goal(states)))
        found.append(order((here - there).square().sum(-1), truth))
    return found


def upper_probe(hierarchy: HierarchicalJEPA, walks: Walks) -> nn.Module:
    """A probe of position from the codes of the level above the lowest."""
    codes = cast(Level, hierarchy.levels[0]).encoder(walks.codes.flatten(0, 1))
    return probe(codes, walks.states[..., :2].flatten(0, 1))
