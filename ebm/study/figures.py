"""The figures of a report. Colours are names of the page's style sheet, `var(--arm-1)`, which the page fills in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from sklearn.decomposition import PCA

from ebm.study.results import Array, Results
from ebm.study.statistics import interval

ACCURACIES = ("probe/linear", "probe/online", "probe/knn")  # shown in per cent
NAMES = {
    "probe/linear": "linear-probe accuracy",
    "probe/online": "accuracy of the online probe",
    "probe/knn": "nearest-neighbour accuracy",
    "code/std": "standard deviation of codes",
    "code/normalized_std": "normalized std of codes",
    "code/std_lowest": "lowest standard deviation of codes",
    "code/effective_rank": "effective rank of codes",
    "code/rankme": "RankMe of codes",
    "code/energy_matching": "energy of matching pairs",
    "code/energy_mismatched": "energy of mismatched pairs",
    "code/auroc": "AUROC of matching against mismatched pairs",
    "code/mmd": "squared MMD between density and held-out points",
    "code/mmd_chains": "squared MMD between ends of chains and held-out points",
    "code/nll": "negative log-likelihood of held-out points in nats",
    "code/bits": "bits of an entry, told the others",
    "code/errors": "share of entries held for the other value",
    "code/energy_points": "energy of held-out points",
    "code/energy_grid": "energy of a grid around them",
    "code/auroc_grid": "AUROC of held-out points against a grid around them",
    "representation/std": "standard deviation of representations",
    "representation/normalized_std": "normalized std of representations",
    "representation/effective_rank": "effective rank of representations",
    "loss/total": "loss",
    "train/std": "standard deviation of codes in the batch",
    "train/gradient_norm": "norm of the gradient",
    "seconds": "seconds of training",
}
COLORS = 8  # as many as the style sheet has
DASHES = ("solid", "10px,3px", "3px,3px", "10px,3px,3px,3px")
POINTS = 300  # of a curve
DOTS = 1000  # of a cloud


class Style(NamedTuple):
    """How an arm is drawn, everywhere."""

    color: str
    band: str
    dash: str


def styles(arms: Sequence[str]) -> dict[str, Style]:
    """A colour and a dash for each arm, no two alike up to 32 of them."""
    found = {}
    for i, arm in enumerate(arms):
        color, dash = i % COLORS, DASHES[(i + i // COLORS) % len(DASHES)]
        found[arm] = Style(f"var(--arm-{color})", f"var(--band-{color})", dash)
    return found


def name(metric: str) -> str:
    """What a reader calls a metric."""
    return NAMES.get(metric, metric)


def titled(metric: str) -> str:
    """The name with a capital, and its unit."""
    text = name(metric)
    return f"{text[0].upper()}{text[1:]}{', %' if metric in ACCURACIES else ''}"


def factor(metric: str) -> float:
    """What to multiply a metric by to show it."""
    return 100.0 if metric in ACCURACIES else 1.0


def means(results: Results, arms: Mapping[str, Style], metric: str) -> go.Figure:
    """One line an arm: a dot a seed, and above them the mean with its 95 % interval."""
    figure = go.Figure(layout=_layout("", titled(metric)))
    for row, arm in enumerate(results.arms):
        values = results.table.loc[results.table["arm"] == arm, metric].to_numpy(dtype=float) * factor(metric)
        mean, color = interval(values), arms[arm].color
        shared = {"mode": "markers", "name": escape(arm), "hovertemplate": "%{x:.4g}<extra>%{fullData.name}</extra>"}
        seeds = {"size": 7, "color": "rgba(0,0,0,0)", "line": {"color": color, "width": 1.25}}
        error = {"array": [mean.half], "color": color, "thickness": 2, "width": 5} if mean.n > 1 else None
        figure.add_scatter(x=values, y=np.full(len(values), row + 0.24), marker=seeds, **shared)
        figure.add_scatter(x=[mean.mean], y=[row - 0.1], marker={"size": 10, "color": color}, error_x=error, **shared)
    ticks = {"tickvals": np.arange(len(results.arms)), "ticktext": [_wrapped(arm) for arm in results.arms]}
    figure.update_yaxes(range=[len(results.arms) - 0.45, -0.55], showgrid=False, zeroline=False, ticks="", **ticks)
    if _is_logarithmic(results.table[metric]):
        figure.update_xaxes(type="log", dtick="D2")
    return figure


def curves(results: Results, arms: Mapping[str, Style], metric: str) -> go.Figure:
    """The mean over seeds at each step, in a band from the lowest seed to the highest."""
    history = results.history[results.history["metric"] == metric]
    figure = go.Figure(layout=_layout("Step", titled(metric)))
    figure.update_xaxes(rangemode="tozero")
    spans = {
        arm: _span(rows.assign(value=rows["value"] * factor(metric)), "step") for arm, rows in _by_arm(history, arms)
    }
    _draw_spans(figure, spans, arms)
    if _is_logarithmic(history["value"]):
        figure.update_yaxes(type="log")
    return figure


def spectrum(results: Results, arms: Mapping[str, Style], kind: str) -> go.Figure:
    """Standard deviations along the principal directions, the mean over seeds in a band from lowest to highest."""
    values = results.spectra[(results.spectra["kind"] == kind) & (results.spectra["value"] > 0)]
    figure = go.Figure(layout=_layout("Principal direction", "Standard deviation"))
    _draw_spans(figure, {arm: _span(rows, "index") for arm, rows in _by_arm(values, arms)}, arms, markers=False)
    figure.update_yaxes(type="log")
    return figure


def projected(codes: Array) -> Array:
    """Codes divided by their root-mean-square norm, on their two principal axes, `(N, 2)`.

    They are not centred before they are divided: what has collapsed to a point away from the origin stays one.
    """
    size = float(np.sqrt(np.square(codes, dtype=float).sum(1).mean()))
    flat = np.zeros((len(codes), 2))
    if not np.isfinite(size) or size == 0 or len(codes) < 2 or np.ptp(codes, axis=0).max() == 0:
        return flat
    axes = min(2, codes.shape[1])
    flat[:, :axes] = PCA(axes, svd_solver="full").fit_transform(codes.astype(float) / size)
    return flat


def cloud(points: Array, labels: Array, limit: float) -> go.Figure:
    """Points coloured by label, within `limit` of the origin both ways."""
    figure = go.Figure(layout=_layout("", "", margin={"l": 0, "r": 0, "t": 0, "b": 0}))
    kept = np.unique(np.linspace(0, len(points) - 1, min(DOTS, len(points))).astype(int))
    points, labels = points[kept].astype(np.float32), labels[kept]
    for i, label in enumerate(np.unique(labels)):
        at = points[labels == label]
        marker = {"size": 4.5, "color": f"var(--label-{i % 10})", "opacity": 0.85}
        hover = f"label {escape(str(label))}<extra></extra>"
        figure.add_scatter(x=at[:, 0], y=at[:, 1], mode="markers", marker=marker, hovertemplate=hover)
    ticks = {"automargin": False, "showticklabels": False, "ticks": "", "dtick": 0.5, "zeroline": True}
    figure.update_xaxes(range=[-limit, limit], **ticks)
    figure.update_yaxes(range=[-limit, limit], **ticks)
    return figure


def _by_arm(rows: pd.DataFrame, arms: Iterable[str]) -> list[tuple[str, pd.DataFrame]]:
    return [(arm, part) for arm in arms if len(part := rows[rows["arm"] == arm])]


def _span(rows: pd.DataFrame, along: str) -> pd.DataFrame:
    """Mean, lowest and highest over seeds, where all seeds have a value, at no more than so many places."""
    found = rows.groupby(along)["value"].agg(["mean", "min", "max", "count"])
    found = found[found["count"] == found["count"].max()]
    kept = np.unique(np.linspace(0, len(found) - 1, min(POINTS, len(found))).astype(int))
    return found.iloc[kept]


def _draw_spans(
    figure: go.Figure, spans: Mapping[str, pd.DataFrame], arms: Mapping[str, Style], markers: bool = True
) -> None:
    """Bands below, lines above."""
    for arm, span in spans.items():
        x, y = [*span.index, *span.index[::-1]], [*span["max"], *span["min"][::-1]]
        band = {"fill": "toself", "fillcolor": arms[arm].band, "line": {"width": 0}, "hoverinfo": "skip"}
        figure.add_scatter(x=_short(x), y=_short(y), mode="lines", legendgroup=arm, **band)
    for arm, span in spans.items():
        figure.add_scatter(
            x=_short(span.index),
            y=_short(span["mean"]),
            mode="lines+markers" if markers and len(span) <= 15 else "lines",
            line={"color": arms[arm].color, "width": 2, "dash": arms[arm].dash},
            marker={"size": 6},
            name=escape(arm),
            legendgroup=arm,
            hovertemplate="%{x}: %{y:.4g}<extra>%{fullData.name}</extra>",
        )


def _short(values: Iterable[float]) -> Array:
    return np.asarray(list(values), dtype=np.float32)  # half the bytes in the page


def _is_logarithmic(values: pd.Series[float]) -> bool:
    """Whether positive values span more than a factor of thirty."""
    finite = values[np.isfinite(values)]
    return len(finite) > 0 and bool(finite.min() > 0) and bool(finite.max() > 30 * finite.min())


def _wrapped(arm: str) -> str:
    """The name on two lines if it is long."""
    words, lines = arm.split(), [""]
    for word in words:
        lines = [*lines, word] if len(lines[-1]) + len(word) > 16 else [*lines[:-1], f"{lines[-1]} {word}".strip()]
    return "<br>".join(escape(line) for line in lines if line)


def _layout(x: str, y: str, **more: Any) -> go.Layout:
    """What all figures share. The label of the vertical axis stands on top, to be read without turning the head."""
    axis = {
        "automargin": True,
        "exponentformat": "e",
        "gridcolor": "var(--grid)",
        "linecolor": "var(--rule)",
        "showline": False,
        "tickcolor": "var(--rule)",
        "zeroline": False,
        "zerolinecolor": "var(--rule)",
    }
    font = {"color": "var(--muted)", "size": 13}
    settings = {
        "template": "none",
        "font": font | {"family": "system-ui, -apple-system, Segoe UI, Roboto, Helvetica Neue, Arial, sans-serif"},
        "hoverlabel": {"bgcolor": "var(--surface)", "bordercolor": "var(--rule)", "font": {"color": "var(--ink)"}},
        "margin": {"l": 8, "r": 12, "t": 34 if y else 8, "b": 8},
        "paper_bgcolor": "var(--surface)",
        "plot_bgcolor": "var(--surface)",
        "showlegend": False,
        "title": {"text": y, "font": font, "x": 0, "xref": "paper", "xanchor": "left", "y": 1, "yref": "container"}
        | {"yanchor": "top", "pad": {"t": 6}},
        "xaxis": axis | {"title": {"text": x, "font": font, "standoff": 10}, "ticks": "outside"},
        "yaxis": axis | {"nticks": 7},
    }
    return go.Layout(**settings | more)
