"""One phase diagram of collapse: many small models of digits, trained at once, on a grid of two of their numbers.

    python benchmarks/programs/phases.py --diagram vicreg --seed 0

Prints what became of each model, under `<reading>/<across>/<up>`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ebm.data.pairs import Pairs
from ebm.meters import diagnose, effective_rank, energy_gap, normalized_std, ridge_probe
from ebm.meters.kinds import SEVERITY
from ebm.study.configuration import build, resolve
from ebm.study.program import publish
from ebm.vectorized import Vectorized

STUDIES = Path(__file__).parents[1] / "studies"
VERDICTS = ("none", *SEVERITY)  # what the reading `verdict` counts from 0

# Smaller than in the study of collapse, and without batch normalisation, which would keep codes from shrinking.
NETWORKS = (
    "--model.energy.init_args.encoder.init_args.widths=[64, 32, 16]",
    "--model.energy.init_args.projector.init_args.widths=[16, 16, 8]",
    "--model.energy.init_args.projector.init_args.norm=false",
    "--data.batch_size=64",
)


class Diagram(NamedTuple):
    """What is varied: across, a number of a term; up, another one, or an option of `ebm fit`, a group for each."""

    arm: str
    across: str
    columns: tuple[float, ...]
    up: str
    rows: tuple[float, ...]

    @property
    def stacked(self) -> bool:
        """Whether both are numbers of terms, so that all models are of one group."""
        return not self.up.startswith("--")


DIAGRAMS: Mapping[str, Diagram] = {
    "vicreg": Diagram(
        "vicreg",
        "variance.weight",
        (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
        "covariance.weight",
        (0.0, 0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0),
    ),
    "simclr": Diagram(
        "simclr",
        "nt_xent.temperature",
        (0.01, 0.03, 0.1, 0.2, 0.5, 1.0, 3.0, 10.0),
        "--data.batch_size",
        (4, 8, 16, 32, 64, 128, 256, 512),
    ),
    "lejepa": Diagram(
        "lejepa",
        "sigreg.weight",
        (0.0, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 1.0),
        "--model.regularizers.sigreg.fn.init_args.slices",
        (1, 2, 4, 8, 16, 64, 256, 1024),
    ),
}


def batches(data: Pairs) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs without an end, in the order that the seed gives to each epoch."""
    assert data.sampler is not None
    for epoch in range(10**9):
        data.sampler.set_epoch(epoch)
        for rows, _ in data.train_dataloader():
            yield data.pairs(rows)


def labelled(many: Vectorized, data: Pairs, part: str) -> tuple[Tensor, Tensor]:
    """Representations `(models, N, features)` of a part of the images, and labels."""
    images, labels = (torch.cat(column) for column in zip(*data.labelled(part), strict=True))
    return many.represent(images), labels


def trained(diagram: Diagram, seed: int, steps: int, row: float | None) -> dict[str, float]:
    """The readings of a group of models: of one row, or of all where they can be stacked."""
    option = [] if row is None else [f"{diagram.up}={row:g}"]
    files = ["--config", str(STUDIES / "digits.yaml"), "--config", str(STUDIES / "arms" / f"{diagram.arm}.yaml")]
    torch.manual_seed(seed)
    parts = build(resolve([*files, *NETWORKS, *option])[0])
    parts.data.setup("fit")
    grid = [(column, up) for up in (diagram.rows if row is None else (row,)) for column in diagram.columns]
    settings = {diagram.across: torch.tensor([column for column, _ in grid])}
    if row is None:
        settings[diagram.up] = torch.tensor([up for _, up in grid])
    many = Vectorized(parts.learner, settings)
    many.train(batches(parts.data), steps)
    torch.manual_seed(seed)
    images = torch.cat([images for images, _ in parts.data.labelled("test")])
    views = many.encode(*parts.data.pairs(images))
    train, test = (labelled(many, parts.data, part) for part in ("train", "test"))
    found = {}
    for i, (column, up) in enumerate(grid):
        hx, hy = views[0][i], views[1][i]
        values = readings(many, i, hx, hy, (train[0][i], train[1]), (test[0][i], test[1]))
        found |= {f"{name}/{column:g}/{up:g}": value for name, value in values.items()}
    return found


def readings(
    many: Vectorized, model: int, hx: Tensor, hy: Tensor, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]
) -> dict[str, float]:
    """What became of one model; nothing but NaN of one that diverged."""
    if not bool(hx.isfinite().all() and hy.isfinite().all() and train[0].isfinite().all()):
        return dict.fromkeys(("verdict", "std", "normalized_std", "effective_rank", "auroc", "probe"), math.nan)
    F = many.model(model).F
    return {
        "verdict": float(VERDICTS.index(diagnose(F, hx, hy).kind)),
        "std": float(hy.std(0, correction=0).mean()),
        "normalized_std": normalized_std(hy),
        "effective_rank": effective_rank(hy),
        "auroc": energy_gap(F, hx, hy)["auroc"],
        "probe": ridge_probe(train, test),
    }


def main() -> None:
    """Train the models of one diagram, from one seed."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--diagram", choices=DIAGRAMS, required=True)
    parser.add_argument("--steps", type=int, default=600, help="of each model (default 600)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights, the batches and the views")
    options = parser.parse_args()
    diagram = DIAGRAMS[options.diagram]
    found: dict[str, float] = {}
    for row in [None] if diagram.stacked else diagram.rows:
        found |= trained(diagram, options.seed, options.steps, row)
    publish(found)


if __name__ == "__main__":
    main()
