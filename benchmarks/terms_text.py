"""What the page of `terms.py` says: sentences that the runs fill with numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from ebm.study.columns import COLLAPSED

METRICS = {
    "code/std": ".3f",
    "code/normalized_std": ".2f",
    "code/effective_rank": ".1f",
    "representation/effective_rank": ".1f",
    "code/auroc": ".3f",
    "probe/linear": ".3f",
    "probe/knn": ".3f",
}
DYNAMICS = {
    "trained/largest": ".2f",
    "trained/smallest": ".3f",
    "flowed/smallest": ".3f",
    "trained/vanished": ".1f",
    "flowed/vanished": ".1f",
    "aligned/vanished": ".1f",
    "flowed/error": ".3f",
    "aligned/error": ".3f",
    "push/negative_at_first": ".1f",
    "push/negative_at_last": ".1f",
    "alignment/at_first": ".2f",
    "alignment/at_last": ".2f",
    "rate_error/at_first": ".2f",
    "rate_error/at_last": ".2f",
}
STD, DIRECTIONS, RANK = "code/std", "code/normalized_std", "code/effective_rank"
AUROC, PROBE = "code/auroc", "probe/linear"


def how(table: pd.DataFrame) -> list[str]:
    """Question and what was done."""
    return [
        "Which of the parts that a method is made of prevents which collapse: to a point, or to few directions?",
        "![Codes with parts switched off, and singular values of linear networks](terms.png)",
        f"Digits, 30 epochs, {table['seed'].nunique()} seeds, means with half their 95 % t-intervals. `normalized std`"
        " is 1 for codes that point in all directions and 0 for those that point in one, `auroc` 0.5 for an energy that"
        " does not tell which views match. There is no batch normalisation in the encoder, which would hide a"
        " collapse; `norm` is that of the hidden layers of projector and predictor. A target that `learns too` passes"
        " derivatives on; an `average, 1` stays what it was drawn as. VICReg with no term is the network as drawn.",
    ]


def answers(table: pd.DataFrame) -> list[str]:
    """What came out, a paragraph a method."""
    return [vicreg(table), predictive(table), barlow_twins(table)]


def mean(table: pd.DataFrame, metric: str, method: str, parts: Mapping[str, str]) -> str:
    """The mean of a metric over the runs of a method with these parts, as its column prints it."""
    chosen = table[(table[["method", *parts]] == pd.Series({"method": method, **parts})).all(axis=1)]
    return format(chosen[metric].mean(), METRICS[metric])


def vicreg(table: pd.DataFrame) -> str:
    """Variance against a point, covariance against few directions."""

    def of(metric: str, invariance: str, variance: str, covariance: str) -> str:
        return mean(table, metric, "VICReg", {"invariance": invariance, "variance": variance, "covariance": covariance})

    return (
        f"**VICReg.** Without variance invariance shrinks the code: std {of(STD, '25', '0', '0')}, and"
        f" {of(STD, '25', '0', '1')} with covariance, which prevents nothing by itself, being smallest where the code"
        f" is; its effective rank ({of(RANK, '25', '0', '0')}) does not show it. Variance restores the std"
        f" ({of(STD, '25', '25', '0')}) but not the directions: effective rank {of(RANK, '25', '25', '0')}; covariance"
        f" beside it brings {of(RANK, '25', '25', '1')}, and the AUROC from {of(AUROC, '25', '25', '0')} to"
        f" {of(AUROC, '25', '25', '1')}. Contrary to what one would expect, the linear probe of digits gains little by"
        f" training: {of(PROBE, '0', '0', '0')} for the network as drawn, {of(PROBE, '25', '25', '1')} with all three"
        f" terms, {of(PROBE, '0', '25', '1')} without invariance; it shows what collapse costs,"
        f" {of(PROBE, '25', '0', '0')} without variance and covariance."
    )


def predictive(table: pd.DataFrame) -> str:
    """The predictor, the stop-gradient, the moving average and batch normalisation."""

    def simsiam(metric: str, target: str, predictor: str, projector: str = "yes", norm: str = "yes") -> str:
        parts = {"target": target, "predictor": predictor, "norm of projector": projector, "norm of predictor": norm}
        return mean(table, metric, "SimSiam", parts)

    def byol(metric: str, target: str, predictor: str) -> str:
        return mean(table, metric, "BYOL", {"target": target, "predictor": predictor})

    return (
        "**SimSiam and BYOL.** Predictor and stop-gradient are needed together: SimSiam's normalised std is"
        f" {simsiam(DIRECTIONS, 'stop-gradient', 'yes')} with both, {simsiam(DIRECTIONS, 'learns too', 'yes')} without"
        f" the stop-gradient and {simsiam(DIRECTIONS, 'stop-gradient', 'none', norm='-')} without the predictor. There"
        f" the stop-gradient does nothing ({simsiam(DIRECTIONS, 'learns too', 'none', norm='-')} without either): of a"
        " loss that takes both views in turn it halves the gradient, and no more. Batch normalisation counts as much:"
        f" {simsiam(DIRECTIONS, 'stop-gradient', 'yes', norm='no')} without that of the predictor,"
        f" {simsiam(DIRECTIONS, 'stop-gradient', 'yes', projector='no')} without that of the projector and"
        f" {simsiam(DIRECTIONS, 'stop-gradient', 'yes', 'no', 'no')} without either. With a wide predictor, BYOL's,"
        f" a target that follows at once does as well ({byol(DIRECTIONS, 'stop-gradient', 'yes')}) as one that follows"
        f" at 0.99 ({byol(DIRECTIONS, 'average, 0.99', 'yes')}). What was not expected: at 0.99 no predictor is needed"
        f" in as many steps ({byol(DIRECTIONS, 'average, 0.99', 'none')}, linear probe"
        f" {byol(PROBE, 'average, 0.99', 'none')}), and to predict a network that stays as it was drawn teaches about"
        f" as much as anything else here (linear probe {byol(PROBE, 'average, 1', 'none')})."
    )


def barlow_twins(table: pd.DataFrame) -> str:
    """Weight and width."""

    def of(metric: str, redundancy: str, width: str) -> str:
        return mean(table, metric, "Barlow Twins", {"redundancy": redundancy, "width": width})

    return (
        "**Barlow Twins.** Without a weight on redundancy the code has few directions however wide it is: effective"
        f" rank {of(RANK, '0', '32')} of 32, {of(RANK, '0', '128')} of 128, {of(RANK, '0', '512')} of 512. At the"
        f" paper's 0.005 it grows with the width ({of(RANK, '0.005', '32')}, {of(RANK, '0.005', '128')},"
        f" {of(RANK, '0.005', '512')}). The weight is of a sum over pairs of dimensions, so that what is best for a"
        f" narrow code is too much for a wide one: at 0.5 the AUROC is {of(AUROC, '0.5', '32')} for 32 dimensions,"
        f" {of(AUROC, '0.5', '128')} for 128 and {of(AUROC, '0.5', '512')} for 512."
    )


def collapsed(table: pd.DataFrame) -> list[str]:
    """For each method the arms whose codes point one way, or whose energy tells nothing, in the mean over seeds."""
    lines = []
    for method, part in table.groupby("method", sort=False):
        means = part.groupby("arm", sort=False)[list(METRICS)].mean()
        gone = [str(arm) for arm, row in means.iterrows() if any(row[k] < v for k, v in COLLAPSED.items() if k in row)]
        best = means["probe/linear"].idxmax()
        lines.append(
            f"- **{method}**: {len(gone)} of {len(means)} arms have a normalised std below"
            f" {COLLAPSED['code/normalized_std']} or an AUROC below {COLLAPSED['code/auroc']}"
            + _listed([str(arm) for arm in means.index], gone)
            + f"; best linear probe {means.loc[best, 'probe/linear']:.3f} ({best})."
        )
    return lines


def _listed(arms: Sequence[str], chosen: Sequence[str]) -> str:
    """Those that were chosen, or those that were not where they are fewer."""
    others = [arm for arm in arms if arm not in chosen]
    if not chosen or not others:
        return ""
    return f" ({'; '.join(chosen)})" if len(chosen) <= len(others) else f" (all but {'; '.join(others)})"


def theory(table: pd.DataFrame) -> str:
    """How far the equations agree with training, and what they foretell."""
    one, two = (table[table["layers"] == layers] for layers in (1, 2))
    same = int((table["flowed/vanished"] == table["trained/vanished"]).sum())
    weak, strong = one["amplitude"].min(), one["amplitude"].max()

    def of(name: str, layers: int, amplitude: float) -> str:
        chosen = (table["layers"] == layers) & (table["amplitude"] == amplitude)
        return format(table.loc[chosen, name].mean(), DYNAMICS[name])

    return (
        f"The gradient of `InfoNCE` is that of the equations to {table['gradient/error'].max():.0e} of it. Their flow"
        f" differs from training in single batches by {one['flowed/error'].mean():.1%} of the singular values with one"
        f" layer and {two['flowed/error'].mean():.1%} with two, in the mean over time and runs, and as many have"
        f" vanished (below 5 % of the largest) in {same} of {len(table)} runs. Where they differ, training in noisy"
        f" batches leaves more: {of('trained/smallest', 1, strong)} against {of('flowed/smallest', 1, strong)} for the"
        f" smallest value of one layer under strong augmentation ({strong:g}), where X is negative in"
        f" {of('push/negative_at_last', 1, strong)} of 16 directions. Under weak augmentation ({weak:g}) X stays"
        f" positive: {of('trained/vanished', 1, weak)} values vanish with one layer, but"
        f" {of('trained/vanished', 2, weak)} with two, where small ones grow in proportion to their size."
        f"\n\nThe equations of aligned layers are off at first by {of('rate_error/at_first', 2, weak)} of the rates at"
        f" which singular values grow, since layers are not aligned when they are drawn, and at last by"
        f" {of('rate_error/at_last', 2, weak)}. Integrated from the start, with directions that stay as they are drawn,"
        f" they hold under weak augmentation (error {of('aligned/error', 2, weak)}); under strong"
        f" ({of('aligned/error', 2, strong)}) they do not: directions turn away from the augmentation."
    )
