"""What `meter_probe.py` writes: rank correlations with their intervals, the page and the picture."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from reporting import made_by, write_page
from scipy.stats import norm, rankdata
from statsmodels.stats.multitest import multipletests

from ebm.study.columns import COLLAPSED

Array = np.ndarray[Any, Any]

TARGET, OTHER = "probe/linear", "probe/knn"
FACTS = ("data", "family", "model", TARGET)
RESAMPLES = 2000
LEVEL = 0.05
COLORS = ("#1971c2", "#e8590c", "#2f9e44")
SCOPES = {"all": "over all models", "within": "within families"}


def centred_ranks(values: Array, groups: Sequence[Array]) -> list[Array]:
    """Of `(..., models)` the ranks within each group, from -1/2 to 1/2 or less."""
    ranks = [rankdata(values[..., rows], axis=-1) for rows in groups]
    return [rank / (rank.shape[-1] + 1) - 0.5 for rank in ranks]


def correlation(x: Array, y: Array, groups: Sequence[Array]) -> Array:
    """Spearman's rank correlation along the last axis, of ranks within each group; NaN where nothing varies."""
    pairs = list(zip(centred_ranks(x, groups), centred_ranks(y, groups), strict=True))
    products, first, second = (
        np.sum([part.sum(-1) for part in parts], 0)
        for parts in zip(*((a * b, a * a, b * b) for a, b in pairs), strict=True)
    )
    size = np.sqrt(first * second)
    return np.divide(products, size, out=np.full_like(size, np.nan), where=size > 1e-9)


def p_values(x: Array, y: Array, groups: Sequence[Array]) -> Array:
    """Two-sided, of no association within any group, by the normal limit of permutations within groups."""
    pairs = list(zip(centred_ranks(x, groups), centred_ranks(y, groups), strict=True))
    statistic = np.sum([(a * b).sum(-1) for a, b in pairs], 0)
    variance = np.sum([(a * a).sum(-1) * (b * b).sum(-1) / (a.shape[-1] - 1) for a, b in pairs], 0)
    scale = np.sqrt(variance)
    return 2 * norm.sf(np.abs(np.divide(statistic, scale, out=np.zeros_like(scale), where=scale > 1e-12)))


def resampled(groups: Sequence[Array], generator: np.random.Generator) -> tuple[Array, list[Array]]:
    """Rows drawn with replacement within each group, `(RESAMPLES, models)`, and where the groups are then."""
    drawn = [generator.choice(rows, (RESAMPLES, len(rows))) for rows in groups]
    ends = np.cumsum([0, *map(len, groups)])
    return np.concatenate(drawn, 1), [np.arange(a, b) for a, b in pairwise(ends)]


def associations(models: pd.DataFrame) -> pd.DataFrame:
    """One row a data set, scope and meter: `rho` with its 95 % bootstrap interval over models, p, and p after Holm."""
    found = [_of_one(data, scope, part) for data, part in models.groupby("data", sort=False) for scope in SCOPES]
    rows = pd.concat(found, ignore_index=True)
    tested = rows["rho"].notna() & (rows["meter"] != OTHER)
    rows.loc[tested, "holm"] = multipletests(rows.loc[tested, "p"], method="holm")[1]
    return rows


def _of_one(data: str, scope: str, models: pd.DataFrame) -> pd.DataFrame:
    meters = [name for name in models.columns if name not in FACTS]
    x, y = models[meters].to_numpy(dtype=float).T, models[TARGET].to_numpy(dtype=float)
    if scope == "all":
        groups = [np.arange(len(models))]
    else:
        groups = [np.flatnonzero(models["family"] == name) for name in models["family"].unique()]
    rows, places = resampled(groups, np.random.default_rng(0))
    draws = np.stack([correlation(values[rows], y[rows], places) for values in x])
    low, high = np.nanquantile(np.nan_to_num(draws), (0.025, 0.975), axis=1)
    numbers = {"rho": correlation(x, y, groups), "low": low, "high": high, "p": p_values(x, y, groups)}
    return pd.DataFrame({"data": data, "scope": scope, "meter": meters, **numbers, "models": len(models)})


def strengths(rows: pd.DataFrame, scope: str) -> pd.Series[float]:
    """Mean over data sets of a meter's correlation, largest in size first."""
    means = rows[(rows["scope"] == scope) & (rows["meter"] != OTHER)].groupby("meter")["rho"].mean().dropna()
    return means.reindex(means.abs().sort_values(ascending=False).index)


def transfers(rows: pd.DataFrame, scope: str) -> pd.DataFrame:
    """The meter that correlates most on the other data sets, and what it is worth on this one."""
    names, found = list(rows["data"].unique()), []
    for data in names if len(names) > 1 else []:
        chosen = str(strengths(rows[rows["data"] != data], scope).index[0])
        there = rows[(rows["data"] == data) & (rows["scope"] == scope) & (rows["meter"] == chosen)].iloc[0]
        found.append({"read on": data, "chosen on the others": chosen, "correlation there": shown(there)})
    return pd.DataFrame(found)


def shown(row: pd.Series[Any]) -> str:
    """A correlation with its interval."""
    return "" if np.isnan(row["rho"]) else f"{row['rho']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"


def markdown(table: pd.DataFrame) -> str:
    """A Markdown table of what stands in a frame."""
    lines = [list(map(str, table.columns)), ["---"] * table.shape[1], *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def correlations(rows: pd.DataFrame, scope: str) -> pd.DataFrame:
    """Meters by data sets, the strongest first; a star where p after Holm is below the level."""
    part = rows[rows["scope"] == scope]
    cells = part.assign(cell=[shown(row) + "*" * bool(row["holm"] < LEVEL) for _, row in part.iterrows()])
    wide = cells.pivot(index="meter", columns="data", values="cell")[list(rows["data"].unique())]
    return wide.reindex([OTHER, *strengths(rows, scope).index]).reset_index()


def by_family(models: pd.DataFrame, meters: Sequence[str]) -> pd.DataFrame:
    """The correlations of some meters with the probe among the models of each family, which are few."""
    found = []
    for family, part in models.groupby("family"):
        row = {"family": family}
        for data, few in part.groupby("data", sort=False):
            y, groups = few[TARGET].to_numpy(), [np.arange(len(few))]
            row[str(data)] = " / ".join(f"{correlation(few[name].to_numpy(), y, groups):+.2f}" for name in meters)
        found.append(row | {"models": len(part) // models["data"].nunique()})
    return pd.DataFrame(found)


def accuracies(models: pd.DataFrame) -> pd.DataFrame:
    """How the probes' accuracies spread over models, and within families."""
    found = []
    for data, part in models.groupby("data", sort=False):
        values = 100 * part[TARGET]
        inner = (part.groupby("family")[TARGET].std() * 100).mean()
        limits = {name: COLLAPSED[f"code/{name}"] for name in ("normalized_std", "auroc")}
        gone = (part["code/normalized_std"] < limits["normalized_std"]) | (part["energy/auroc"] < limits["auroc"])
        low, middle, high = (f"{values.quantile(q):.1f}" for q in (0, 0.5, 1))
        found.append(
            {"data": data, "models": len(part), "families": part["family"].nunique(), "collapsed": int(gone.sum())}
            | {"lowest, %": low, "median, %": middle, "highest, %": high, "deviation within families": f"{inner:.1f}"}
        )
    return pd.DataFrame(found)


def across(rows: pd.DataFrame, meter: str, scope: str) -> str:
    """The correlations of one meter on each data set."""
    part = rows[(rows["meter"] == meter) & (rows["scope"] == scope)]
    return ", ".join(f"{row['data']} {shown(row)}" for _, row in part.iterrows())


def answer(rows: pd.DataFrame) -> str:
    """What came out, in sentences that the numbers fill in."""
    tried = rows[(rows["meter"] != OTHER) & rows["rho"].notna()]
    sentences = [
        f"{tried['meter'].nunique()} meters were tried on {tried['data'].nunique()} data sets in two ways, which is"
        f" {len(tried)} tests; a star says that p is below {LEVEL} after Holm's correction for all of them."
    ]
    for scope, words in SCOPES.items():
        part = tried[tried["scope"] == scope]
        best, sure = strengths(rows, scope), everywhere(part)
        of_codes = best[best.index.str.startswith("code/")]
        sentences.append(
            f"**{words.capitalize()}**: on every data set, with one sign, {len(sure)} of them"
            + (f" ({', '.join(f'`{name}`' for name in best.index if name in sure)})" if sure else "")
            + f". Strongest on average is `{best.index[0]}` ({across(rows, str(best.index[0]), scope)}). RankMe of the"
            f" representation: {across(rows, 'representation/rankme', scope)}. Of the code, where the loss acts,"
            f" RankMe averages {best['code/rankme']:+.2f} and the strongest meter, `{of_codes.index[0]}`,"
            f" {of_codes.iloc[0]:+.2f}. Another probe: {across(rows, OTHER, scope)}."
        )
    return "\n\n".join(sentences)


def everywhere(part: pd.DataFrame) -> list[str]:
    """Meters whose correlation is below the level and of one sign on every data set."""
    stars = (part["holm"] < LEVEL).groupby(part["meter"]).sum()
    signs = np.sign(part["rho"]).groupby(part["meter"]).agg(lambda found: abs(found.sum()) == len(found))
    return [str(name) for name in stars.index if stars[name] == part["data"].nunique() and signs[name]]


def forest(axes: Sequence[Axes], rows: pd.DataFrame) -> None:
    """A line of intervals for each meter, in the order of the left panel's means."""
    order = [OTHER, *strengths(rows, "all").index][::-1]
    for axis, (scope, title) in zip(axes, SCOPES.items(), strict=True):
        for color, (data, part) in zip(COLORS, rows[rows["scope"] == scope].groupby("data", sort=False), strict=False):
            part = part.set_index("meter").reindex(order)
            y = np.arange(len(order)) + 0.22 * (1 - list(rows["data"].unique()).index(data))
            axis.hlines(y, part["low"], part["high"], color=color, linewidth=1)
            axis.plot(part["rho"], y, "o", color=color, markersize=3, label=data)
        axis.axvline(0, color="black", linewidth=0.7)
        axis.set(xlim=(-1, 1), ylim=(-0.8, len(order) - 0.2), title=title, xlabel="rank correlation with the probe")
        axis.set_yticks(range(len(order)), order, fontsize=7)
        axis.grid(axis="y", linewidth=0.3)
    axes[0].legend(loc="lower right", fontsize=7)
    axes[1].set_yticklabels([])


def scatter(axis: Axes, models: pd.DataFrame, meter: str) -> None:
    """The probe over one meter, a color for each family."""
    for color, (family, part) in zip(mpl.colormaps["tab10"].colors, models.groupby("family"), strict=False):
        axis.plot(part[meter], 100 * part[TARGET], "o", color=color, markersize=3.5, label=family)
    axis.set_xlabel(meter, fontsize=7)
    axis.tick_params(labelsize=7)


def draw(models: pd.DataFrame, rows: pd.DataFrame, path: Path | None) -> None:
    """Intervals of all correlations; and the probe over the strongest meter and over RankMe."""
    mpl.use("Agg")
    names = list(models["data"].unique())
    figure = plt.figure(figsize=(15, 0.17 * rows["meter"].nunique() + 1.5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.5, 1))
    forest(left.subplots(1, 2), rows)
    grid = right.subplots(len(names), 2, squeeze=False)
    for line, data in zip(grid, names, strict=True):
        for axis, meter in zip(line, (strengths(rows, "all").index[0], "representation/rankme"), strict=True):
            scatter(axis, models[models["data"] == data], meter)
        line[0].set_ylabel(f"{data}: linear probe, %", fontsize=8)
    grid[0][0].legend(fontsize=6)
    if path is not None:
        figure.savefig(path, dpi=100)
    plt.close(figure)


def write(models: pd.DataFrame, asked: int, out: Path | None, command: str) -> str:
    """The page, the rows and the picture where that is wanted; returns what to print."""
    rows = associations(models)
    tables = {f"Rank correlations {words}": markdown(correlations(rows, scope)) for scope, words in SCOPES.items()}
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        missing = asked - len(models)
        left_out = [f"**{missing} of the {asked} models are not trained and not in here.**"] if missing else []
        write_page(
            out / "meter_probe.md",
            "Does the meter predict the probe?",
            [*left_out, *page(models, rows, tables), *made_by(command, ("torch", "scikit-learn"))],
        )
        models.to_csv(out / "meter_probe.csv", index=False, float_format="%.6g")
    draw(models, rows, None if out is None else out / "meter_probe.png")
    return "\n\n".join([answer(rows), *tables.values()])


def page(models: pd.DataFrame, rows: pd.DataFrame, tables: dict[str, str]) -> list[str]:
    """Question, answer, picture, how, tables."""
    return [
        "Nobody has labels when a representation is learned without them; can a meter of the codes, of the"
        " representation or of the energy say which of several models a probe will read best?",
        answer(rows),
        "![Rank correlations with their intervals, and the probe over two meters](meter_probe.png)",
        "Spearman's rank correlation of each meter with the accuracy of a logistic regression on the representation,"
        f" fitted to training images and read on held-out ones. Intervals: {RESAMPLES:,} bootstrap samples of the"
        " models. Within families models are ranked against those of their own method alone, and the ranks of all"
        f" families pooled. `{OTHER}` is no meter but a second reader with labels, for comparison: so many held-out"
        " images tell accuracies apart only so finely, those of CIFAR-10 least. Models differ in weights, temperatures,"
        " widths, rates and steps, from collapsed to good; one seed each. Digits: 8 x 8, a multi-layer perceptron, 30"
        " epochs. MNIST at 14 x 14 and CIFAR-10 at 16 x 16: 2,000 images, a small convolutional network, 6 epochs,"
        " which is little training: what predicts the probe of models trained to their end, this does not say."
        f" `collapsed` are codes with a normalised std below {COLLAPSED['code/normalized_std']} or energies with"
        f" an AUROC below {COLLAPSED['code/auroc']}.",
        markdown(accuracies(models)),
        "Had one chosen the meter on two data sets, over all models:",
        markdown(transfers(rows, "all")),
        "Within families:",
        markdown(transfers(rows, "within")),
        "Among the models of each family alone, AUROC of the energy / RankMe of the representation:",
        markdown(by_family(models, ("energy/auroc", "representation/rankme"))),
        *(f"## {title}\n\n{text}" for title, text in tables.items()),
    ]
