"""How much a latent may know: halves of digits, latents of 0 to 32 features, and what limits the largest of them.

    python benchmarks/latent_size.py --results results    # what is missing of the study in results/, then the page
    python benchmarks/latent_size.py --quick              # under a minute, to see that it runs; nothing is written

The runs are those of `ebm study run benchmarks/studies/latent.yaml`, and may be made by it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import torch
from latent_size_report import METRICS, half, how, size
from matplotlib.axes import Axes
from reporting import made_by, summary, write_page
from study_page import page
from torch import Tensor

from ebm import LBFGS, Enumeration, FreeEnergy
from ebm.meters.landscape import references, share_below
from ebm.meters.latent import inferred
from ebm.networks import CategoricalChannel
from ebm.study.configuration import Run, build
from ebm.study.results import collect
from ebm.study.sweep import Study

SHOWN = 5  # images of each kind in the picture
SIDE = 8
BELOW, ABOVE = ("left", (4, -13)), ("center", (0, 8))
PLACES = {"free": BELOW, "capacity of 10 nats": BELOW, "L1": ABOVE, "discrete": ABOVE}  # of names in the picture


class Judged(NamedTuple):
    """A finished run, read off the held-out halves."""

    F: FreeEnergy
    hx: Tensor
    hy: Tensor

    def rebuilt(self, hx: Tensor, hy: Tensor) -> Tensor:
        """The lower halves of lowest energy for upper ones and for the latents that are inferred with `hy`."""
        return self.F.energy.decode(hx, inferred(self.F, hx, hy)).detach()


def restored(run: Run, results: Path) -> Judged:
    """A finished run in evaluation mode, with the codes of all held-out images."""
    parts = build(run)
    state = torch.load(run.folder(results).checkpoint, weights_only=True)["state_dict"]
    parts.learner.load_state_dict(state)
    parts.data.setup("fit")
    images = torch.cat([batch[0] for batch in parts.data.labelled("test")])
    F = parts.learner.eval().F.requires_grad_(False)
    return Judged(F, *F.energy.encode(*parts.data.pairs(images)))


def beside(judged: Judged, limited: bool) -> dict[str, float]:
    """What no meter tells: the share of the variance of y left, and the AUROC once nothing limits z any more."""
    F, hx, hy = judged
    misfit = (hy - judged.rebuilt(hx, hy)).square().sum()
    discrete = isinstance(F.energy.channel, CategoricalChannel)
    free = FreeEnergy(F.energy, Enumeration(torch.eye(32)) if discrete else LBFGS(steps=50, tolerance=1e-3))
    other = references(hy)["mismatched"]
    return {
        "unexplained": float(misfit / (hy - hy.mean(0)).square().sum()),
        "auroc_free": share_below(free(hx, hy).double(), free(hx, other).double()) if limited else math.nan,
    }


def rows(study: Study, results: Path) -> pd.DataFrame:
    """One row a run."""
    table = collect(study, results).table.rename(columns=lambda name: name.removeprefix("code/"))
    finished = {(run.arm, run.seed): run for run in study.runs if run.folder(results).state() == "finished"}
    keys = zip(table["arm"], table["seed"], strict=True)
    told = [beside(restored(finished[key], results), size(key[0]) is None) for key in keys]
    found = pd.DataFrame(told, index=table.index)
    return pd.concat([table, found], axis=1)[["arm", "seed", *METRICS, "seconds"]]


def draw(study: Study, results: Path, table: pd.DataFrame, path: Path | None) -> None:
    """What the latent explains against what the energy tells, and what is made of halves that do and do not match."""
    mpl.use("Agg")
    figure, (left, right) = plt.subplots(1, 2, figsize=(14, 7), width_ratios=(1, 1.15), layout="constrained")
    frontier(left, table)
    lowest = min(run.seed for run in study.runs)
    first = {run.arm: run for run in study.runs if run.seed == lowest and run.folder(results).state() == "finished"}
    gallery(right, {arm: restored(run, results) for arm, run in first.items()})
    if path is not None:
        figure.savefig(path, dpi=110)
    plt.close(figure)


def frontier(axis: Axes, table: pd.DataFrame) -> None:
    """A line over sizes, a point for each way of limiting a latent."""
    means = table.groupby("arm", sort=False)[["unexplained", "auroc_mismatched"]].agg(["mean", half])
    kinds = {
        "nothing limits the latent": ("#495057", "o-", [arm for arm in means.index if size(arm) is not None]),
        "inferred, 32 features": ("#1971c2", "s", [arm for arm in means.index if arm.startswith("inferred")]),
        "predicted, 32 features": ("#d9480f", "D", [arm for arm in means.index if arm.startswith("predicted")]),
    }
    for kind, (colour, marker, arms) in kinds.items():
        x, across, y, up = means.loc[arms].to_numpy().T
        axis.errorbar(x, y, xerr=across, yerr=up, fmt=marker, color=colour, capsize=2, markersize=5, label=kind)
        for arm, left, height in zip(arms, x, y, strict=True):
            name = arm.removesuffix(" (control)").rpartition(", ")[2]
            aside, place = PLACES.get(name, ("right", (-7, -3)) if marker != "o-" else ("left", (7, -9)))
            axis.annotate(name, (left, height), place, textcoords="offset points", fontsize=8, color=colour, ha=aside)
    axis.axhline(0.5, color="black", linewidth=0.8)
    axis.set(
        xscale="log",
        xlim=(None, 2),
        xlabel="share of the lower half's variance left unexplained",
        ylabel="AUROC of the energy: its own lower half against another's",
        title="mean and 95 % interval",
    )
    axis.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 0.08))


def gallery(axis: Axes, judged: dict[str, Judged]) -> None:
    """Upper halves of digits over what each arm makes of a lower half: their own, another's, and no one's."""
    lines: list[tuple[str, Tensor]] = []
    for name, one in judged.items():
        told = references(one.hy)
        hx, kinds = one.hx[:SHOWN], (one.hy[:SHOWN], told["mismatched"][:SHOWN], told["permuted"][:SHOWN])
        if not lines:
            lines.append(("given", strip(torch.cat([torch.cat([hx, hy], 1) for hy in kinds]))))
        lines.append((name, strip(torch.cat([torch.cat([hx, one.rebuilt(hx, hy)], 1) for hy in kinds]))))
    axis.imshow(torch.cat([line for _, line in lines]), cmap="gray", vmin=0, vmax=1, aspect="auto")
    high, wide = lines[0][1].shape[0], SHOWN * (SIDE + 2)
    axis.set_yticks([high * (i + 0.5) for i in range(len(lines))], [name for name, _ in lines], fontsize=8)
    names = ["its own lower half", "another image's", "pixels of many"]
    axis.set_xticks([wide * (i + 0.5) for i in range(3)], names, fontsize=8)
    axis.set_title("what is made of upper halves with ...")
    for edge in (1, 2):
        axis.axvline(edge * wide - 0.5, color="#d9480f")


def strip(images: Tensor) -> Tensor:
    """Images `(n, 64)` side by side in frames."""
    framed = torch.nn.functional.pad(images.unflatten(1, (SIDE, SIDE)), (1, 1, 1, 1), value=0.5)
    return torch.cat(list(framed), 1)


def write(study: Study, results: Path, out: Path | None, command: str) -> str:
    """The page, the rows and the picture where that is wanted; returns the table to print."""
    table = rows(study, results)
    text = "\n".join(summary(table, ["arm"], METRICS))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    draw(study, results, table, None if out is None else out / "latent_size.png")
    if out is not None:
        table.to_csv(out / "latent_size.csv", index=False, float_format="%.6g")
        paragraphs = [*how(study, table), text, *made_by(command, ("torch", "numpy"))]
        write_page(out / "latent_size.md", "How much a latent may know", paragraphs)
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and write."""
    torch.set_num_threads(1)
    page(__doc__, "latent_size", write, ["--trainer.max_steps=2"], slice(None, None, 5), arguments, study="latent")


if __name__ == "__main__":
    main()
