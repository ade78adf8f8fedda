"""What models keep of a pond with leaves: whether a probe reads the ball from codes, seen and imagined.

    python benchmarks/programs/leaves_and_pond.py --pond=static --width=32 --seed=0

Every arm has the same encoder, the same transition, the same steps of Adam on the same trajectories. Called by `ebm
study run benchmarks/studies/leaves_and_pond.yaml`, once for each pond, width and seed; all arms are in one run.

Numbers are named `ARM/WHAT`: `ball_0`, `ball_3`, `ball_6` are R2 of the ball's place by a small network, fitted to the
codes of as many steps after the last that was seen, and read on trajectories that neither it nor the model was fitted
to; `leaves` is that of the middle of all leaves, now (single leaves have no name that a picture could tell); `seconds`
is the CPU time of training.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple, cast, final

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from ebm.data.trajectories import Simulated
from ebm.energies import (
    AutoencodingDynamics,
    LearnedDynamics,
    NextObservation,
    OfTrajectory,
    Situation,
    WorldModel,
)
from ebm.energies.world_model import Rollouts, unpacked
from ebm.energy import Energy
from ebm.free_energy import FreeEnergy
from ebm.learner import Learner, Term, rate
from ebm.losses import PushDown
from ebm.networks import MLP, ResidualTransition
from ebm.regularizers import Covariance, Variance
from ebm.regularizers.trajectories import InverseDynamics
from ebm.study.program import publish
from ebm.worlds import Pond
from ebm.worlds.policies import Uniform

PONDS = {
    "none": Pond("none"),
    "independent": Pond("independent"),
    "drifting": Pond("drifting"),
    "static": Pond("static"),
    "bright": Pond("independent", leaves=16, bank=16, ball=0.2),  # leaves hold nearly all of what pixels vary by
}
RIVALS = ("jepa", "autoencoder", "pixels")
REPAIRS = ("across", "within", "actions", "inverse")  # of what follows the leaves where they can be followed
REPAIRED = ("static",)
PUSHED, PUSH = ("actions", "inverse"), 0.6  # arms in whose pond the ball can be pushed, and by how many pixels a step
HORIZONS = (0, 3, 6)
PIECE = {"across": 8, "within": 8}  # steps of a trajectory to train on, 4 unless it has to hold negatives
ROWS, READ = 5000, 2000  # trajectories to train on, and to fit and read probes on
BATCH, STEPS, RATE = 64, 800, 1.5e-3
TEMPERATURE = 0.01  # of negatives


@final
class Contrast(nn.Module):
    """InfoNCE over times: which of them is the one that was predicted, by `d(prediction_t, code_s) / temperature`?

    The others are the later times of the same trajectory, or, `across`, all times of the whole batch. What does not
    change along a trajectory tells none of its times from another.
    """

    def __init__(self, across: bool, temperature: float = TEMPERATURE) -> None:
        super().__init__()
        self.across, self.temperature = across, temperature

    def forward(self, F: FreeEnergy, hx: Tensor, hy: Tensor) -> Tensor:
        """Codes `(batch, ...)` to a scalar."""
        predicted = cast(Rollouts, F.energy).dynamics.rollout(*unpacked(hx, hy.shape[-1], hy.shape[-2]))
        if self.across:
            predicted, hy = predicted.reshape(1, -1, hy.shape[-1]), hy.reshape(1, -1, hy.shape[-1])
        distances = torch.cdist(predicted, hy).square() / hy.shape[-1]
        own = torch.arange(hy.shape[-2], device=hy.device).expand(len(hy), -1)
        return cross_entropy(-distances.flatten(0, 1) / self.temperature, own.flatten())


def vicreg(**more: Term) -> dict[str, Mapping[str, Term]]:
    """The terms of a joint embedding that is kept from collapse by the moments of its codes."""
    spread = {"variance": Term(10, Variance()), "covariance": Term(2, Covariance())}
    return {"losses": {"energy": Term(5, PushDown()), **more}, "regularizers": spread}


def learner(arm: str, world: Pond, width: int) -> Learner:
    """The arm by its name. The networks are drawn in the same order in each."""
    pixels = 2 * world.size * (world.size + world.bank)
    encoder, transition = MLP([pixels, 128, 64, width]), ResidualTransition(width, world.actions, hidden=(64, 64))
    dynamics = LearnedDynamics(encoder, transition)
    decoder = MLP([width, 64, 128, pixels])
    energies: dict[str, Callable[[], Energy]] = {
        "autoencoder": lambda: AutoencodingDynamics(dynamics, decoder),
        "pixels": lambda: NextObservation(dynamics, decoder),
    }
    terms = {
        "jepa": vicreg,
        "actions": vicreg,
        "inverse": lambda: vicreg(inverse=Term(50, OfTrajectory(InverseDynamics(width, max(1, world.actions))))),
        "across": lambda: {"losses": {"contrast": Term(1, Contrast(across=True))}},
        "within": lambda: {"losses": {"contrast": Term(1, Contrast(across=False))}},
    }
    made = energies.get(arm, lambda: WorldModel(dynamics))()
    of_arm = terms.get(arm, lambda: {"losses": {"energy": Term(1, PushDown())}})()
    return Learner(made, **of_arm)


class Pieces(NamedTuple):
    """Trajectories: what is seen at all times, what is done between them, and what may be asked of the truth."""

    seen: Tensor
    done: Tensor
    truth: dict[str, Tensor]


def pieces(world: Pond, split: str, steps: int, seed: int, count: int) -> Pieces:
    """`count` trajectories of a part."""
    source = Simulated(world, Uniform(), count, count, steps, seed)
    states, actions = source.trajectories("train" if split == "train" else "test")
    return Pieces(world.observe(states), actions, world.truth(states))


def train(model: Learner, data: Pieces, steps: int) -> float:
    """Minimise the arm's terms; the CPU seconds that it took."""
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    start = time.process_time()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * rate(step, steps, 0.0, 0.0)
        drawn = torch.randint(len(data.seen), (BATCH,))
        seen = data.seen[drawn]
        terms, _, _ = model.terms(Situation(seen[:, 0], data.done[drawn]), seen[:, 1:])
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
    return time.process_time() - start


@torch.no_grad()
def imagined(model: Learner, data: Pieces) -> Tensor:
    """The code of what is seen first, and those that follow it with eyes shut, `(batch, T + 1, width)`."""
    dynamics = cast(Rollouts, model.F.energy).dynamics
    code = dynamics.read(data.seen[:, 0])
    return torch.cat([code[:, None], dynamics.rollout(code, data.done)], 1)


@final
class Probe:
    """A network of one hidden layer that reads a truth from standardised codes: 400 steps of Adam."""

    def __init__(self, codes: Tensor, truth: Tensor, steps: int = 400) -> None:
        torch.manual_seed(0)
        self.centre, self.scale = codes.mean(0), codes.std(0) + 1e-6
        self.mean, self.spread = truth.mean(0), truth.std(0)
        self.network = MLP([codes.shape[1], 64, truth.shape[1]])
        inputs, targets = (codes - self.centre) / self.scale, (truth - self.mean) / self.spread
        optimizer = torch.optim.Adam(self.network.parameters(), 5e-3)
        for _ in range(steps):
            drawn = torch.randint(len(codes), (256,))
            optimizer.zero_grad()
            mse_loss(self.network(inputs[drawn]), targets[drawn]).backward()
            optimizer.step()

    @torch.no_grad()
    def __call__(self, codes: Tensor) -> Tensor:
        """The truth as it is read, `(*batch, features)`."""
        return self.network((codes - self.centre) / self.scale) * self.spread + self.mean

    def score(self, codes: Tensor, truth: Tensor) -> float:
        """R2, mean over features: 1 is the truth, 0 no better than its mean."""
        return float((1 - (self(codes) - truth).square().mean(0) / truth.var(0)).mean())


def middle(leaves: Tensor) -> Tensor:
    """The mean of the places of all leaves, `(*batch, 2)`."""
    return leaves.unflatten(-1, (-1, 2)).mean(-2)


def readings(model: Learner, data: Pieces) -> dict[str, float]:
    """R2 of the ball at each horizon, and of the leaves now."""
    codes, fitted = imagined(model, data), slice(None, READ * 7 // 10)
    held_out = slice(READ * 7 // 10, None)
    asked = {f"ball_{h}": (codes[:, h], data.truth["ball"][:, h]) for h in HORIZONS}
    if "leaves" in data.truth:
        asked["leaves"] = codes[:, 0], middle(data.truth["leaves"][:, 0])
    return {name: Probe(c[fitted], t[fitted]).score(c[held_out], t[held_out]) for name, (c, t) in asked.items()}


def trained(arm: str, world: Pond, width: int, seed: int, steps: int = STEPS) -> tuple[Learner, float]:
    """The model of an arm, and the seconds that it took."""
    data = pieces(world, "train", PIECE.get(arm, 4), seed, ROWS)
    torch.manual_seed(seed)
    model = learner(arm, world, width)
    return model, train(model, data, steps)


def run(options: argparse.Namespace) -> dict[str, float]:
    """All arms of a pond."""
    plain = PONDS[options.pond]
    pushed = replace(plain, push=PUSH)
    numbers: dict[str, float] = {}
    for arm in RIVALS + (REPAIRS if options.pond in REPAIRED else ()):
        world = pushed if arm in PUSHED else plain
        model, seconds = trained(arm, world, options.width, options.seed, options.steps)
        found = readings(model, pieces(world, "test", max(HORIZONS), options.seed, READ)) | {"seconds": seconds}
        print(arm, {name: round(value, 2) for name, value in found.items()}, flush=True)
        numbers |= {f"{arm}/{name}": value for name, value in found.items()}
    return numbers


def main() -> None:
    """Print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pond", choices=list(PONDS), default="independent", help="its leaves (%(default)s)")
    parser.add_argument("--width", type=int, default=32, help="features of a code (%(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="of Adam (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the trajectories, the networks and the batches")
    publish(run(parser.parse_args()))


if __name__ == "__main__":
    main()
