"""Many copies of a world as Gymnasium knows them."""

from __future__ import annotations

from typing import Any, ClassVar, final

import gymnasium
import numpy as np
import torch
from gymnasium.vector.utils import batch_space
from torch import Tensor

from ebm.worlds.environment import Array, decoded, painted, pictures, spaces, told
from ebm.worlds.episode import scored
from ebm.worlds.world import World


@final
class VectorEnvironment(gymnasium.vector.VectorEnv[Array, Array, Array]):
    """`count` copies of a world, by the interface of `gymnasium.vector.VectorEnv`; each is as an `Environment`.

    A copy that is over begins anew in the step after (`AutoresetMode.NEXT_STEP`, Gymnasium's default): whatever is done
    in it then, that step's reward is 0 and its observation the first of the next episode. States live on `device`, all
    copies in one tensor, and what is drawn is drawn for all at once; so one seed is given for all of them.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["rgb_array"],
        "render_fps": 10,
        "autoreset_mode": gymnasium.vector.AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self, world: World, count: int, render_mode: str | None = None, device: str | torch.device = "cpu"
    ) -> None:
        if count < 1:
            raise ValueError(f"count is the number of copies, at least 1, got {count}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode is None or 'rgb_array', got {render_mode!r}")
        self.world, self.num_envs, self.render_mode = world, count, render_mode
        self.single_observation_space, self.single_action_space = spaces(world)
        self.observation_space = batch_space(self.single_observation_space, count)
        self.action_space = batch_space(self.single_action_space, count)
        self._generator = torch.Generator(device)
        self._states: Tensor | None = None
        self._steps = torch.zeros(count, dtype=torch.long, device=device)
        self._over = torch.zeros(count, dtype=torch.bool, device=device)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        if seed is not None and not isinstance(seed, int | np.integer):
            raise ValueError(f"all copies draw from one generator: give one seed for all of them, not {seed!r}")
        super().reset(seed=seed)
        self._generator.manual_seed(int(self.np_random.integers(2**62)))
        self._states = self.world.start(self.num_envs, self._generator)
        self._steps, self._over = torch.zeros_like(self._steps), torch.zeros_like(self._over)
        return pictures(self.world, self._states), told(self.world, self._states)

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        before = self._here()
        after = self.world.step(
            before, decoded(self.world, np.asarray(actions), before), self.world.noise(before, self._generator)
        )
        fresh = self._over
        reward, terminated = scored(self.world, before, after)
        if bool(fresh.any()):
            after = torch.where(fresh.unsqueeze(-1), self.world.start(self.num_envs, self._generator), after)
        self._states, self._steps = after, torch.where(fresh, 0, self._steps + 1)
        reward, terminated = reward * ~fresh, terminated & ~fresh
        truncated = self._steps >= self.world.episode
        self._over = terminated | truncated
        rewards, terminations, truncations = (flag.cpu().numpy() for flag in (reward, terminated, truncated))
        return pictures(self.world, after), rewards, terminations, truncations, told(self.world, after)

    def render(self) -> tuple[Array, ...] | None:
        """A picture of each copy, `(height, width, 3)` of bytes."""
        return tuple(painted(pictures(self.world, self._here()))) if self.render_mode == "rgb_array" else None

    def _here(self) -> Tensor:
        if self._states is None:
            raise gymnasium.error.ResetNeeded("the environments have not begun: call reset() first")
        return self._states
