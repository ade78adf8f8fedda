"""How much a model errs at most, with a chosen probability: the margin of a guardrail."""

from __future__ import annotations

import math

from torch import Tensor


def conformal_margin(errors: Tensor, level: float = 0.9) -> float:
    """The `ceil((n + 1) level)`-th smallest of n errors: a new one is at most that with probability `level`, at least.

    Split conformal prediction (Vovk, Gammerman and Shafer 2005; Angelopoulos and Bates 2021, section 1), whatever the
    model and whatever the errors' law. Errors that do not tie are below it with probability `k / (n + 1)` exactly, k
    the rank above; given these n, that probability is itself random, of the law Beta(k, n + 1 - k) (Vovk 2012).

    What it takes is that the new error could have been any of the n as well (they are exchangeable): they are of data
    that the model was not fitted to, one number for each trajectory, such as the most by which something was worse than
    imagined at any of its steps. Errors may be signed. It cannot see that plans are chosen for looking good: a planner
    finds the places where a model is wrong, which walks at random do not, so count what was violated too.

    `errors` is `(n,)`. Raises ValueError for a level not between 0 and 1, for errors that are not numbers, and where
    there are too few for the level: `n >= level / (1 - level)` are needed, 9 for 0.9 and 99 for 0.99.
    """
    if not 0 < level < 1:
        raise ValueError(f"the level of a margin is a probability between 0 and 1, got {level}")
    if errors.ndim != 1 or bool(errors.isnan().any()):
        raise ValueError(
            f"errors are (n,), numbers, one for each trajectory, got {tuple(errors.shape)} of which"
            f" {int(errors.isnan().sum())} are NaN: reduce steps by `.amax(-1)` first"
        )
    # Rounding may lift a product above a whole number: 0.9 * 10 must be rank 9.
    rank = math.ceil((len(errors) + 1) * level - 1e-9)
    if rank > len(errors):
        needed = math.ceil(level / (1 - level) - 1e-9)
        raise ValueError(f"{len(errors)} errors are too few for the level {level}: it takes {needed}, or a lower one")
    return float(errors.kthvalue(max(1, rank)).values)
