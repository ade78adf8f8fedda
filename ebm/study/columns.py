"""Which numbers of a run a report shows, under which names and how exactly."""

from __future__ import annotations

from collections.abc import Mapping

# Columns of the main table, in groups. A rank always stands beside a spread.
COLUMNS: Mapping[str, Mapping[str, str]] = {
    "Accuracy, %": {"probe/linear": "linear probe", "probe/online": "online probe", "probe/knn": "kNN"},
    "Codes": {"code/std": "std", "code/normalized_std": "normalized std", "code/effective_rank": "effective rank"},
    "Representations": {
        "representation/std": "std",
        "representation/normalized_std": "normalized std",
        "representation/effective_rank": "effective rank",
    },
    "Energy of pairs": {
        "code/energy_matching": "matching",
        "code/energy_mismatched": "mismatched",
        "code/auroc": "AUROC",
    },
    "Density": {
        "code/mmd": "MMD²",
        "code/mmd_chains": "MMD² of chains",
        "code/nll": "nats",
        "code/energy_points": "energy of points",
        "code/energy_grid": "of the grid",
        "code/auroc_grid": "AUROC",
    },
    "Entries": {"code/bits": "bits", "code/errors": "share of errors"},
    "Training": {"seconds": "seconds"},
}
FIRST_CURVES = ("probe/linear", "probe/knn", "code/std", "code/normalized_std", "code/effective_rank", "code/auroc")
FURTHER_CURVES = ("loss/total", "train/gradient_norm", "train/std")
# An arm shows signs of collapse if its codes hardly differ in direction, or if its energy hardly tells which pairs
# match (0.5 is chance): if a mean over seeds is below one of these.
COLLAPSED = {"code/normalized_std": 0.1, "code/auroc": 0.6, "code/auroc_grid": 0.6}
DECIMALS = {
    **dict.fromkeys(
        (
            "probe/linear",
            "probe/online",
            "probe/knn",
            "code/effective_rank",
            "code/rankme",
            "representation/effective_rank",
        ),
        1,
    ),
    "seconds": 2,
}
