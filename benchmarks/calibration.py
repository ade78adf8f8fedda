"""What each meter of codes reads off codes whose truth is known, and what the published formulas read.

    python benchmarks/calibration.py            # everything, into benchmarks/results
    python benchmarks/calibration.py --quick    # a few seconds, to see that it runs; nothing is written

A meter that is dropped into `ebm.meters` and takes codes to a number stands in the tables by being there.
"""

from __future__ import annotations

import argparse
import inspect
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import torch
from calibration_codes import CODES, D
from reporting import common_options, made_by, write_page
from rich.progress import Progress
from torch import Tensor

import ebm.meters
from ebm.meters import dependence, effective_rank, lidar, rankme

RESULTS = Path(__file__).parent / "results"
BALL = next(iter(CODES))
NEAR, ALIKE = 0.1, 0.05  # shares of the truth, and of what the meter reads off a ball
LEAST = 0.1  # what is off by no more is right whatever its share
VIEWS, NOISE, SHRINKAGE = 2, 0.01, 1e-4
TABLES = {
    "Spread": ("normalized_std", "dead_dimensions", "uniformity"),
    "Spectrum": ("effective_rank", "rankme", "stable_rank", "participation_ratio", "alpha_req", "condition_number"),
    "Dimension": ("two_nn", "maximum_likelihood", "cluster_learnability", "clid"),
}


def meters() -> dict[str, Callable[[Tensor], float]]:
    """Every function of codes alone that the package exports and that returns a number."""
    found = {}
    for name, fn in vars(ebm.meters).items():
        if inspect.isfunction(fn) and inspect.signature(fn).return_annotation == "float":
            needs = [each for each in inspect.signature(fn).parameters.values() if each.default is each.empty]
            if [each.name for each in needs] == ["codes"]:
                found[name] = fn
    return found


def published_rankme(codes: Tensor, epsilon: float) -> float:
    """Garrido et al. 2023, eq. 2: `p = s / sum s + epsilon`, and the entropy of that."""
    values = torch.linalg.svdvals(codes)
    p = values / values.sum() + epsilon
    return float((-(p * p.log()).sum()).exp())


def published_lidar(views: Tensor, shrinkage: float, epsilon: float) -> float:
    """Thilak et al. 2024, section 3: `shrinkage` as it is, and `p = l / sum l + epsilon`; views `(N, V, D)`."""
    samples, count, features = views.shape
    means = views.mean(1)
    centred, within = means - means.mean(0), (views - means[:, None]).flatten(0, 1)
    noise = within.T @ within / (samples * (count - 1)) + shrinkage * torch.eye(features, dtype=views.dtype)
    values, axes = torch.linalg.eigh(noise)
    root = axes @ torch.diag(values**-0.5) @ axes.T
    found = torch.linalg.eigvalsh(root @ (centred.T @ centred / (samples - 1)) @ root).clamp_min(0)
    p = found / found.sum() + epsilon
    return float((-(p * p.log()).sum()).exp())


def compared(codes: Tensor, name: str, seed: int) -> dict[str, tuple[float, float]]:
    """Ours and the published formulas, each with the truth."""
    known = CODES[name]
    noise = NOISE * float(known.eigenvalues.max())
    generator = torch.Generator().manual_seed(seed)
    apart = torch.randn(len(codes), VIEWS, D, generator=generator, dtype=torch.float64)
    views = codes[:, None] + noise**0.5 * apart
    rank, told = known.truth()["rankme"], known.lidar(noise, VIEWS, SHRINKAGE)
    return {
        "RankMe + 1e-7": (published_rankme(codes, 1e-7), rank),
        "RankMe + 1e-5": (published_rankme(codes, 1e-5), rank),
        "LiDAR": (lidar(views), told),
        "LiDAR + 1e-7": (published_lidar(views, SHRINKAGE, 1e-7), told),
    }


def measure(options: argparse.Namespace) -> pd.DataFrame:
    """A row for each reading: codes, count, seed, meter, reading and truth, if there is one."""
    rows, found = [], meters()
    del found["nesum"]  # which is `stable_rank`
    with Progress(disable=options.no_progress) as progress:
        task = progress.add_task("", total=len(CODES) * len(options.counts) * options.seeds)
        for name, known in CODES.items():
            progress.update(task, description=name)
            for count in options.counts:
                for seed in range(options.seeds):
                    codes = known.draw(count, seed)
                    read = {meter: fn(codes) for meter, fn in found.items()} | dependence(None, codes, codes)
                    judged = {meter: (value, known.truth().get(meter, math.nan)) for meter, value in read.items()}
                    for meter, (reading, truth) in (judged | compared(codes, name, seed)).items():
                        rows.append([name, count, seed, meter, reading, truth])
                    progress.advance(task)
    return pd.DataFrame(rows, columns=["codes", "count", "seed", "meter", "reading", "truth"])


def wide_lines(options: argparse.Namespace) -> list[str]:
    """A line in ever more dimensions, of which every rank is one: the rows of a Markdown table."""
    rows = [["features", "effective rank", "RankMe", "RankMe + 1e-7", "RankMe + 1e-5", "RankMe + 1e-5, N = D"]]
    rows.append(["---"] * len(rows[0]))
    for features in options.widths:
        generator = torch.Generator().manual_seed(0)
        draws = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((256, 1), (1, features))]
        line = draws[0] @ draws[1]
        read = [effective_rank(line), rankme(line), published_rankme(line, 1e-7), published_rankme(line, 1e-5)]
        # As many codes as features have as many singular values, all but one of them zero: no need to decompose them.
        p = torch.tensor([1.0] + [0.0] * (features - 1), dtype=torch.float64) + 1e-5
        rows.append([f"{features:,}", *(f"{value:.4f}" for value in (*read, float((-(p * p.log()).sum()).exp())))])
    return ["| " + " | ".join(row) + " |" for row in rows]


def is_off(reading: float, truth: float) -> bool:
    """Whether a reading is not what it should be: by more than a tenth of it, and more than 0.1."""
    if math.isnan(truth):
        return False
    return not abs(reading - truth) <= max(LEAST, NEAR * abs(truth))


def table(results: pd.DataFrame, count: int, names: Sequence[str]) -> list[str]:
    """Mean readings with half the range over seeds, the truth in brackets, bold where the mean is off."""
    lines = [["codes", *(name.replace("_", " ") for name in names)], ["---"] * (len(names) + 1)]
    some = results[results["count"] == count]
    for kind in CODES:
        readings = some[some["codes"] == kind].groupby("meter")
        lines.append([kind, *(_cell(readings.get_group(name)) for name in names)])
    return ["| " + " | ".join(line) + " |" for line in lines]


def _cell(group: pd.DataFrame) -> str:
    mean, truth = float(group["reading"].mean()), float(group["truth"].iloc[0])
    half = (float(group["reading"].max()) - float(group["reading"].min())) / 2
    shown = _short(mean) + (f" ± {_short(half)}" if half > 0.005 * abs(mean) else "")
    shown = f"**{shown}**" if is_off(mean, truth) else shown
    return shown + ("" if math.isnan(truth) else f" ({_short(truth)})")


def _short(value: float) -> str:
    return f"{value:.1e}" if abs(value) >= 1e4 else f"{value:.3g}"


def means_of(results: pd.DataFrame, count: int) -> pd.DataFrame:
    """Mean reading and truth by meter and codes, and whether it cannot be told from what is read off the ball."""
    some = results[results["count"] == count].groupby(["meter", "codes"], sort=False)
    found = some["reading"].agg(["mean", "min", "max"])
    ball = found.xs(BALL, level="codes").reindex(found.index.get_level_values("meter")).set_index(found.index)
    overlap = (found["min"] <= ball["max"]) & (ball["min"] <= found["max"])
    near = (found["mean"] - ball["mean"]).abs() <= ALIKE * ball["mean"].abs()
    return pd.DataFrame({"reading": found["mean"], "truth": some["truth"].mean(), "alike": overlap | near})


def verdicts(results: pd.DataFrame, count: int) -> list[str]:
    """A line for each meter: where it was right, what fooled it, and what it reads as it does a ball."""
    lines = []
    for meter, group in means_of(results, count).groupby(level="meter", sort=False):
        read = group.droplevel("meter")
        judged = read[read["truth"].notna()]
        off = [kind for kind, row in judged.iterrows() if is_off(row["reading"], row["truth"])]
        alike = [kind for kind in read.index[read["alike"]] if kind != BALL]
        said = [f"**{meter}**:"]
        if len(judged):
            said.append(f"right on {len(judged) - len(off)} of {len(judged)}.")
        if off:
            each = (
                f"{kind} ({_short(read.loc[kind, 'reading'])} for {_short(read.loc[kind, 'truth'])})" for kind in off
            )
            said.append(f"Off on {'; '.join(each)}.")
        said.append(f"Takes for the ball: {'; '.join(alike)}." if alike else "Takes nothing for the ball.")
        lines.append("- " + " ".join(said))
    return lines


def tellers(results: pd.DataFrame, count: int) -> list[str]:
    """A line for each kind of codes: the meters that do not take it for a ball, as the rows of a Markdown table."""
    means = means_of(results, count).reset_index()
    lines = ["| codes | told from a ball by |", "| --- | --- |"]
    for kind in [each for each in CODES if each != BALL]:
        told = means[(means["codes"] == kind) & ~means["alike"] & means["reading"].notna()]["meter"]
        lines.append(f"| {kind} | {', '.join(told)} |")
    return lines


def page(results: pd.DataFrame, options: argparse.Namespace) -> list[str]:
    """The paragraphs of the page."""
    taken = {name for names in TABLES.values() for name in names} | set(compared_names(results))
    others = [name for name in dict.fromkeys(results["meter"]) if name not in taken]
    tables = {title: names for title, names in TABLES.items() if set(names) <= set(results["meter"])}
    tables |= {"Entropy and dependence": tuple(others), "Published formulas": ("rankme", *compared_names(results))}
    count = options.counts[-1]
    paragraphs = [how(options)]
    paragraphs += [f"## What each got right and what fooled it, {count:,} codes", "\n".join(verdicts(results, count))]
    paragraphs += [f"## Who tells them from a ball, {count:,} codes", "\n".join(tellers(results, count))]
    paragraphs += ["## A line in ever more dimensions", wide_text(), "\n".join(wide_lines(options))]
    for title, names in tables.items():
        for size in options.counts:
            paragraphs += [f"## {title}, {size:,} codes", "\n".join(table(results, size, names))]
    return paragraphs


def compared_names(results: pd.DataFrame) -> list[str]:
    """The meters that `compared` adds."""
    return [name for name in dict.fromkeys(results["meter"]) if name.startswith(("RankMe +", "LiDAR"))]


def how(options: argparse.Namespace) -> str:
    """What was measured."""
    return (
        f"Codes in {D} dimensions in double precision, turned at random, of known covariance, mean and dimension."
        f" Means over {options.seeds} seeds, with half the range where that is over half a percent; in brackets what"
        " infinitely many codes should give, where that is known; in bold what is off that by more than a tenth and by"
        f" more than {LEAST}. `nesum` is `stable_rank`. An `alpha req` is known where the eigenvalues that are not zero"
        " are even or a power law. The truth of a rank with noise is that without it for the dimension, and with it for"
        f" the others. RankMe is of the codes as they are, mean included. LiDAR is of {VIEWS} views whose noise has"
        f" {NOISE:g} of the variance of the strongest direction; `+ 1e-7` and `+ 1e-5` are the published formulas with"
        " what they add to each share, LiDAR's with its shrinkage of 1e-4 for codes of any size."
    )


def wide_text() -> str:
    """What the table of lines is of."""
    return "256 codes on a line through the origin, of which every rank is 1; in the last column as many as features."


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write what was measured, and print what each meter got right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many draws of each kind of codes (default 5)")
    parser.add_argument("--quick", action="store_true", help="few codes, one seed; nothing is written unless asked")
    quick = {"seeds": 1, "counts": (128,), "widths": (64, 512)}
    options = common_options(parser, arguments, "benchmarks/calibration.py", RESULTS, quick)
    if not options.quick:
        options.counts, options.widths = (256, 2048), (64, 512, 2048, 8192)
    results = measure(options)
    if options.results is not None:
        options.results.mkdir(parents=True, exist_ok=True)
        results.to_csv(options.results / "calibration.csv", index=False, float_format="%.8g")
        made = made_by(options.command, ("torch", "scikit-learn", "scipy", "numpy"))
        write_page(options.results / "calibration.md", "What meters read", [*page(results, options), *made])
    print("\n".join(verdicts(results, options.counts[-1])))


if __name__ == "__main__":
    main()
