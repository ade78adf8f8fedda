"""World models of a room where obstacles wander, with and without a latent, over one encoder, and the costs of plans.

Obstacles are independent given the room, so that a latent for each place, of 9 alternatives, can say all that is open:
stay, or one of eight ways. One latent for the whole room would need 9^4 values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ebm.energies import Cost, Dynamics, Imagined, LearnedDynamics, Situation, WorldModel
from ebm.networks import CategoricalPlaces, PlaceNet, PlacesChannel, PlaceTransition
from ebm.regularizers import Covariance, Variance
from ebm.worlds import DynamicObstacles, simulate
from ebm.worlds.policies import Uniform

PLANES, CHANNELS, ALTERNATIVES = 7, 8, 9
NOISE = 0.3  # of codes, which deviate by 1
SMALLEST = -20.0  # a logarithm of chances below which nothing matters


@dataclass(frozen=True)
class Settings:
    """How models are trained."""

    size: int = 8
    obstacles: int = 4
    steps: int = 500
    first_steps: int = 400
    batch: int = 48
    horizon: int = 3
    rate: float = 1e-2
    precision: float = 0.5  # weight of the energy against the nats that a latent tells

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of codes."""
        return (CHANNELS, self.size, self.size)

    @property
    def features(self) -> int:
        """Of codes."""
        return math.prod(self.shape)


class Batch(NamedTuple):
    """Trajectories that go on to their last action, and what came of each action."""

    observations: Tensor  # (B, T + 1, planes, size, size)
    actions: Tensor  # (B, T, 3)
    outcomes: Tensor  # (B, T, 2): collision, goal
    states: Tensor  # (B, T + 1, features)

    @property
    def situation(self) -> Situation:
        return Situation(self.observations[:, 0], self.actions)


def batches(settings: Settings, seed: int, count: int | None = None, horizon: int | None = None) -> Iterator[Batch]:
    """Random actions from anywhere, drawn anew for each batch; half as many again are drawn as go on to the end."""
    world = DynamicObstacles(settings.size, settings.obstacles, anywhere=True)
    generator = torch.Generator().manual_seed(seed)
    count, horizon = count or settings.batch, horizon or settings.horizon
    while True:
        states, actions = simulate(world, Uniform(), 2 * count, horizon, generator)
        going = ~world.ended(states[:, -2])
        states, actions = states[going][:count], actions[going][:count]
        outcomes = torch.stack([world.violated(states[:, 1:]), world.succeeded(states[:, 1:])], -1).float()
        yield Batch(world.observe(states), actions, outcomes, states)


Loss = Callable[[Batch, float], Tensor]  # of a batch, and of what share of the steps is done


class Heads(nn.Module):
    """What is wanted of a code: logits of a collision and of the goal for each action, and how far the goal is."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.places = settings.size**2
        self.look = PlaceNet(settings.shape, [32, 16], [3, 1])
        self.tell = nn.Linear(16, 6)
        self.far = nn.Linear(settings.features, 1)

    def outcomes(self, codes: Tensor, actions: Tensor) -> Tensor:
        """`(*batch, features), (*batch, 3) -> (*batch, 2)`."""
        found = self.look(codes).unflatten(-1, (-1, self.places)).amax(-1)
        return (self.tell(found).unflatten(-1, (3, 2)) * actions.unsqueeze(-1)).sum(-2)

    def distance(self, codes: Tensor) -> Tensor:
        """Cells to the goal, `(*batch,)`."""
        return self.far(codes).squeeze(-1)

    def loss(self, codes: Tensor, batch: Batch, start: int = 0) -> Tensor:
        """Of codes before each action from `start` on, `(B, T, features)`."""
        told = self.outcomes(codes, batch.actions[:, start:])
        far = 2 * (batch.observations.shape[-1] - 2) - batch.states[:, start:-1, :2].sum(-1) - self.distance(codes)
        return 10 * binary_cross_entropy_with_logits(told, batch.outcomes[:, start:]) + far.square().mean()


class Trip(Cost):
    """What a plan is expected to take: `sum_t alive_t (1 + weight p(collision_t))`, then the cells that are left.

    `alive_t` is the chance that neither a collision nor the goal has ended it. A collision is worth `weight` steps.
    """

    def __init__(self, heads: Heads, weight: float) -> None:
        super().__init__()
        self.heads, self.weight = heads, weight

    def chances(self, imagined: Imagined) -> Tensor:
        """Of a collision and of the goal at each step, `(*batch, T, 2)`."""
        before = torch.cat([imagined.start.unsqueeze(-2), imagined.codes[..., :-1, :]], -2)
        return self.heads.outcomes(before, imagined.actions).sigmoid()

    def forward(self, imagined: Imagined, goal: Tensor | None) -> Tensor:
        far = self.heads.distance(imagined.codes[..., -1, :]).clamp(min=0)
        return expected_trip(self.chances(imagined), far, self.weight)


class TrueTrip(Cost):
    """The same of states, in which it is known what came of a plan."""

    def __init__(self, world: DynamicObstacles, weight: float) -> None:
        super().__init__()
        self.world, self.weight = world, weight

    def chances(self, imagined: Imagined) -> Tensor:
        """Certainties."""
        after = torch.stack([self.world.violated(imagined.codes), self.world.succeeded(imagined.codes)], -1).float()
        return after.diff(dim=-2, prepend=torch.zeros_like(after[..., :1, :]))

    def forward(self, imagined: Imagined, goal: Tensor | None) -> Tensor:
        far = self.world.truth(imagined.codes[..., -1, :])["distance"].squeeze(-1)
        return expected_trip(self.chances(imagined), far, self.weight)


def expected_trip(chances: Tensor, far: Tensor, weight: float) -> Tensor:
    """Steps and collisions while alive, and what is left then."""
    going = (1 - chances).prod(-1)
    alive = torch.cat([torch.ones_like(going[..., :1]), going.cumprod(-1)], -1)
    return (alive[..., :-1] * (1 + weight * chances[..., 0])).sum(-1) + alive[..., -1] * far


def collision(chances: Tensor) -> Tensor:
    """That there is one at some step, `(*batch, T)`: up to each step."""
    going = (1 - chances).prod(-1)
    alive = torch.cat([torch.ones_like(going[..., :1]), going.cumprod(-1)[..., :-1]], -1)
    return (alive * chances[..., 0]).cumsum(-1)


class Scaled(nn.Module):
    """Each plane less its mean, over its deviation: the agent is in one of 64 places and is not to be overlooked."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", images.mean((0, 2, 3), keepdim=True))
        self.register_buffer("std", images.std((0, 2, 3), keepdim=True))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


def encoder(settings: Settings, seed: int) -> nn.Module:
    """Planes to codes of as many places, each by itself."""
    images = next(batches(settings, seed, 500)).observations.flatten(0, 1)
    return nn.Sequential(Scaled(images), nn.Conv2d(PLANES, 24, 1), nn.ReLU(), nn.Conv2d(24, CHANNELS, 1))


def world_model(settings: Settings, kind: str, reads: nn.Module) -> WorldModel:
    """A model of one kind over an encoder: "deterministic", "latent" or "unlimited"."""
    latents = 0 if kind == "deterministic" else ALTERNATIVES
    transition = PlaceTransition(settings.shape, 3, latents, gates=32)
    prior = None
    if kind == "latent":
        prior = CategoricalPlaces(PlaceNet(settings.shape, [16, ALTERNATIVES], [3, 1]), ALTERNATIVES)
    dynamics = LearnedDynamics(reads, transition, prior)
    if not latents:
        return WorldModel(dynamics)
    inference = Pairwise(settings)
    return WorldModel(dynamics, inference=inference, channel=PlacesChannel(ALTERNATIVES) if prior else None)


class Pairwise(nn.Module):
    """What two codes tell of the latents between them, `(*batch, 2 features) -> (*batch, alternatives places)`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.net = PlaceNet((2 * CHANNELS, *settings.shape[1:]), [24, ALTERNATIVES], [3, 1])

    def forward(self, codes: Tensor) -> Tensor:
        return self.net(codes)


def divergence(model: WorldModel, hx: Tensor, hy: Tensor) -> Tensor:
    """`KL(q(z | x, y) | p(z | x))` nats of each step, summed over places, `(B, T)`; 0 without a prior."""
    prior = model.dynamics.prior
    if not isinstance(prior, CategoricalPlaces):
        return hy.new_zeros(hy.shape[:-1])
    told = prior.by_place(model.predict(hx, hy)).log_softmax(-1)
    codes, _ = model.trajectory(hx, hy)
    expected = prior.logits(codes[..., :-1, :]).log_softmax(-1).clamp(min=SMALLEST)
    return (told.exp() * (told - expected)).sum((-1, -2))


def fit(
    parameters: Iterable[nn.Parameter],
    settings: Settings,
    steps: int,
    seed: int,
    loss: Callable[[Batch, float], Tensor],
) -> None:
    """Adam with a one-cycle rate; the loss is told what share of the steps is done."""
    kept = list(parameters)
    optimizer = torch.optim.Adam(kept, settings.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.rate, steps, pct_start=0.1)
    for step, batch in zip(range(steps), batches(settings, seed), strict=False):
        optimizer.zero_grad()
        loss(batch, step / steps).backward()
        nn.utils.clip_grad_norm_(kept, 20.0)
        optimizer.step()
        schedule.step()


def train_encoder(settings: Settings, seed: int) -> tuple[nn.Module, Heads]:
    """An encoder whose places vary and do not repeat themselves, and of which the costs can be told.

    It does not see how well it is predicted: trained together with a model that has no latent it would leave out the
    obstacles, which cannot be predicted.
    """
    reads, heads = encoder(settings, seed), Heads(settings)
    variance, covariance = Variance(), Covariance()

    def loss(batch: Batch, progress: float) -> Tensor:
        images = reads(batch.observations.flatten(0, 1))
        rows = images.flatten(2).transpose(1, 2).flatten(0, 1)  # places are samples
        codes = images.flatten(1).unflatten(0, batch.observations.shape[:2])
        noisy = codes[:, :-1] + NOISE * torch.randn_like(codes[:, :-1])  # what is imagined is never quite a code
        return 25 * variance(rows) + 25 * covariance(rows) + heads.loss(noisy, batch)

    fit([*reads.parameters(), *heads.parameters()], settings, settings.first_steps, seed, loss)
    return reads.eval().requires_grad_(False), heads.eval().requires_grad_(False)


def train_model(
    settings: Settings, kind: str, reads: nn.Module, seed: int, known: WorldModel | None = None
) -> WorldModel:
    """A model of one kind over an encoder that is held still.

    One with a latent begins as the deterministic model that is `known`: else its latent would come to tell what the
    action tells already, which no prior of codes alone can know.
    """
    model = world_model(settings, kind, reads)
    if known is not None:
        _begin_as(model, known)

    def loss(batch: Batch, progress: float) -> Tensor:
        hx, hy = model.encode(batch.situation, batch.observations[:, 1:])
        energy = settings.features * model.cost(hx, hy, model.latent(hx, hy)).mean()
        return settings.precision * energy + min(1.0, 2 * progress) * divergence(model, hx, hy).mean()

    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    fit(learned, settings, settings.steps, seed, loss)
    return model.eval().requires_grad_(False)


@torch.no_grad()
def _begin_as(model: WorldModel, known: WorldModel) -> None:
    """Its weights, and none yet for the latent, which comes last among what a gate sees."""
    kept = known.dynamics.transition.state_dict()
    for name, weight in model.dynamics.transition.state_dict().items():
        if weight.shape == kept[name].shape:
            weight.copy_(kept[name])
        else:
            weight[:, : kept[name].shape[1]] = kept[name]
            weight[:, kept[name].shape[1] :] *= 0.3


def train_heads(settings: Settings, dynamics: Dynamics, known: Heads, seed: int) -> Heads:
    """Costs that are fitted to what a deterministic model predicts, from those of codes of what was seen."""
    heads = deepcopy(known).train().requires_grad_(True)

    def loss(batch: Batch, progress: float) -> Tensor:
        with torch.no_grad():
            first = dynamics.read(batch.observations[:, 0])
            later = dynamics.imagine(first, batch.actions[:, :-1], None)
        return heads.loss(torch.cat([first.unsqueeze(-2), later], -2), batch)

    fit(heads.parameters(), settings, settings.first_steps, seed, loss)
    return heads.eval().requires_grad_(False)
