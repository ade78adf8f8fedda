"""The tables and the picture of `told_some`."""

from __future__ import annotations

import csv
import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure, SubFigure
from sklearn.metrics import roc_auc_score
from torch import Tensor

from ebm.study.statistics import interval

QUESTIONS = {
    "classify": "Told an image, infer its label and latent: with each label told in turn, or with the label anywhere on"
    " the simplex, the largest of which is read.",
    "fill in": "Told the upper half of an image, infer the lower half, the label and the latent. The rivals are trained"
    " for this half alone, and their classifiers on upper halves. RMSE over pixels between 0 and 1.",
    "detect a wrong label": "Told an image and a label, the energy of the best latent: is it higher where the label is"
    " wrong? Each image stands once with its own label and once with another.",
    "detect halves of two digits": "Told an upper and a lower half, the energy of the best label and latent: is it"
    " higher where the halves are of different digits?",
    "generate": "Told a label, infer an image and a latent from random starts, the latent on the sphere on which"
    " nearly all of its prior lies. All latents there cost the same, so that each stays close to where it started: the"
    " image is what the decoder makes of a random latent. The judge is a support vector machine; what it says of"
    " held-out images is there to compare with. Distances are Euclidean: further from the nearest training image than"
    " held-out images are is worse, much nearer would be copying; a wider distance within a label is more variety.",
}
RESAMPLES = 500


@dataclass(frozen=True)
class Score:
    """What a method did on each image, `(n,)`; for AUROC the scores as it is and when made impossible, `(n, 2)`."""

    question: str
    measure: str
    method: str
    values: Tensor
    seed: int = -1

    def of(self, seed: int) -> Score:
        """The same, of a seed."""
        return replace(self, seed=seed)

    def figure(self, rows: np.ndarray | None = None) -> float:
        """The measure over the images, or over some rows of them."""
        values = self.values.double().numpy()
        values = values if rows is None else values[rows]
        if self.measure == "AUROC":
            return float(roc_auc_score(np.repeat([0, 1], len(values)), values.T.ravel()))
        return float(np.sqrt(values.mean()) if self.measure == "RMSE" else values.mean())


def report(scores: Sequence[Score], folder: Path | None, arguments: str) -> str:
    """The page, which goes into a folder together with the figures of each seed."""
    lines = ["# Told some of the variables, infer the rest", "", _how(scores), ""]
    for question, asked in QUESTIONS.items():
        lines += [f"## {question.capitalize()}", "", asked, "", *_table(scores, question), ""]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "scikit-learn", "numpy")]
    command = f"python benchmarks/told_some.py {arguments}".strip()
    lines += [f"Python {platform.python_version()}, {', '.join(versions)}.", ""]
    lines += [f"Made on {datetime.now(UTC):%Y-%m-%d} by `{command}`."]
    text = "\n".join(lines) + "\n"
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "told_some.md").write_text(text)
        with (folder / "told_some.csv").open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["question", "measure", "method", "seed", "value"])
            writer.writerows([s.question, s.measure, s.method, s.seed, f"{s.figure():.6g}"] for s in scores)
    return text


def _how(scores: Sequence[Score]) -> str:
    return (
        f"Digits of scikit-learn, {len(scores[0].values)} images that no training saw, {len({s.seed for s in scores})}"
        " trainings. One energy, trained to be low on images with their labels and nothing else, answers all questions"
        " by one call; a rival is trained for each. The first interval is Student's over the seeds of training, with"
        " none where a method draws nothing at random; the second is over images, from"
        f" {RESAMPLES} bootstrap samples of them, and so is that of the difference to the first method of the same"
        " measure, image by image. All hold 95 %."
    )


def _table(scores: Sequence[Score], question: str) -> list[str]:
    """The lines of a Markdown table, the measures of a question one below the other, the energy first in each."""
    lines = [
        "| measure | method | mean | over seeds | over images | less the first |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    mine = [score for score in scores if score.question == question]
    first: dict[str, np.ndarray] = {}
    for measure, method in dict.fromkeys((score.measure, score.method) for score in mine):
        same = [score for score in mine if (score.measure, score.method) == (measure, method)]
        mean, low, high, _ = interval([score.figure() for score in same])
        seeds = f"{low:.4f} to {high:.4f}" if high - low > 1e-9 else ""
        resampled = _resampled(same)
        difference = _range(resampled - first[measure], "+.4f") if measure in first else ""
        first.setdefault(measure, resampled)
        lines.append(f"| {measure} | {method} | {mean:.4f} | {seeds} | {_range(resampled)} | {difference} |")
    return lines


def _resampled(same: Sequence[Score]) -> np.ndarray:
    """The mean over seeds when the images are drawn anew with replacement: the same draws for every method."""
    generator, n = np.random.default_rng(0), len(same[0].values)
    draws = [generator.integers(n, size=n) for _ in range(RESAMPLES)]
    return np.array([np.mean([score.figure(rows) for score in same]) for rows in draws])


def _range(values: np.ndarray, form: str = ".4f") -> str:
    low, high = np.quantile(values, [0.025, 0.975])
    return f"{low:{form}} to {high:{form}}"


def draw(pictures: dict[str, Tensor], path: Path, columns: int = 20) -> None:
    """Halves that were filled in, beside the truth and the nearest neighbour, and what was generated."""
    mpl.use("Agg")
    figure = plt.figure(figsize=(11, 10), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[6, 10], squeeze=False)[:, 0]
    labels, truth = pictures["labels"], pictures["truth"]
    shown = [int(row) for label in range(10) for row in (labels == label).nonzero()[:2, 0]][:columns]
    half = truth.shape[1] // 2
    known = truth.clone()
    known[:, half:] = float("nan")
    rows = {"told": known[shown]}
    for name in ("energy, best label", "energy, mean over labels", "perceptron", "nearest neighbour"):
        filled = truth.clone()
        filled[:, half:] = pictures[name]
        rows[name] = filled[shown]
    _grid(above, rows | {"truth": truth[shown]}, "Told the upper half, infer the lower half")
    ordered = labels.sort().values
    made = {str(label): pictures["generated"][ordered == label][:columns] for label in range(10)}
    _grid(below, made, "Told the label, infer the image: from random starts")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _grid(figure: Figure | SubFigure, rows: dict[str, Tensor], title: str) -> None:
    """Rows of images, each with its name to the left."""
    columns = max(len(images) for images in rows.values())
    axes = figure.subplots(len(rows), columns, squeeze=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    colours = mpl.colormaps["gray_r"].with_extremes(bad="#f4e3cf")
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        for axis, image in zip(line, images, strict=False):
            axis.imshow(image.reshape(8, 8), cmap=colours, vmin=0, vmax=1)
        for axis in line:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
