"""Told some of the variables, infer the rest: one energy over (image, label, latent) answers four questions.

    python benchmarks/told_some.py              # five seeds, into benchmarks/results: some three minutes on one core
    python benchmarks/told_some.py --quick      # a few seconds, to see that it runs; nothing is written
    python benchmarks/told_some.py --validate   # scored on a quarter of the training images, to choose settings by

It draws with matplotlib, which `pip install -e ".[notebooks]"` has.

The energy is trained once for each seed, to be low on images with their labels. Then the same call classifies an image,
fills in the half that is missing, tells an impossible pair from a possible one, and generates.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from sklearn.model_selection import train_test_split
from told_some_report import Score, draw, report
from told_some_rivals import Rivals, distance_by_label, gaussians
from torch import Tensor, nn

import ebm
from ebm.constraints import Constraint
from ebm.data import Digits
from ebm.energies import LabelledDecoder
from ebm.networks import MLP

CLASSES, HALF, LATENTS, WIDTH, DEVIATION = 10, 32, 16, 256, 0.2
BOUNDS = {"upper": ebm.Box(0, 1), "lower": ebm.Box(0, 1), "label": ebm.Simplex(), "z": None}
SHELL = ebm.Sphere(LATENTS**0.5)  # where almost all of a normal distribution lies, unlike its mode
SOLVER = ebm.LBFGS(tolerance=1e-2, steps=300)  # energies are in units of their noise: differences matter from 1 on
Variables = dict[str, Tensor]


@dataclass(frozen=True)
class Images:
    """Images `(n, 64)` between 0 and 1, and their labels `(n,)`."""

    x: Tensor
    y: Tensor

    @property
    def halves(self) -> Variables:
        """The upper and the lower half of each image, `(n, 32)`, by name."""
        return {"upper": self.x[:, :HALF], "lower": self.x[:, HALF:]}

    def __getitem__(self, index: Any) -> Images:
        return Images(self.x[index], self.y[index])

    def __len__(self) -> int:
        return len(self.y)


def load(validate: bool) -> tuple[Images, Images]:
    """The images to train on, and those to score on: held out, or a quarter of those to train on."""
    train, held_out = (Images(x.flatten(1), y) for x, y in (Digits().load("train")[:], Digits().load("test")[:]))
    if not validate:
        return train, held_out
    kept, aside = train_test_split(range(len(train)), test_size=0.25, random_state=0, stratify=train.y)
    return train[kept], train[aside]


def train(images: Images, epochs: int, advance: Callable[[], object], batch: int = 100) -> LabelledDecoder:
    """Lower `E(x, y, z)` on the data, with z the encoder's, blurred by noise that costs `|s|^2 / 2 - sum log s`.

    In sum the variational free energy (Kingma and Welling 2014), with one s for all images. The noise is
    what prevents collapse: a latent that is never known exactly cannot say everything.
    """
    decoder = nn.Sequential(MLP([CLASSES + LATENTS, WIDTH, WIDTH, 64], activation=nn.SiLU), nn.Sigmoid())
    energy = LabelledDecoder(decoder, MLP([64 + CLASSES, WIDTH, LATENTS], activation=nn.SiLU), DEVIATION)
    log_noise = nn.Parameter(torch.full((LATENTS,), -1.0))
    rates = [2e-3, 2e-2]
    groups: list[dict[str, Any]] = [{"params": energy.parameters()}, {"params": [log_noise], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rates[0], weight_decay=1e-4)
    steps = epochs * (len(images) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, pct_start=0.1)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(batch)[: len(images) // batch]:
            x, y = images.x[rows], torch.eye(CLASSES)[images.y[rows]]
            noise = log_noise.exp()
            guess = energy.latent(x, y)
            certainty = noise.square().sum() / 2 - log_noise.sum()
            loss = energy(x, y, guess + noise * torch.randn_like(guess)).mean() + certainty
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        advance()
    return energy.eval().requires_grad_(False)


def infer(
    energy: ebm.Energy, known: Variables, unknown: Variables, restarts: int = 1, **within: Constraint
) -> ebm.Minimum:
    """Told some of `upper, lower, label, z`, the rest: the one call that answers every question.

    `unknown` says where inference starts, and `within` what else keeps it than that pixels are between 0 and 1 and
    labels on the simplex.
    """

    def of_all(unknown: Variables, known: Variables) -> Tensor:
        every = unknown | known
        return energy(torch.cat([every["upper"], every["lower"]], -1), every["label"], every["z"])

    bounds = {name: (BOUNDS | within)[name] for name in unknown}
    return ebm.minimize(of_all, unknown, SOLVER, given=(known,), within=bounds, restarts=restarts)


def try_labels(energy: ebm.Energy, known: Variables, **unknown: Tensor) -> ebm.Minimum:
    """The same, told each of the ten labels in turn, in one batch: energies `(n, 10)`."""
    n = len(next(iter(known.values())))
    every = {name: value[:, None].expand(-1, CLASSES, -1) for name, value in known.items()}
    labels = torch.eye(CLASSES).expand(n, CLASSES, CLASSES)
    start = unknown | {"z": torch.zeros(LATENTS)}
    start = {name: value.expand(n, CLASSES, -1) for name, value in start.items()}
    return infer(energy, every | {"label": labels}, start)


def classify(energy: ebm.Energy, test: Images, rivals: Rivals) -> Iterator[Score]:
    """Told an image: which label?"""
    tried = try_labels(energy, test.halves).energy.argmin(1)
    yield Score("classify", "accuracy", "energy, labels tried", tried == test.y)
    n = len(test)
    start = {"label": torch.full((n, CLASSES), 1 / CLASSES), "z": torch.zeros(n, LATENTS)}
    relaxed = infer(energy, test.halves, start, restarts=4).z["label"].argmax(1)
    yield Score("classify", "accuracy", "energy, label on the simplex", relaxed == test.y)
    for method, labels in rivals.labels(test.x).items():
        yield Score("classify", "accuracy", method, labels == test.y)
    yield Score("classify", "accuracy", "support vectors", rivals.judge(test.x) == test.y)


def fill_in(energy: ebm.Energy, test: Images, rivals: Rivals) -> tuple[list[Score], dict[str, Tensor]]:
    """Told the upper half: which lower half, and which label?"""
    known, truth = {"upper": test.halves["upper"]}, test.halves["lower"]
    answer = try_labels(energy, known, lower=rivals.train.halves["lower"].mean(0))
    label, lower = answer.energy.argmin(1), answer.z["lower"]
    filled = {
        "energy, best label": lower[torch.arange(len(test)), label],
        "energy, mean over labels": ((-answer.energy).softmax(1)[..., None] * lower).sum(1),
        **rivals.lower_halves(known["upper"]),
    }
    scores = [Score("fill in", "RMSE", name, (half - truth).square().mean(1)) for name, half in filled.items()]
    scores.append(Score("fill in", "accuracy", "energy, labels tried", label == test.y))
    for method, labels in rivals.labels_of_upper_halves(known["upper"]).items():
        scores.append(Score("fill in", "accuracy", method, labels == test.y))
    return scores, filled


def detect(energy: ebm.Energy, test: Images, rivals: Rivals) -> Iterator[Score]:
    """Told an image and a label, or two halves: can they go together? The higher the score, the less."""
    others, wrong = partners(test)
    chimeras = Images(torch.cat([test.halves["upper"], test.halves["lower"][others]], 1), test.y)
    real, chimeric = (try_labels(energy, images.halves).energy for images in (test, chimeras))

    def of_labels(every: Tensor) -> Tensor:
        return torch.stack([every.gather(1, labels[:, None])[:, 0] for labels in (test.y, wrong)], 1)

    wrong_label = {
        "energy": of_labels(real),
        "energy, against all labels": of_labels(-(-real).log_softmax(1)),
        "classifier, -log probability": of_labels(-rivals.log_probability(test.x)),
        "distance to the nearest of that label": of_labels(distance_by_label(rivals.train, test.x)),
    }
    halves = {
        "energy": torch.stack([real.amin(1), chimeric.amin(1)], 1),
        "classifier, 1 - highest probability": torch.stack(
            [-rivals.log_probability(images.x).amax(1) for images in (test, chimeras)], 1
        ),
        "distance to the nearest": torch.stack(
            [distance_by_label(rivals.train, images.x).amin(1) for images in (test, chimeras)], 1
        ),
    }
    yield from (Score("detect a wrong label", "AUROC", *one) for one in wrong_label.items())
    yield from (Score("detect halves of two digits", "AUROC", *one) for one in halves.items())


def partners(test: Images) -> tuple[Tensor, Tensor]:
    """For each image the row of one of another class, and that class; the same for all seeds."""
    generator = torch.Generator().manual_seed(0)
    different = (test.y[:, None] != test.y).float()
    others = different.multinomial(1, generator=generator)[:, 0]
    return others, test.y[others]


def generate(energy: ebm.Energy, test: Images, rivals: Rivals, seed: int) -> tuple[list[Score], Tensor]:
    """Told a label: an image? As many of each as were held out, from random starts, z on the shell of its prior."""
    generator = torch.Generator().manual_seed(seed)
    y = test.y.sort().values
    start = {name: torch.rand(len(y), HALF, generator=generator) for name in ("upper", "lower")}
    start["z"] = torch.randn(len(y), LATENTS, generator=generator)
    answer = infer(energy, {"label": torch.eye(CLASSES)[y]}, start, z=SHELL).z
    made = torch.cat([answer["upper"], answer["lower"]], 1)
    sets = {
        "energy": Images(made, y),
        "a normal distribution for each label": gaussians(rivals.train, y, generator),
        "held-out images": test,
    }
    scores = []
    for method, images in sets.items():
        nearest = distance_by_label(rivals.train, images.x).amin(1)
        judged = rivals.judge(images.x) == images.y
        scores.append(Score("generate", "share judged to be the label", method, judged))
        scores.append(Score("generate", "distance to the nearest training image", method, nearest))
        scores.append(Score("generate", "distance within a label", method, spread(images)))
    return scores, made


def spread(images: Images) -> Tensor:
    """The mean distance of each image to the others of its label, `(n,)`."""
    same = (images.y[:, None] == images.y).float().fill_diagonal_(0)
    return (torch.cdist(images.x, images.x) * same).sum(1) / same.sum(1).clamp_min(1)


def run(seed: int, options: argparse.Namespace, progress: Progress) -> tuple[list[Score], dict[str, Tensor]]:
    """Train and ask, all from one seed: the scores, and what there is to see."""
    torch.manual_seed(seed)
    told, test = load(options.validate)
    test = test[: options.images]
    bar = progress.add_task(f"seed {seed}", total=options.epochs + 5)
    energy = train(told, options.epochs, lambda: progress.advance(bar))
    rivals = Rivals.fit(told, WIDTH, seed, options.rival_epochs)
    progress.advance(bar)
    scores = list(classify(energy, test, rivals))
    progress.advance(bar)
    filled_in, filled = fill_in(energy, test, rivals)
    progress.advance(bar)
    scores += [*filled_in, *detect(energy, test, rivals)]
    progress.advance(bar)
    generated, made = generate(energy, test, rivals, seed)
    progress.advance(bar)
    pictures = filled | {"generated": made, "truth": test.x, "labels": test.y}
    return [score.of(seed) for score in scores + generated], pictures


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, ask, write what came of it and print it."""
    results = Path(__file__).parent / "results"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many times to train (default 5)")
    parser.add_argument("--epochs", type=int, default=400, help="passes over the training images (default 400)")
    parser.add_argument("--quick", action="store_true", help="one seed, hardly trained, few images, nothing written")
    parser.add_argument("--validate", action="store_true", help="score on training images set aside, nothing written")
    parser.add_argument("--results", type=Path, help=f"folder to write to (default {results})")
    options = parser.parse_args(arguments)
    options.images, options.rival_epochs = None, 200
    if options.quick:
        options.seeds, options.epochs, options.images, options.rival_epochs = 1, 5, 50, 5
    folder = options.results or (None if options.quick or options.validate else results)
    given = sys.argv[1:] if arguments is None else arguments
    torch.set_num_threads(1)
    console = Console()
    with Progress(console=Console(stderr=True)) as progress:
        done = [run(seed, options, progress) for seed in range(options.seeds)]
    text = report([score for scores, _ in done for score in scores], folder, shlex.join(given))
    if folder is not None:
        draw(done[0][1], folder / "told_some.png")
    console.print(text, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
