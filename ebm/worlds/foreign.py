"""Trajectories from any Gymnasium environment: classic control, MiniGrid, Atari."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import gymnasium
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.nn.functional import interpolate

from ebm.worlds.episode import Episode

Anywhere = gymnasium.Env[Any, Any]
GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601
HOMES = {"ALE/": "ale_py", "MiniGrid-": "minigrid", "BabyAI-": "minigrid"}  # packages that bring environments along


@final
@dataclass(frozen=True)
class Frame:
    """A picture `(channels, size, size)` of bytes: what the environment renders, or else what it gives to see.

    Smoothed as it is made smaller, so that thin things stay. `grey` makes one channel of three.
    """

    size: int = 64
    grey: bool = False
    rendered: bool = True

    def __call__(self, observation: Any, environment: Anywhere) -> Tensor:
        picture = observation
        if self.rendered:
            picture = environment.render() if environment.render_mode == "rgb_array" else None
        if not (isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.shape[2:] in ((1,), (3,))):
            given = f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__
            raise ValueError(
                f"a frame is made of a picture (height, width, 1 or 3) of bytes, {environment} gives {given}: make it"
                " with render_mode='rgb_array', or give `observe`, a function (observation, environment) -> tensor"
            )
        pixels = torch.from_numpy(np.ascontiguousarray(picture)).movedim(-1, 0)
        small = interpolate(pixels[None], (self.size, self.size), mode="bilinear", antialias=True)[0]
        if not self.grey or len(small) == 1:
            return small.contiguous()
        return (small * torch.tensor(GREY)[:, None, None]).sum(0, keepdim=True).round().to(torch.uint8)


def record(
    environment: str | Anywhere,
    episodes: int,
    policy: Callable[[Any, np.random.Generator], Any] | None = None,
    seed: int = 0,
    observe: Callable[[Any, Anywhere], Tensor] = Frame(),
    truth: Callable[[Any, Anywhere], Mapping[str, Tensor]] | None = None,
    longest: int | None = None,
    progress: bool = True,
) -> Iterator[Episode]:
    """Episodes of an environment, by its id or as an object, one by one as they are asked for: give them to `write`.

    `policy(observation, generator)` says what is done, in the environment's own terms; without one actions are sampled
    from its space. `observe(observation, environment)` makes the tensor that is kept, `truth` those that a probe may be
    asked about. Actions are kept as worlds take them: choices one-hot, boxes scaled to -1 to 1. An episode is cut after
    `longest` steps. An environment that was given by its id is made with `render_mode="rgb_array"`, and closed.

    Raises ValueError for an environment that is not known, and for spaces of actions of another kind.
    """
    if episodes < 1 or (longest is not None and longest < 1):
        raise ValueError(f"record at least 1 episode of at least 1 step, not {episodes} of {longest}")
    made = _made(environment) if isinstance(environment, str) else environment
    keeping = _Keeping(_encoder(made.action_space), observe, truth or (lambda observation, environment: {}), longest)
    generator = np.random.default_rng(seed)
    made.action_space.seed(seed)
    choose = policy or (lambda observation, generator: made.action_space.sample())
    console = Console(stderr=True)
    try:
        for index in track(
            range(episodes), f"episodes of {made}", console=console, transient=True, disable=not progress
        ):
            seen, _ = made.reset(seed=seed if index == 0 else None)
            yield _played(made, seen, choose, generator, keeping)
    finally:
        if made is not environment:
            made.close()


class _Keeping(NamedTuple):
    """What is kept of a step."""

    encode: Callable[[Any], Tensor]
    observe: Callable[[Any, Anywhere], Tensor]
    truth: Callable[[Any, Anywhere], Mapping[str, Tensor]]
    longest: int | None


def _played(
    environment: Anywhere,
    observation: Any,
    choose: Callable[[Any, np.random.Generator], Any],
    generator: np.random.Generator,
    keeping: _Keeping,
) -> Episode:
    seen, known = [keeping.observe(observation, environment)], [keeping.truth(observation, environment)]
    actions, rewards = [], []
    over = terminated = False
    while not over:
        action = choose(observation, generator)
        observation, reward, terminated, truncated, _ = environment.step(action)
        actions.append(keeping.encode(action))
        rewards.append(float(reward))
        seen.append(keeping.observe(observation, environment))
        known.append(keeping.truth(observation, environment))
        over = terminated or truncated or len(actions) == keeping.longest
    truth = {name: torch.stack([each[name] for each in known]) for name in known[0]}
    return Episode(
        torch.stack(seen), torch.stack(actions), torch.tensor(rewards, dtype=torch.float64), bool(terminated), truth
    )


def _encoder(space: gymnasium.Space[Any]) -> Callable[[Any], Tensor]:
    """What makes of an action one number for each choice, or numbers from -1 to 1."""
    if isinstance(space, gymnasium.spaces.Discrete):
        rows, first = torch.eye(int(space.n)), int(space.start)
        return lambda action: rows[int(action) - first]
    if isinstance(space, gymnasium.spaces.Box) and space.is_bounded():
        low, high = space.low.astype(np.float64).ravel(), space.high.astype(np.float64).ravel()
        return lambda action: torch.from_numpy(2 * (np.ravel(action) - low) / (high - low) - 1).float()
    raise ValueError(
        f"actions are choices (Discrete) or a Box with bounds, got {space}: wrap the environment so that they are"
    )


def _made(name: str) -> Anywhere:
    home = next((home for start, home in HOMES.items() if name.startswith(start)), None)
    try:
        return gymnasium.make(f"{home}:{name}" if home else name, render_mode="rgb_array")
    except ImportError as error:
        raise ImportError(
            f"{name} needs a package that is not installed: pip install 'ebm-lab[worlds]' ({error})"
        ) from error
    except gymnasium.error.Error as error:
        raise ValueError(f"gymnasium cannot make {name!r}: {error}") from error
