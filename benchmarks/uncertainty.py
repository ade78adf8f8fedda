"""Planning among obstacles that wander: a page with collisions by model and risk, what models know, and a film.

    python benchmarks/uncertainty.py --results results    # what is missing of the study in results/, then the page
    python benchmarks/uncertainty.py --quick              # to see that it runs; nothing is written

The runs are those of `ebm study run benchmarks/studies/uncertainty.yaml`, and may be made by it; of Freeway the page
shows what `ebm study run benchmarks/studies/freeway.yaml` has finished.
"""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from reporting import made_by, with_interval, write_page
from study_page import HERE, page
from success import markdown, percent, wilson

from ebm.study.results import collect
from ebm.study.sweep import Study, load_study

MODELS = {
    "random": "random actions",
    "deterministic": "deterministic",
    "fitted": "deterministic, costs fitted to its own predictions",
    "latent": "latent in each place, prior learned",
    "unlimited": "latent in each place, unregularised",
    "oracle": "the world itself",
}
RISKS = {"mean": "mean", "cvar": "CVaR, worst fifth"}
GAMES = {
    "random": "random actions",
    "up": "always up",
    "deterministic_mean": "deterministic model",
    "latent_mean": "model with a latent, mean",
    "latent_cvar": "model with a latent, CVaR",
}
FREEWAY = (
    "ALE/Freeway-v5, an action held for two frames; 4,000 such steps of mostly going up to learn from, networks of 128"
    " units, plans of 4 steps, 8 alternatives in each. The options of `benchmarks/programs/freeway.py` make it larger."
)
COLUMNS = ("reached", "collided", "steps", "milliseconds", "episodes")
READ = {
    "gap": ("AUROC, possible or not", ".3f"),
    "likelihood_1": ("nats after 1 step", ".2f"),
    "likelihood_2": ("after 2", ".2f"),
    "likelihood_3": ("after 3", ".2f"),
    "error": ("error of the chance of a collision", ".3f"),
    "bias": ("its bias", "+.3f"),
    "brier": ("Brier score", ".3f"),
}
STEADY = ("latent_cvar_20_3", "deterministic_mean_20_3")  # what the claim compares
HALF, EQUAL = 0.5, 0.02


def agents(table: pd.DataFrame) -> pd.DataFrame:
    """One row an agent and seed."""
    names = [name.removesuffix("/collided") for name in table.columns if name.endswith("/collided")]
    found = [
        {"agent": name, "seed": run["seed"], **{column: run[f"{name}/{column}"] for column in COLUMNS}}
        for _, run in table.iterrows()
        for name in names
    ]
    return pd.DataFrame(found)


def told(agent: str) -> list[str]:
    """The model, its risk, what a collision is worth in steps, and how often it looks."""
    model, *rest = agent.split("_")
    if not rest:
        return [MODELS[model], "", "", ""]
    risk, weight, every = rest
    return [MODELS[model], RISKS[risk], weight, every]


def lines(players: pd.DataFrame) -> str:
    """The table of agents."""
    found = [["model", "risk", "worth of a collision", "looks every", "goal", "collisions", "steps to it", "CPU ms"]]
    for agent, part in players.groupby("agent", sort=False):
        shares = [percent(part[name], part["episodes"]) for name in ("reached", "collided")]
        steps = part["steps"].mean()
        spent = f"{part['milliseconds'].mean():.1f}"
        found.append([*told(str(agent)), *shares, "" if math.isnan(steps) else f"{steps:.1f}", spent])
    return markdown(found)


def models(table: pd.DataFrame) -> str:
    """The table of what models know."""
    found = [["model", *(name for name, _ in READ.values())]]
    for model in ("deterministic", "fitted", "latent", "unlimited"):
        cells = [
            with_interval(table[f"{model}/{name}"], template) if f"{model}/{name}" in table else ""
            for name, (_, template) in READ.items()
        ]
        found.append([MODELS[model], *cells])
    truth = [with_interval(table[f"truth/{name}"], READ[name][1]) if name.startswith("like") else "" for name in READ]
    return markdown([*found, [MODELS["oracle"], *truth]])


def share(players: pd.DataFrame, agent: str, column: str) -> tuple[float, float, float]:
    """Over all episodes, with its interval."""
    part = players[players["agent"] == agent]
    return wilson(part[column], part["episodes"])


def phrase(players: pd.DataFrame, agent: str, column: str) -> str:
    """`3 % (1 to 7)`."""
    part = players[players["agent"] == agent]
    return percent(part[column], part["episodes"])


def answer(players: pd.DataFrame) -> str:
    """The first sentences."""
    latent, other = STEADY
    one, two = share(players, latent, "collided")[0], share(players, other, "collided")[0]
    goals = share(players, latent, "reached")[0], share(players, other, "reached")[0]
    came = one <= HALF * two and goals[0] >= goals[1] - EQUAL
    verdict = (
        "as was expected, at most half as many collisions at no fewer goals"
        if came
        else "**not** at most half as many collisions at no fewer goals, as was expected"
    )
    return (
        f"Planned with a latent in each place and CVaR, {phrase(players, latent, 'collided')} of the episodes end in a"
        f" collision and {phrase(players, latent, 'reached')} at the goal; with the deterministic model over the same"
        f" encoder {phrase(players, other, 'collided')} and {phrase(players, other, 'reached')}: {verdict}."
        f" Simulated futures of the world itself, the ceiling, give"
        f" {phrase(players, 'oracle_cvar_20_3', 'collided')} and {phrase(players, 'oracle_cvar_20_3', 'reached')},"
        f" random actions {phrase(players, 'random', 'collided')} and {phrase(players, 'random', 'reached')}."
    )


def cautions(players: pd.DataFrame, table: pd.DataFrame) -> str:
    """What has to be said beside it, each with the figures that say so."""
    both = {agent: outcome(players, agent) for agent in players["agent"].unique()}
    collided = {agent: share(players, agent, "collided")[0] for agent in both}
    latent, plain = (collided[agent] for agent in STEADY)
    fitted = collided["fitted_mean_20_3"]
    goals = share(players, STEADY[0], "reached")[0]
    rivals = [f"{model}_mean_{weight}_3" for model in ("deterministic", "fitted") for weight in (5, 20, 80)]
    feared = any(collided[name] <= latent and share(players, name, "reached")[0] >= goals for name in rivals)
    errors = {model: table[f"{model}/error"].mean() for model in ("deterministic", "fitted", "latent")}
    gaps = {model: table[f"{model}/gap"].mean() for model in ("deterministic", "latent", "unlimited")}
    partly = "Part of it is" if fitted < plain else "It is not"
    enough = "is enough" if feared else "is not enough"
    slower = players.groupby("agent")["steps"].mean()
    points = [
        "*In MiniGrid's world there is nothing to fear for one who looks.* Whether going forward collides is settled"
        " by what is in front now: looking before each step, the deterministic model has"
        f" {both['deterministic_mean_20_1']}. All others look before every third step, and plan those between blindly.",
        f"*{partly} that costs have never seen an average.* Fitted to the deterministic model's own predictions they"
        f" give {both['fitted_mean_20_3']}. The chance of a collision errs by {errors['fitted']:.3f} then, by"
        f" {errors['deterministic']:.3f} before and by {errors['latent']:.3f} with the latent: what the expected cost"
        " of a plan needs is the chance that a cell is taken, which an average can hold.",
        f"*Fear alone {enough}.* Where a collision is worth 80 steps to it the deterministic model has"
        f" {both['deterministic_mean_80_3']}, where it is worth 5 {both['deterministic_mean_5_3']}; with the costs that"
        f" were fitted, {both['fitted_mean_80_3']} and {both['fitted_mean_5_3']}. (5 steps are fewer than the way"
        " to the goal takes: a collision is then the cheaper end.) Episodes that end in neither ran out of steps.",
        f"*CVaR against the mean.* With a mean the latent has {both['latent_mean_20_3']}, in"
        f" {slower['latent_mean_20_3']:.0f} steps instead of {slower['latent_cvar_20_3']:.0f}.",
        f"*A latent without a limit* has {both['unlimited_cvar_20_3']}. Its free energy tells the possible from the"
        f" impossible with an AUROC of {gaps['unlimited']:.3f}, that of the limited one with {gaps['latent']:.3f}, that"
        f" of none with {gaps['deterministic']:.3f}.",
    ]
    return "\n".join(["What has to be said beside it:", *(f"- {point}" for point in points)])


def outcome(players: pd.DataFrame, agent: str) -> str:
    """Collisions and goals of an agent, in words."""
    return f"{phrase(players, agent, 'collided')} collisions and {phrase(players, agent, 'reached')} goals"


def how(table: pd.DataFrame) -> list[str]:
    """What was done."""
    return [
        f"{len(table)} seeds, {table['random/episodes'].sum():.0f} episodes of each agent in all, cut after 90 steps;"
        " shares with Wilson's 95 % intervals, other means with half their 95 % t-intervals over seeds."
        f" A seed takes {table['cpu/all'].mean() / 60:.1f} CPU minutes, of which training takes"
        f" {table['cpu/training'].mean() / 60:.1f}.",
        "The room is `DynamicObstacles()`, which is MiniGrid-Dynamic-Obstacles-8x8 to the last transition. Codes are 8"
        " numbers for each of 64 places. Their encoder is trained by `Variance` and `Covariance` over places and by the"
        " costs, and then held still for all models, so that none gains by its leaving out obstacles, which cannot be"
        " predicted. The costs tell from a code and an action the chances of a collision and of the goal, and"
        " the cells to the goal, of which the labels are the world's. All data are random actions from anywhere.",
        "Four obstacles that go any of 8 ways have 4,096 futures, too many for one latent of 9 values. So each place"
        " has one, whose prior is learned from the code: `KL(posterior | prior)` is what limits it. A plan is the best"
        " of all 41 sequences of 4 actions that lead to different places, under the same 16 draws.",
        "In the table of models, nats are `-log p` of which cells hold an obstacle, cell by cell, of 64 draws (of the"
        " world itself 64 simulated futures); the chance of a collision is that of plans of 4 random actions whose"
        " fate is open, against 64 simulated futures; AUROC is of the free energy, of what came next against the same"
        " with one obstacle where it cannot have come.",
        "![Collisions and goals by agent; nats by step](uncertainty.png)",
        "![A film of an episode, beside what two models imagine](uncertainty.gif)",
    ]


def scatter(axis: Axes, players: pd.DataFrame) -> None:
    """Goals against collisions, with intervals."""
    looking = [agent for agent in players["agent"].unique() if not agent.endswith("_1")]
    for i, agent in enumerate(looking):
        (x, *xs), (y, *ys) = share(players, agent, "collided"), share(players, agent, "reached")
        spans = [[[x - xs[0]], [xs[1] - x]], [[y - ys[0]], [ys[1] - y]]]
        label = ", ".join(part for part in told(agent)[:3] if part)
        axis.errorbar(x, y, xerr=spans[0], yerr=spans[1], marker="os^D"[i // 10], ms=5, lw=0.8, label=label)
    axis.set(xlabel="collisions", ylabel="goals")
    axis.set_title("shares of episodes, looking every third step", fontsize=9)
    axis.legend(fontsize=6, loc="upper right")


def draw(table: pd.DataFrame, players: pd.DataFrame, path: Path) -> None:
    """Agents at the left, models at the right."""
    mpl.use("Agg")
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    scatter(left, players)
    steps = np.arange(1, 4)
    for model in ("deterministic", "latent", "unlimited", "truth"):
        values = [table[f"{model}/likelihood_{t}"] for t in steps]
        means = [value.mean() for value in values]
        name = MODELS.get(model, MODELS["oracle"])
        right.errorbar(steps, means, [np.ptp(value) / 2 for value in values], marker="o", label=name)
    right.set(xlabel="steps ahead", ylabel="nats", xticks=steps)
    right.set_title("-log p of where the obstacles are (bars: range over seeds)", fontsize=9)
    right.legend(fontsize=7)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def film(kept: Path) -> Path:
    """Made by its program, unless it is kept."""
    if not kept.exists():
        program = HERE / "programs" / "uncertainty_film.py"
        subprocess.run([sys.executable, str(program), f"--out={kept}"], check=True, stdout=subprocess.DEVNULL)
    return kept


def freeway(results: Path) -> list[str]:
    """What came of the runs of Freeway that are finished."""
    study = load_study(HERE / "studies" / "freeway.yaml")
    head = ["## Freeway", study.question]
    try:
        table = collect(study, results).table
    except ValueError:
        return [*head, "No run of `ebm study run benchmarks/studies/freeway.yaml` is finished: nothing is known."]
    found = [["agent", "score", "CPU ms a choice"]]
    for agent, name in GAMES.items():
        scores = with_interval(table[f"{agent}/score"], ".1f")
        found.append([name, scores, f"{table[f'{agent}/milliseconds'].mean():.1f}"])
    best = max(("deterministic_mean", "latent_mean", "latent_cvar"), key=lambda agent: table[f"{agent}/score"].mean())
    ahead = table[f"{best}/score"].mean() > table["up/score"].mean()
    fits = [
        f"{MODELS[model]} explains {table[f'{model}/progress'].mean():.2f} of the variance of what is gained in 4 steps"
        for model in ("deterministic", "latent")
    ]
    verdict = (
        f"The best of the models ({GAMES[best]}) scores {table[f'{best}/score'].mean():.1f},"
        f" {'more than' if ahead else '**no more than**'} a chicken that always goes up,"
        f" {table['up/score'].mean():.1f}; random actions score {table['random/score'].mean():.1f}. On held-out data"
        f" the model that is {fits[0]}, and that with a {fits[1]}. {len(table)} seeds of one game for each agent:"
        " differences of a few crossings are not known to be any."
    )
    return [*head, verdict, markdown(found), FREEWAY]


def write(study: Study, results: Path, out: Path | None, command: str) -> str:
    """The page, the rows and the pictures."""
    table = collect(study, results).table
    players = agents(table)
    shown = f"{lines(players)}\n\n{models(table)}"
    if out is None:
        return shown
    out.mkdir(parents=True, exist_ok=True)
    draw(table, players, out / "uncertainty.png")
    shutil.copy(film(results / "uncertainty.gif"), out / "uncertainty.gif")
    players.to_csv(out / "uncertainty.csv", index=False, float_format="%.6g")
    body = [answer(players), cautions(players, table), study.question, *how(table)]
    tables = ["## Agents", lines(players), "## Models", models(table)]
    body += [*tables, *freeway(results), *made_by(command, ("torch",))]
    write_page(out / "uncertainty.md", "Planning among obstacles that wander", body)
    return shown


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and write."""
    quick = ["--steps=2", "--first_steps=2", "--episodes=2", "--limit=3", "--weights", "20"]
    page(__doc__, "uncertainty", write, quick, slice(1), arguments)


if __name__ == "__main__":
    main()
