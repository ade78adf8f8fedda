"""What the page of power says in words; every figure in it is read off the tables."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from programs.power import DIMENSIONS, LATENTS, PLANE, ROWS, SIZES, STATISTICS, draws

from ebm.data import Spirals
from ebm.meters.dependence import PAIRS, pairwise
from ebm.study.sweep import Study

SEEN = 0.8  # of the samples, at least
NONLINEAR = ("spiral", "circle", "checkerboard", "sign_flip")


def share(found: pd.DataFrame, statistic: str, distribution: str, null: str = "permuted", rows: int = ROWS) -> float:
    """Of one cell; NaN where it was not asked for."""
    part = found[(found["statistic"] == statistic) & (found["distribution"] == distribution)]
    part = part[(part["null"] == null) & (part["rows"] == rows)]
    return float(part["share"].iloc[0]) if len(part) else float("nan")


def seers(found: pd.DataFrame, distributions: Sequence[str], null: str = "permuted", rows: int = ROWS) -> list[str]:
    """Statistics that see each of the distributions."""
    return [
        name
        for name in dict.fromkeys(found["statistic"])
        if all(share(found, name, distribution, null, rows) >= SEEN for distribution in distributions)
    ]


def named(statistics: Sequence[str]) -> str:
    """As a list in a sentence."""
    quoted = [f"`{name}`" for name in statistics]
    if len(quoted) < 2:
        return "".join(quoted) or "none"
    return f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def answer(found: pd.DataFrame) -> list[str]:
    """The first paragraphs."""
    spirals = [f"{kind}_{d}" for kind in ("spirals", "rotated") for d in DIMENSIONS[1:]]
    dependent = [name for name, source in PLANE.items() if source.information > 0] + spirals
    seen = {name: sum(bool(seers(one, [d])) for d in dependent) for name, one in found.groupby("statistic", sort=False)}
    best = [str(name) for name, count in seen.items() if count == max(seen.values())]
    hidden = [_in_words(name) for name in dependent if not seers(found, [name])]
    curved, parity = seers(found, NONLINEAR), seers(found, [*NONLINEAR, "parity"])
    return [
        f"**No statistic sees every dependence: from {ROWS:,} codes {named(best)} see {max(seen.values())} of"
        f" {len(dependent)} kinds, the most, and none of the {len(seen)} sees {' or '.join(hidden) or 'nothing'}.** To"
        f" see is to find it in at least {SEEN:.0%} of the samples at the level 5 %, against codes with the same"
        " columns.",
        f"In the plane, spiral, circle, checkerboard and sign flip are each seen by {named(curved)}; and of these"
        f" parity too, three coordinates of which any two are independent, by {named(parity)}.",
        "Spirals between pairs of dimensions are seen"
        f" {'; '.join(_by(found, 'spirals', d) for d in DIMENSIONS[1:])}. When the code is rotated, so that no pair of"
        f" dimensions holds a spiral: {'; '.join(_by(found, 'rotated', d) for d in DIMENSIONS[1:])}.",
    ]


def _in_words(distribution: str) -> str:
    kind, _, dimensions = distribution.rpartition("_")
    turned = {"spirals": "spirals between pairs of", "rotated": "rotated spirals in"}
    return f"{turned[kind]} {dimensions} dimensions" if kind in turned else distribution.replace("_", " ")


def _by(found: pd.DataFrame, kind: str, dimensions: int) -> str:
    return f"in {dimensions} by {named(seers(found, [f'{kind}_{dimensions}']))}"


def how(study: Study, runs: pd.DataFrame, missing: int) -> list[str]:
    """What was done, in paragraphs."""
    seeds = runs["seed"].nunique()
    warned = [f"**{missing} of the {len(study.runs)} runs of the study are not finished and not in here.**"]
    nats = ", ".join(f"{name.replace('_', ' ')} {source.information:.4f}" for name, source in PLANE.items())
    return [
        study.question,
        *warned * (missing > 0),
        "![Power of each statistic on each distribution](power.png)",
        f"{seeds} seeds. A sample counts as seen when the statistic lies beyond the k-th of n values without"
        " dependence, `k = 0.05 (n + 1)`, which is the level 5 % exactly; those are of the same distribution with each"
        " column permuted, so that nothing but the dependence differs, and besides of N(0, I), which is what tests of"
        f" normality compare with and where the shape of a single dimension tells too. {_repetitions()}"
        " Shares are of the samples of all seeds, with Wilson's 95 % interval, which leaves out that the threshold is"
        " itself drawn for each seed. `ms` is the time of a processor for one value, median.",
        f"True mutual information, or total correlation, in nats: {nats}. All codes have mean 0 and variance 1 in the"
        " population and, but for the correlated normals, no correlation.",
        "Statistics with a small letter are meters, those with a capital regularizers at their defaults (single"
        " precision, new random directions at every value). Those of two numbers are taken of pairs of dimensions,"
        f" of at most {PAIRS} that are drawn once, and the greatest counts. `BHEP` has `beta=1`, `BHEP_3` 3 and"
        " `BHEP_Henze_Zirkler` that of its authors, which the size of the sample decides."
        " `CrossCorrelation` of one branch is a multiple of `Covariance` of standardised codes and is left out.",
    ]


def _repetitions() -> str:
    each = [f"{d.alternatives} and {d.nulls} of {rows:,} codes" for rows in SIZES for d in [draws(2 * rows, False)]]
    slow = " and ".join(f"`{name}`" for name, statistic in STATISTICS.items() if statistic.slow)
    return (
        f"Samples with dependence and without, for each seed: {', '.join(each)}, and of more than three dimensions as"
        f" many as of the last. {slow} take time N^2: of more than {ROWS:,} codes or more than 8 dimensions one seed"
        f" has {draws(2 * SIZES[-1], True).alternatives} and {draws(2 * SIZES[-1], True).nulls}."
    )


def contradictions(found: pd.DataFrame) -> list[str]:
    """What was expected and did not come."""
    surfaces, first, last = [f"thin_{count}" for count in LATENTS], SIZES[0], SIZES[-1]
    nats = [Spirals(dimensions=8, rotated=rotated).information for rotated in (False, True)]
    lines = [
        "That an intrinsic dimension alone would tell thin surfaces from normal codes: all three are told from N(0, I)"
        f" by {named(seers(found, surfaces, 'normal'))}.",
        "That more codes show more: `maximum_likelihood` sees the spiral in"
        f" {_of(found, 'maximum_likelihood', first)} of the samples of {first:,} codes and in"
        f" {_of(found, 'maximum_likelihood', last)} of those of {last:,}. Twenty neighbours are then within the width"
        " of the noise, and it reads the two dimensions of the noise. `two_nn`, which asks two neighbours, sees"
        f" {_of(found, 'two_nn', first)} and {_of(found, 'two_nn', last)}.",
        "That spirals between pairs would be harder to see once rotated: for what looks at pairs of dimensions they are"
        f" (in 32, as they stand and rotated, `RandomFeatureHSIC` {_both(found, 'RandomFeatureHSIC', 32)}), for what"
        f" looks at the whole code they are easier (in 8 `total_correlation` {_both(found, 'total_correlation', 8)},"
        f" `SIGReg` {_both(found, 'SIGReg', 8)}; in 32 `KoLeo` {_both(found, 'KoLeo', 32)}). Rotated coordinates have"
        f" more in common, in 8 dimensions {nats[1]:.2f} nats and not {nats[0]:.2f}: each is near normal by itself,"
        " while the whole is as far from normal as before.",
        "That a meter of pairs would see spirals in any number of dimensions: `chatterjee` and `distance_correlation`"
        f" take {PAIRS} pairs, drawn once and for all, of which {_spirals_drawn(32)} holds a spiral in 32 dimensions"
        f" and {_spirals_drawn(128)} in 128 ({_of(found, 'chatterjee', ROWS, 'spirals_128')} and"
        f" {_of(found, 'distance_correlation', ROWS, 'spirals_128')}). Regularizers that sum over all pairs:"
        f" `RandomFeatureHSIC` {_of(found, 'RandomFeatureHSIC', ROWS, 'spirals_128')}, `DistanceCorrelation`"
        f" {_of(found, 'DistanceCorrelation', ROWS, 'spirals_128')}, `HSIC` {_of(found, 'HSIC', ROWS, 'spirals_128')}.",
        "That what sees every curve sees a weak line too: a correlation of 0.2 is found by `total_correlation` in"
        f" {_of(found, 'total_correlation', last, 'correlated_0.2')} of the samples of {last:,} codes, by `pearson` in"
        f" {_of(found, 'pearson', first, 'correlated_0.2')} of those of {first:,}.",
    ]
    return ["## What was expected and did not come", "\n".join(f"- {line}" for line in lines)]


def _spirals_drawn(dimensions: int) -> int:
    """How many of the pairs of dimensions that meters draw are those of a spiral."""
    drawn = pairwise(torch.zeros(2, dimensions), lambda x, y: 0.0).pairs
    return sum(i % 2 == 0 and j == i + 1 for i, j in drawn.tolist())


def _of(found: pd.DataFrame, statistic: str, rows: int, distribution: str = "spiral") -> str:
    return f"{share(found, statistic, distribution, rows=rows):.2f}"


def _both(found: pd.DataFrame, statistic: str, dimensions: int) -> str:
    """Power on spirals as they stand, and rotated."""
    straight, turned = (share(found, statistic, f"{kind}_{dimensions}") for kind in ("spirals", "rotated"))
    return f"{straight:.2f} and {turned:.2f}"
