"""Freeway, in small: a chicken crosses ten lanes, planned for through a learned model, with a latent and CVaR.

    python benchmarks/programs/freeway.py --seed=0                  # a few CPU minutes
    python benchmarks/programs/freeway.py --frames=50000 --steps=6000 --width=512 --episodes=5    # larger

ALE/Freeway-v5: a frame is four of the machine's, and with chance .25 an action is that before it, which is what is
uncertain. A step of the model is `--repeat` frames of one action. It sees two frames, 45 x 25 cells of 4 x 4 pixels
around the chicken's column. How far the chicken came in a step is read from the machine's memory, for training alone.
Called by `ebm study run benchmarks/studies/freeway.yaml`, once for each seed.

Prints `agent/score` for each agent, and of each model `model/energy` (of the step after next on held-out data, over the
variance of codes) and `model/progress` (R2 of what the chicken gains in the steps of a plan).
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import ale_py
import gymnasium
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ebm.energies import Cost, CVaR, Imagined, LearnedDynamics, Mean, Plan, Situation, WorldModel
from ebm.networks import MLP, CategoricalPlaces, PlacesChannel, ResidualTransition
from ebm.planning import ModelPredictiveControl
from ebm.regularizers import Covariance, Variance
from ebm.solvers import Enumeration
from ebm.study.program import publish

HEIGHT, WIDTH, FEATURES, ALTERNATIVES, HORIZON = 45, 25, 64, 8, 4
NOTHING, UP, DOWN = range(3)
PLACE, TOP = 14, 177.0  # where the memory holds how high the chicken is, and how high that can be
DRAWS = 16


class Seen(NamedTuple):
    """Steps of the model, one after another."""

    frames: Tensor  # (N + 1, 2, HEIGHT, WIDTH), bytes
    actions: Tensor  # (N, 3)
    progress: Tensor  # (N,), of the way across


class Game:
    """Two frames at a time, and how far each step came."""

    def __init__(self, seed: int, repeat: int) -> None:
        gymnasium.register_envs(ale_py)
        self.made: Any = gymnasium.make("ALE/Freeway-v5", obs_type="grayscale")
        self.repeat, self.score, self.over = repeat, 0.0, False
        frame, _ = self.made.reset(seed=seed)
        self.frames = [small(frame)] * 2

    def seen(self) -> Tensor:
        """`(2, HEIGHT, WIDTH)`."""
        return torch.stack(self.frames)

    def step(self, action: int) -> float:
        """How far it came, of the way across."""
        before, crossed = self.height(), 0.0
        for _ in range(self.repeat):
            if self.over:
                break
            frame, reward, terminated, truncated, _ = self.made.step(action)
            self.frames = [self.frames[1], small(frame)]
            crossed += reward
            self.over = terminated or truncated
        self.score += crossed
        return crossed + self.height() - before

    def height(self) -> float:
        """From 0 to 1."""
        return float(self.made.unwrapped.ale.getRAM()[PLACE]) / TOP


def small(frame: np.ndarray) -> Tensor:
    """The lanes around the chicken's column, a quarter of the size; thin things stay."""
    cut = torch.from_numpy(frame[16:196, :100].copy()).float()
    return torch.nn.functional.max_pool2d((cut - 142).abs()[None], 4)[0].clamp(max=255).to(torch.uint8)


def recorded(frames: int, seed: int, repeat: int) -> Seen:
    """Mostly up, in runs of an action: a chicken that stays below learns of no lane."""
    draws, game = np.random.default_rng(seed), Game(seed, repeat)
    seen, actions, progress, action = [game.seen()], [], [], UP
    while len(actions) < frames:
        if game.over:
            game = Game(int(draws.integers(1 << 30)), repeat)
        if draws.random() < 0.4:
            action = int(draws.choice(3, p=[0.25, 0.6, 0.15]))
        progress.append(game.step(action))
        actions.append(action)
        seen.append(game.seen())
    return Seen(torch.stack(seen), one_hot(torch.tensor(actions), 3).float(), torch.tensor(progress))


def cut(seen: Seen, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Observations `(B, T + 1, ...)`, actions and progress from each start."""
    steps = start[:, None] + torch.arange(HORIZON)
    times = start[:, None] + torch.arange(HORIZON + 1)
    return seen.frames[times].float() / 64, seen.actions[steps], seen.progress[steps]


class Progress(Cost):
    """`- sum_t` how far the chicken comes, told from codes before and after each step."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tell = MLP([2 * FEATURES, width, 1])

    def of(self, start: Tensor, codes: Tensor) -> Tensor:
        """`(*batch, T)`, in units of a twentieth of the way."""
        before = torch.cat([start.unsqueeze(-2), codes[..., :-1, :]], -2)
        return self.tell(torch.cat([before, codes], -1)).squeeze(-1)

    def forward(self, imagined: Imagined, goal: Tensor | None) -> Tensor:
        return -self.of(imagined.start, imagined.codes).sum(-1)


def world_model(latent: bool, width: int) -> WorldModel:
    """With a choice of 8 in each step, drawn from what the code tells, or with none."""
    encoder = nn.Sequential(nn.Flatten(), MLP([2 * HEIGHT * WIDTH, width, FEATURES]))
    transition = ResidualTransition(FEATURES, 3, ALTERNATIVES if latent else 0, (width // 2, width // 2))
    if not latent:
        return WorldModel(LearnedDynamics(encoder, transition))
    prior = CategoricalPlaces(MLP([FEATURES, 64, ALTERNATIVES]), ALTERNATIVES)
    inference = MLP([2 * FEATURES, 64, ALTERNATIVES])
    dynamics = LearnedDynamics(encoder, transition, prior)
    return WorldModel(dynamics, inference=inference, channel=PlacesChannel(ALTERNATIVES))


def told(model: WorldModel, hx: Tensor, hy: Tensor) -> Tensor:
    """`KL(q(z | x, y) | p(z | x))` nats, the mean over steps."""
    prior = model.dynamics.prior
    if not isinstance(prior, CategoricalPlaces):
        return hy.new_zeros(())
    found = model.predict(hx, hy).log_softmax(-1)
    expected = prior.network(model.trajectory(hx, hy)[0][..., :-1, :]).log_softmax(-1)
    return (found.exp() * (found - expected)).sum(-1).mean()


def train(seen: Seen, latent: bool, options: argparse.Namespace) -> tuple[WorldModel, Progress]:
    """Energy, variance and covariance of codes, nats of the latent, and the progress of what is imagined."""
    torch.manual_seed(options.seed)
    model, progress = world_model(latent, options.width), Progress(64)
    learned = [*model.parameters(), *progress.parameters()]
    optimizer = torch.optim.Adam(learned, 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, options.steps, pct_start=0.1)
    variance, covariance = Variance(), Covariance()
    for _ in range(options.steps):
        observations, actions, gained = cut(seen, torch.randint(len(seen.actions) - HORIZON, (128,)))
        hx, hy = model.encode(Situation(observations[:, 0], actions), observations[:, 1:])
        z = model.latent(hx, hy)
        codes, _ = model.trajectory(hx, hy)
        imagined = model.dynamics.rollout(codes[:, 0], actions, z)
        rows = codes.flatten(0, 1)
        off = (progress.of(codes[:, 0], imagined) - 20 * gained).square().mean()
        loss = 10 * model.distance(imagined, hy).mean() + 10 * variance(rows) + covariance(rows) + 5 * off
        optimizer.zero_grad()
        (loss + 0.1 * told(model, hx, hy)).backward()
        optimizer.step()
        schedule.step()
    return model.eval().requires_grad_(False), progress.eval().requires_grad_(False)


@torch.no_grad()
def read(model: WorldModel, progress: Progress, seen: Seen, draws: int) -> dict[str, float]:
    """Of data that it has not seen: of the second half of its codes' variance, what is not predicted; progress."""
    observations, actions, gained = cut(seen, torch.arange(0, len(seen.actions) - HORIZON, 3))
    plan = Plan(model.dynamics, progress, HORIZON, 3, draws=draws)
    codes = model.dynamics.read(observations)
    imagined = plan.imagine(codes[:, 0], actions)
    expected = -progress(imagined, None)
    expected = expected.mean(0) if draws else expected
    total = 20 * gained.sum(-1)
    later = imagined.codes.mean(0) if draws else imagined.codes
    off = (later[:, 1] - codes[:, 2]).square().mean() / codes[:, 2].var(0).mean()
    return {"energy": float(off), "progress": float(1 - (expected - total).square().mean() / total.var())}


Choose = Callable[[Tensor], int]


def play(choose: Choose, seed: int, options: argparse.Namespace) -> tuple[float, float]:
    """The mean score of games, and CPU milliseconds for each choice."""
    scores, spent, count = [], 0.0, 0
    for episode in range(options.episodes):
        game = Game(10_000 + 100 * seed + episode, options.repeat)
        while not game.over and count < options.longest * (episode + 1):
            began = time.process_time()
            action = choose(game.seen())
            spent, count = spent + time.process_time() - began, count + 1
            game.step(action)
        scores.append(game.score)
    return float(np.mean(scores)), 1000 * spent / count


def planner(model: WorldModel, progress: Progress, draws: int, risk: Mean | CVaR) -> Choose:
    """The first action of the best of all sequences."""
    plans = one_hot(torch.tensor(list(itertools.product(range(3), repeat=HORIZON))), 3).float()
    plan = Plan(model.dynamics, progress, HORIZON, 3, draws=draws, risk=risk)
    agent = ModelPredictiveControl(plan, Enumeration(plans), within=None, warm=False)
    return lambda seen: int(agent.act(seen[None].float() / 64, None).argmax())


def run(options: argparse.Namespace) -> dict[str, float]:
    """Record, train, read, play."""
    began = time.process_time()
    seen, held = (
        recorded(count, options.seed + add, options.repeat) for count, add in ((options.frames, 0), (900, 50))
    )
    draws = np.random.default_rng(options.seed)
    agents: dict[str, Choose] = {"random": lambda seen: int(draws.integers(3)), "up": lambda seen: UP}
    found = {}
    for name, latent in (("deterministic", False), ("latent", True)):
        model, progress = train(seen, latent, options)
        found |= {f"{name}/{key}": value for key, value in read(model, progress, held, DRAWS * latent).items()}
        for risk, measure in {"mean": Mean(), **({"cvar": CVaR(0.2)} if latent else {})}.items():
            agents[f"{name}_{risk}"] = planner(model, progress, DRAWS * latent, measure)
    for name, choose in agents.items():
        found[f"{name}/score"], found[f"{name}/milliseconds"] = play(choose, options.seed, options)
    return found | {"cpu/all": time.process_time() - began}


def main() -> None:
    """Print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=4000, help="steps of the model to learn from (%(default)s)")
    parser.add_argument("--steps", type=int, default=600, help="of training each model (%(default)s)")
    parser.add_argument("--width", type=int, default=128, help="of networks (%(default)s)")
    parser.add_argument("--repeat", type=int, default=2, help="frames of one action (%(default)s)")
    parser.add_argument("--episodes", type=int, default=1, help="games of each agent (%(default)s)")
    parser.add_argument("--longest", type=int, default=10_000, help="steps of a game, at most (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of everything")
    publish(run(parser.parse_args()))


if __name__ == "__main__":
    main()
