"""What the study of the size of a latent says: its page in words, whose figures are those of the table."""

from __future__ import annotations

import pandas as pd
from reporting import with_interval

from ebm.study.statistics import interval
from ebm.study.sweep import Study

METRICS = {
    "unexplained": ".3f",
    "auroc_mismatched": ".3f",
    "auroc_permuted": ".3f",
    "volume_mismatched": ".2f",
    "volume_permuted": ".2f",
    "flatness_mismatched": ".2f",
    "latent_nats": ".1f",
    "without_x": ".2f",
    "other_z": ".2f",
    "auroc_free": ".3f",
}
CONTROL = "no latent (control)"
BUDGET = "predicted, capacity of 10 nats"
CHANCE = 0.6  # an AUROC below it is called chance, as the reports of studies do


def size(arm: str) -> int | None:
    """How many features the latent has that nothing limits, of the name of an arm."""
    return 0 if arm == CONTROL else int(arm.removeprefix("size ")) if arm.startswith("size ") else None


def half(values: pd.Series[float]) -> float:
    """Half the 95 % t-interval; none where there is one value."""
    return interval(values).half if len(values) > 1 else 0.0


def answer(table: pd.DataFrame) -> list[str]:
    """What came out, beside what was expected, in sentences whose figures are those of the table."""
    arms = list(dict.fromkeys(table["arm"]))
    sizes = [arm for arm in arms if size(arm) is not None]
    if len(arms) < 16:  # what a few arms say is in the table
        return []
    limited = [arm for arm in arms if size(arm) is None and not arm.endswith("free")]
    return [
        _of_sizes(table, sizes),
        _of_impossible(table, sizes),
        _of_limits(table, sizes, limited),
        _of_asking(table, limited),
    ]


def _of_sizes(table: pd.DataFrame, sizes: list[str]) -> str:
    last, means = sizes[-1], table.groupby("arm")["auroc_mismatched"].mean()
    below = [arm for arm in sizes if _ends(table, arm)[1] < _ends(table, CONTROL)[0]]
    chance = [arm for arm in sizes if means[arm] < CHANCE]
    return (
        "As expected, a latent that nothing limits makes the energy forget x. The AUROC against another's lower half is"
        f" {_of(table, CONTROL, 'auroc_mismatched')} without a latent, below that {_from(below)} (intervals apart), and"
        f" chance, below {CHANCE}, {_from(chance)}. At {last} {_of(table, last, 'unexplained', '.4f')} of the variance"
        f" is left unexplained, the latent tells {_of(table, last, 'latent_nats', '.1f')} nats, and of the energy"
        f" {_of(table, last, 'without_x', '.2f')} is there without x too."
    )


def _of_impossible(table: pd.DataFrame, sizes: list[str]) -> str:
    means = table.groupby("arm")["auroc_permuted"].mean()
    best, last = means[sizes].idxmax(), sizes[-1]
    return (
        "Not as expected: against lower halves that no one has, a latent helps before it harms. That AUROC is"
        f" {_of(table, CONTROL, 'auroc_permuted')} without a latent, highest at {best},"
        f" {_of(table, best, 'auroc_permuted')}, and {_of(table, last, 'auroc_permuted')} at {last}. What x leaves open"
        " makes the energy of many true pairs as high as that of impossible ones, until a latent tells it; one that is"
        " too large tells anything. An energy may know y well and have forgotten x: one AUROC does not see the other."
    )


def _of_limits(table: pd.DataFrame, sizes: list[str], limited: list[str]) -> str:
    kept = [arm for arm in limited if _ends(table, arm)[1] >= _ends(table, CONTROL)[0]]
    means = table.groupby("arm")[["unexplained", "auroc_mismatched"]].mean()
    x, y = means["unexplained"], means["auroc_mismatched"]
    better = [
        arm
        for arm in limited
        if any(
            x[arm] < x[other] and _ends(table, arm)[0] > _ends(table, other)[1] for other in sizes if other != CONTROL
        )
    ]
    told = "; ".join(f"{arm} ({y[arm]:.3f}, {x[arm]:.3f} unexplained)" for arm in kept)
    return (
        "Of the limits on a latent of 32 features these leave an AUROC against another's half that is not below the"
        f" control's ({y[CONTROL]:.3f}, {x[CONTROL]:.3f} unexplained): {told or 'none'}. Less unexplained and a higher"
        f" AUROC than some smaller latent that nothing limits have: {'; '.join(better) or 'none'}. A"
        f" capacity of 10 nats leaves {_of(table, BUDGET, 'unexplained')} unexplained, with"
        f" {_of(table, BUDGET, 'latent_nats', '.1f')} nats of use to the decoder: which it is to tell, nothing says."
    )


def _of_asking(table: pd.DataFrame, limited: list[str]) -> str:
    free = "predicted, free"
    means = table.groupby("arm")[["auroc_mismatched", "auroc_free"]].mean()
    falls = [f"{arm} from {means.auroc_mismatched[arm]:.3f} to {means.auroc_free[arm]:.3f}" for arm in limited]
    return (
        "A limit has to be in the energy that is asked, not in training alone: with the best latent instead, which"
        f" nothing limits (`auroc free`), the AUROC goes, {'; '.join(falls)}. An encoder is such a limit, and hides the"
        f" collapse of an autoencoder that nothing else limits: {_of(table, free, 'auroc_mismatched')} with the latent"
        f" that it predicts, {_of(table, free, 'auroc_free')} with the best one."
    )


def _ends(table: pd.DataFrame, arm: str) -> tuple[float, float]:
    """The 95 % interval of the AUROC against mismatched pairs."""
    values = table[table["arm"] == arm]["auroc_mismatched"]
    return float(values.mean()) - half(values), float(values.mean()) + half(values)


def _of(table: pd.DataFrame, arm: str, metric: str, template: str = ".3f") -> str:
    return with_interval(table[table["arm"] == arm][metric], template)


def _from(arms: list[str]) -> str:
    return f"from {arms[0]} on" if arms else "at no size"


def how(study: Study, table: pd.DataFrame) -> list[str]:
    """What was done, in paragraphs."""
    missing = len(study.runs) - len(table)
    return [
        study.question,
        *(
            [f"**{missing} of the {len(study.runs)} runs of the study are not finished and not in here.**"]
            * (missing > 0)
        ),
        *answer(table),
        "![What latents leave unexplained against what energies tell, and what they make of halves](latent_size.png)",
        f"Scikit-learn's digits, x the upper half and y the lower, a quarter of the images held out and judged;"
        f" `E(x, y, z) = |y - decoder(x, z)|^2`, one decoder and one optimiser for all, 20 epochs of pushing down,"
        f" {table['seed'].nunique()} seeds; means with half their 95 % t-intervals. `inferred` latents are found by"
        " minimising, `predicted` ones told by an encoder of x and y that is trained with the decoder, with the"
        " regularizers of `ebm.regularizers` on it. Strengths are those of the arms, set once and not searched.",
        "`unexplained`: squared error of y from x and the latent, as a share of its variance. `auroc`: how often a true"
        " pair has less energy than x with the lower half of another image (`mismatched`), or with pixels that are"
        " each of another image (`permuted`). `volume`: the share of those below the 95 % quantile of true pairs;"
        " `flatness`: 1 where it explains nothing of the energies' variance whether pairs match"
        " (`ebm.meters.contrast`). `latent nats`: what the latent tells through noise of a tenth of the deviation of a"
        " pixel (`ebm.meters.latent_nats`). `without x`: the share of the energy that is there when x is the mean code,"
        " 1 where x is not needed; `other z`: the same with the latent of another image, 1 where the latent is not"
        " needed (`ebm.meters.usage`). `auroc free`: against mismatched pairs when the latent is the best one, by"
        " minimising from where inference starts, and nothing limits it any more; if discrete, the best alternative.",
    ]
