"""EB-JEPA's generator, environment, model and planner, imported from a checkout of its repository as they are.

Nothing of it is copied here. Its package is imported from the folder that is given, with its own defaults; what
cannot be imported (it needs omegaconf, einops, cv2 and more) raises ImportError.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from ebm.energies import LearnedDynamics
from ebm.networks import Transition

SETTINGS = "eb_jepa/datasets/two_rooms/data_config.yaml"


@dataclass(frozen=True)
class Peer:
    """What is compared."""

    data: Any
    """Indexing it makes one trajectory of 17 frames."""
    environment: Any
    model: nn.Module
    planning: Any
    """Its module of planners."""


@final
class TheirTransition(Transition):
    """Their predictor behind our interface: the same weights, the same step."""

    def __init__(self, predictor: nn.Module) -> None:
        super().__init__(512, 2, 0)
        self.predictor = predictor

    def after(self, code: Tensor, acting: Tensor) -> Tensor:
        flat = self.predictor(code.reshape(-1, 512, 1, 1, 1), acting.reshape(-1, 2, 1))
        return flat.reshape(code.shape)


@final
class TheirEncoder(nn.Module):
    """Their encoder, of one frame."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x[:, :, None]).flatten(1)


def peer(folder: Path) -> Peer:
    """Import it. Raises ImportError where that fails, FileNotFoundError where the folder is not a checkout."""
    if not (folder / SETTINGS).exists():
        raise FileNotFoundError(f"{folder} is no checkout of facebookresearch/eb_jepa: it lacks {SETTINGS}")
    sys.path.insert(0, str(folder))
    rooms = "eb_jepa.datasets.two_rooms"
    names = (f"{rooms}.wall_dataset", f"{rooms}.utils", f"{rooms}.env", "eb_jepa.architectures", "eb_jepa.jepa")
    walls, utilities, environments, parts, jepa = map(importlib.import_module, names)
    planning = importlib.import_module("eb_jepa.planning")
    settings = importlib.import_module("yaml").safe_load((folder / SETTINGS).read_text())
    config = utilities.update_config_from_yaml(walls.WallDatasetConfig, settings)
    torch.manual_seed(0)
    encoder = parts.ImpalaEncoder()
    predictor = parts.RNNPredictor(final_ln=encoder.final_ln)
    model = jepa.JEPAbase(encoder, nn.Identity(), predictor).eval().requires_grad_(False)
    # Planning calls `unroll`, which only the class for training has.
    model.unroll = jepa.JEPA.unroll.__get__(model)
    return Peer(walls.WallDataset(config), environments.DotWall(config), model, planning)


def same_model(model: Any) -> LearnedDynamics:
    """Their networks as our dynamics."""
    return LearnedDynamics(TheirEncoder(model.encoder), TheirTransition(model.predictor)).requires_grad_(False).eval()


def their_plan(found: Peer, seen: Tensor, goal: Tensor, horizon: int, population: int, iterations: int) -> Tensor:
    """The actions (horizon, 2) of their CEM for one episode, as their agent calls it, in pixels."""
    planning = found.planning
    agent = planning.GCAgent(found.model, plan_cfg=None)
    settings = {"num_samples": population, "num_elites": population // 10, "var_scale": 1.5, "max_norms": [2.45]}
    planner = planning.CEMPlanner(
        agent.unroll, iterations, plan_length=horizon, decode_each_iteration=False, **settings
    )
    target = found.model.encode(goal[None, :, None])
    planner.set_objective(planning.ReprTargetDistMPCObjective(target, sum_all_diffs=True))
    return planner.plan(seen[None, :, None]).actions
