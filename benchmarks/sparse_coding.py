"""Sparse coding of patches of photographs: atoms learned with a free energy, against scikit-learn's.

    python benchmarks/sparse_coding.py            # everything, into benchmarks/results
    python benchmarks/sparse_coding.py --quick    # a few seconds, to see that it runs; nothing is written

Both minimise `|y - atoms z|^2 / 2 + strength |z|_1` over the code z of each patch and over atoms in the unit ball.
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from photographs import Patches, load_patches
from reporting import common_options
from rich.progress import Progress
from sklearn.decomposition import MiniBatchDictionaryLearning
from sklearn.exceptions import ConvergenceWarning
from sparse_coding_report import write
from threadpoolctl import threadpool_limits
from torch import Tensor

from ebm import L1, FreeEnergy, Minimum, ProximalGradient
from ebm.energies import SparseCoding
from ebm.losses import PushDown

RESULTS = Path(__file__).parent / "results"
FORGETTING = 4  # the exponent rho of Mairal et al. 2010, section 3.4.3
BATCH = 512
TRAINING = ProximalGradient(rate=0.4, tolerance=2e-2)  # longer than safe for most patches: halved where it is too long
CONVERGED = ProximalGradient(rate=0.4, tolerance=1e-5, steps=10_000)


@dataclass(frozen=True)
class Stage:
    """Where training stood after some passes over the patches."""

    passes: int
    seconds: float
    atoms: Tensor


class Clock:
    """CPU time of the process, without that of what is kept on the way."""

    def __init__(self) -> None:
        self.began = time.process_time()
        self.stages: list[Stage] = []

    def keep(self, passes: int, atoms: Tensor) -> None:
        """Remember how far training has come."""
        self.stages.append(Stage(passes, time.process_time() - self.began, atoms.clone()))


def some_patches(train: Tensor, count: int, seed: int) -> Tensor:
    """Atoms `(features, count)` to start from: patches at random, of length 1."""
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:count]
    return train[chosen].T.contiguous()


def free_energy(atoms: Tensor, strength: float, solver: ProximalGradient) -> FreeEnergy:
    """`min_z |y - atoms z|^2 / 2 + strength |z|_1`."""
    energy = SparseCoding(*atoms.shape).to(atoms)
    energy.load_state_dict({"atoms": atoms})
    return FreeEnergy(energy, solver, penalty=L1(strength))


def by_gradient(patches: Patches, count: int, seed: int, options: argparse.Namespace) -> list[Stage]:
    """The free energy pushed down by stochastic gradient descent, as that of any other energy would be."""
    train, push_down = patches.train.float(), PushDown()
    clock = Clock()
    F = free_energy(some_patches(train, count, seed), options.strength, TRAINING)
    optimizer = torch.optim.SGD(F.energy.parameters(), lr=count / 2, momentum=0.9)  # each uses few of the atoms
    steps = options.passes * math.ceil(len(train) / BATCH)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for passes in range(1, options.passes + 1):
        for y in _batches(train, seed + passes):
            optimizer.zero_grad()
            push_down(F, y, y).backward()
            optimizer.step()
            schedule.step()
            F.energy.after_step(schedule.last_epoch / steps)
        clock.keep(passes, F.energy.atoms.detach())
    return clock.stages


def by_blocks(patches: Patches, count: int, seed: int, options: argparse.Namespace) -> list[Stage]:
    """Codes by `FreeEnergy`, atoms by block coordinate descent on their second moments (Mairal et al. 2010)."""
    train = patches.train.float()
    clock = Clock()
    F = free_energy(some_patches(train, count, seed), options.strength, TRAINING)
    moments, steps = (train.new_zeros(count, count), train.new_zeros(train.shape[1], count)), 0
    for passes in range(1, options.passes + 1):
        for y in _batches(train, seed + passes):
            steps += 1
            z = F.infer(None, y).z
            kept = (1 - 1 / steps) ** FORGETTING
            moments = (kept * moments[0] + z.T @ z / len(y), kept * moments[1] + y.T @ z / len(y))
            descend(F.energy.atoms, *moments)
        clock.keep(passes, F.energy.atoms.detach())
    return clock.stages


def _batches(train: Tensor, seed: int) -> Sequence[Tensor]:
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    return [train[index] for index in order.split(BATCH)]


@torch.no_grad()
def descend(atoms: Tensor, codes: Tensor, products: Tensor) -> None:
    """Minimise `tr(atoms' atoms codes) / 2 - tr(atoms' products)` over each atom in turn, inside the unit ball.

    `codes` (K, K) is the mean of `z z'`, `products` (features, K) that of `y z'`: Mairal et al. 2010, algorithm 2.
    """
    for k in (codes.diagonal() > 1e-6).nonzero()[:, 0].tolist():
        atom = atoms[:, k] + (products[:, k] - atoms @ codes[:, k]) / codes[k, k]
        atoms[:, k] = atom / torch.linalg.vector_norm(atom).clamp_min(1)


def scikit_learn(patches: Patches, count: int, seed: int, options: argparse.Namespace) -> list[Stage]:
    """MiniBatchDictionaryLearning, by coordinate descent, which is several times faster than its default, LARS."""
    return _scikit_learn(patches, count, seed, options, None)


def scikit_learn_same_start(patches: Patches, count: int, seed: int, options: argparse.Namespace) -> list[Stage]:
    """The same from the patches that ours starts from, which is better than its own start, singular vectors."""
    return _scikit_learn(patches, count, seed, options, some_patches(patches.train, count, seed).T.numpy())


def _scikit_learn(
    patches: Patches, count: int, seed: int, options: argparse.Namespace, start: np.ndarray | None
) -> list[Stage]:
    steps = math.ceil(len(patches.train) / 256)  # 256 is its default
    train = patches.train.numpy()
    clock = Clock()

    def keep(state: dict[str, object]) -> None:
        passes, rest = divmod(int(str(state["i"])) + 1, steps)
        if rest == 0:
            clock.keep(passes, torch.from_numpy(np.asarray(state["dictionary"])).T)

    model = MiniBatchDictionaryLearning(
        count,
        alpha=options.strength,
        fit_algorithm="cd",
        batch_size=256,
        max_iter=options.passes,
        tol=0,
        max_no_improvement=None,
        dict_init=start,
        random_state=seed,
        callback=keep,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of single codes, in the steps that it takes by default
        model.fit(train)
    return clock.stages


METHODS: dict[str, Callable[[Patches, int, int, argparse.Namespace], list[Stage]]] = {
    "ebm": by_gradient,
    "ebm, block coordinates": by_blocks,
    "scikit-learn": scikit_learn,
    "scikit-learn, same start": scikit_learn_same_start,
}


@torch.no_grad()
def converged_codes(atoms: Tensor, y: Tensor, strength: float) -> Minimum:
    """The codes of patches to all digits that matter, whoever learned the atoms."""
    return free_energy(atoms.double(), strength, CONVERGED).infer(None, y.double()).raise_if_failed()


def judge(stage: Stage, patches: Patches, strength: float) -> dict[str, float]:
    """What atoms are worth on the patches held out."""
    y = patches.held_out
    codes = converged_codes(stage.atoms, y, strength)
    trained = converged_codes(stage.atoms, patches.train[: len(y)], strength)
    left = (y - codes.z @ stage.atoms.double().T).square().sum(-1).mean() / y.square().sum(-1).mean()
    return {
        "passes": stage.passes,
        "cpu_seconds": stage.seconds,
        "energy": float(codes.energy.mean()),
        "energy_trained": float(trained.energy.mean()),
        "explained": 1 - float(left),
        "nonzero": float((codes.z != 0).double().mean()),
        "used": float((codes.z != 0).any(0).double().mean()),
    }


def measure(options: argparse.Namespace) -> tuple[pd.DataFrame, Tensor]:
    """A row for each method, number of atoms, seed and pass; and the atoms to show, most used first."""
    rows, shown = [], torch.empty(0)
    for method in (by_gradient, by_blocks):  # so that no first call is timed
        warm = argparse.Namespace(strength=options.strength, passes=1)
        method(load_patches(options.side, 1000, 0), options.atoms[0], 0, warm)
    with Progress(disable=options.no_progress) as progress:
        task = progress.add_task("", total=len(options.atoms) * options.seeds * len(METHODS))
        for seed in range(options.seeds):
            patches = load_patches(options.side, options.patches, seed)
            for count in options.atoms:
                for name, learn in METHODS.items():
                    progress.update(task, description=f"{name}, {count} atoms, seed {seed}")
                    stages = learn(patches, count, seed, options)
                    named = {"method": name, "atoms": count, "seed": seed}
                    rows += [named | judge(stage, patches, options.strength) for stage in stages]
                    if name == "ebm" and seed == 0 and count == options.atoms[len(options.atoms) // 2]:
                        shown = by_use(stages[-1].atoms, patches, options.strength)
                    progress.advance(task)
    return pd.DataFrame(rows), shown


def by_use(atoms: Tensor, patches: Patches, strength: float) -> Tensor:
    """The atoms, those with the largest codes first."""
    codes = converged_codes(atoms, patches.held_out, strength).z
    return atoms[:, codes.abs().sum(0).argsort(descending=True)]


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, those of --quick filled in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="patches, starts and orders to repeat it with (default 3)")
    parser.add_argument("--atoms", type=int, nargs="+", default=[64, 128, 256], help="(default 64 128 256)")
    parser.add_argument("--side", type=int, default=12, help="of a patch, in pixels (default 12)")
    parser.add_argument("--patches", type=int, default=20_000, help="to train on (default 20000)")
    parser.add_argument("--passes", type=int, default=4, help="over the patches (default 4)")
    parser.add_argument("--strength", type=float, default=0.1, help="of the L1 penalty (default 0.1)")
    parser.add_argument("--quick", action="store_true", help="one seed, few atoms and patches; nothing is written")
    return common_options(
        parser,
        arguments,
        "benchmarks/sparse_coding.py",
        RESULTS,
        {"seeds": 1, "atoms": [16, 32], "side": 8, "patches": 2000, "passes": 2},
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Learn, judge, write and print."""
    options = parsed(arguments)
    torch.set_num_threads(1)
    with threadpool_limits(1):
        table, shown = measure(options)
    print(write(table, shown, options))


if __name__ == "__main__":
    main()
