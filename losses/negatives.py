"""The other samples of a batch, taken as wrong answers."""

from __future__ import annotations

from torch import Tensor, nn


def check_contrast(loss: nn.Module, hx: Tensor, hy: Tensor) -> None:
    """Raise ValueError unless the batch holds matching rows and at least one wrong answer for each."""
    name = type(loss).__name__
    if len(hx) != len(hy):
        raise ValueError(f"{name} needs codes whose rows match, got {len(hx)} rows of hx and {len(hy)} of hy")
    if len(hx) < 2:
        raise ValueError(
            f"{name} needs at least 2 samples to contrast, got a batch of {len(hx)}: raise `batch_size`, or drop the"
            " last batch of an epoch if it is that small"
        )


def without_diagonal(pairs: Tensor) -> Tensor:
    """The entries of a square matrix off its diagonal, `(n, n) -> (n, n - 1)`, each row in order."""
    n = len(pairs)
    # Dropping the last entry and cutting rows one longer puts every diagonal entry in the first column.
    return pairs.flatten()[1:].view(n - 1, n + 1)[:, :-1].reshape(n, n - 1)
