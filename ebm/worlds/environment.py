"""A world as Gymnasium knows one, so that any library of reinforcement learning can be tried on it."""

from __future__ import annotations

import colorsys
from typing import Any, ClassVar, final

import gymnasium
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ebm.worlds.episode import scored
from ebm.worlds.world import World

Array = np.ndarray[Any, Any]
SHOWN = 256  # pixels that a rendered picture is high and wide, at least


@final
class Environment(gymnasium.Env[Array, Any]):
    """One copy of a world, by the interface of `gymnasium.Env`.

    Observations are `(channels, height, width)` of bytes, those of `world.observe` times 255; where the world wants
    something, the channels of its goal's picture follow. Actions are a box from -1 to 1, or a number from 0 where they
    are choices. The reward is 1 in a step that leads to success, less 1 in a step that is the first to violate;
    `terminated` where the world has ended or success is reached, `truncated` after `world.episode` steps. `info` has
    `success`, `violated` and `truth`, a dictionary of arrays.

    All that is drawn follows from the seed of `reset`. Raises ValueError for an action of another shape or with NaN;
    what lies outside of the box is put back by the world.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}  # type: ignore[misc]

    def __init__(self, world: World, render_mode: str | None = None) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode is None or 'rgb_array', got {render_mode!r}")
        self.world, self.render_mode = world, render_mode
        self.observation_space, self.action_space = spaces(world)
        spec = gymnasium.envs.registration.EnvSpec
        self.spec = spec(
            f"ebm/{type(world).__name__}-v0", entry_point="ebm.worlds.environment:Environment", kwargs={"world": world}
        )
        self._generator = torch.Generator()
        self._states: Tensor | None = None
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        self._generator.manual_seed(int(self.np_random.integers(2**62)))
        self._states = self.world.start(1, self._generator)
        self._steps = 0
        return self._shown()[0], _single(told(self.world, self._states))

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        before = self._here()
        actions = decoded(self.world, np.asarray(action)[None], before)
        self._states = self.world.step(before, actions, self.world.noise(before, self._generator))
        self._steps += 1
        reward, terminated = scored(self.world, before, self._states)
        info = _single(told(self.world, self._states))
        return self._shown()[0], float(reward), bool(terminated), self._steps >= self.world.episode, info

    def render(self) -> Array | None:
        """The picture `(height, width, 3)` of bytes, each channel in a colour of its own."""
        return painted(self._shown())[0] if self.render_mode == "rgb_array" else None

    def _here(self) -> Tensor:
        if self._states is None:
            raise gymnasium.error.ResetNeeded("the environment has not begun: call reset() before step() and render()")
        return self._states

    def _shown(self) -> Array:
        return pictures(self.world, self._here())


def spaces(world: World) -> tuple[gymnasium.spaces.Box, gymnasium.Space[Any]]:
    """Of observations and of actions, for one copy."""
    shape = pictures(world, world.start(1, torch.Generator().manual_seed(0))).shape[1:]
    seen = gymnasium.spaces.Box(0, 255, shape, np.uint8)
    if world.discrete:
        return seen, gymnasium.spaces.Discrete(world.actions)
    return seen, gymnasium.spaces.Box(-1, 1, (world.actions,), np.float32)


def pictures(world: World, states: Tensor) -> Array:
    """What is seen of states, and after it of their goal, as bytes."""
    seen = world.observe(states)
    if wants(world):
        seen = torch.cat([seen, world.observe(world.goal(states))], -3)
    return (255 * seen).round().to(torch.uint8).cpu().numpy()


def wants(world: World) -> bool:
    """Whether a world has a goal."""
    return type(world).goal is not World.goal


def decoded(world: World, actions: Array, states: Tensor) -> Tensor:
    """Gymnasium's actions as a world takes them, `(copies, actions)`; ValueError for what is none."""
    copies = len(states)
    if not world.discrete:
        if actions.shape != (copies, world.actions) or np.isnan(actions).any():
            raise ValueError(f"actions are {world.actions} numbers from -1 to 1 for each copy, got {actions}")
        return torch.as_tensor(actions, dtype=states.dtype, device=states.device)
    whole = actions.shape == (copies,) and actions.dtype.kind in "iu"
    if not whole or (actions < 0).any() or (actions >= world.actions).any():
        raise ValueError(f"actions are a whole number from 0 to {world.actions - 1} for each copy, got {actions}")
    return one_hot(torch.as_tensor(actions, device=states.device).long(), world.actions).to(states)


def told(world: World, states: Tensor) -> dict[str, Any]:
    """What `info` says of each copy."""
    truth = {name: value.cpu().numpy().copy() for name, value in world.truth(states).items()}
    flags = {"success": world.succeeded(states), "violated": world.violated(states)}
    return {**{name: flag.cpu().numpy() for name, flag in flags.items()}, "truth": truth}


def painted(seen: Array) -> Array:
    """Pictures `(copies, height, width, 3)`, made large: channels have hues evenly apart, and add up."""
    channels = seen.shape[1]
    colours = np.array([colorsys.hsv_to_rgb(i / channels, 0.7, 1.0) for i in range(channels)])
    mixed = np.einsum("bchw,cr->bhwr", seen.astype(np.float32), colours).clip(0, 255).astype(np.uint8)
    large = max(1, -(-SHOWN // min(mixed.shape[1:3])))
    return mixed.repeat(large, 1).repeat(large, 2)


def _single(info: dict[str, Any]) -> dict[str, Any]:
    truth = {name: value[0] for name, value in info["truth"].items()}
    return {"success": bool(info["success"][0]), "violated": bool(info["violated"][0]), "truth": truth}
