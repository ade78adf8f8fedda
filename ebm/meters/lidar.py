"""How many directions tell samples apart, in units of how far the views of one sample differ."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm.meters.codes import checked
from ebm.meters.landscape import Scores
from ebm.meters.spectrum import rank_of_squares, values_of


def lidar(*views: Tensor, shrinkage: float = 1e-4) -> float:
    """`exp(-sum p log p)`, `p = l / sum l`, `l` the eigenvalues of `W^-1/2 B W^-1/2`.  LiDAR: Thilak et al. 2024.

    B is the covariance of the means of the samples, over `N - 1`, and `W` that of views about the mean of their sample,
    over `N (V - 1)`, plus `shrinkage` on the diagonal. Views that belong together are given as such: one tensor
    `(samples, views, D)`, or for each view a tensor `(samples, D)` whose rows match, two views and two samples at
    least. Where views are taken by their place in a queue instead, samples are mixed and the number means nothing.

    From 1 to D, 0 where the means are all the same. Without the 1e-7 that the paper adds to each `p`, by which zeros
    would not be 0. Its shrinkage of 1e-4 is that of codes of variance 1; here it is a share of the mean variance of a
    dimension, by which the number is free of scale. Where the views of a sample are all the same it alone is left of W,
    and LiDAR is that of B. It does not see the scale of codes, nor whether the directions that tell samples apart
    tell what is wanted of them: noise that both views share counts as well. With few samples to a dimension, noise in
    the means fills the directions in which the samples are the same.

    Raises ValueError for tensors that are neither, or of different shapes.
    """
    codes = _grouped(views)
    samples, count, features = codes.shape
    means = codes.mean(1)
    between = _apart(means, means.mean(0)) / (samples - 1) ** 0.5
    within = (_apart(codes, means[:, None]) / (samples * (count - 1)) ** 0.5).flatten(0, 1)
    between, within = _within_their_span(between, within)
    variance = (between.square().sum() + within.square().sum()) / features
    if not bool(variance > 0):
        return 0.0
    noise = within.T @ within / variance
    noise.diagonal().add_(shrinkage)
    factor = torch.linalg.cholesky(noise)
    return rank_of_squares(values_of(torch.linalg.solve_triangular(factor, between.T, upper=False).T))


def discriminant_rank(F: Scores, hx: Tensor, hy: Tensor) -> dict[str, float]:
    """LiDAR of the two codes of each pair as two views of one sample, which are of one shape.

    In a predictive energy the code of x is a prediction and no view: then how far it is off is what counts as noise.
    """
    return {"lidar": lidar(hx, hy)}


def _apart(codes: Tensor, centre: Tensor) -> Tensor:
    """How far numbers up to 1 are from their mean; 0 for what its rounding may have left."""
    apart = codes - centre
    return torch.where(apart.abs() > torch.finfo(apart.dtype).eps * len(codes), apart, 0)


def _grouped(views: tuple[Tensor, ...]) -> Tensor:
    """Codes `(samples, views, D)` in float64, of one scale."""
    if len({tuple(view.shape) for view in views}) != 1 or views[0].ndim != 2 + (len(views) == 1):
        shapes = ", ".join(str(tuple(view.shape)) for view in views)
        raise ValueError(
            "LiDAR takes one tensor of shape (samples, views, features), or a tensor (samples, features) for each view,"
            f" got {shapes or 'none'}: group rows by the sample that they are views of"
        )
    codes = views[0] if len(views) == 1 else torch.stack(views, 1)
    if codes.shape[0] < 2 or codes.shape[1] < 2:
        raise ValueError(
            f"LiDAR needs two samples of two views each at least, got {codes.shape[0]} of {codes.shape[1]}"
        )
    flat = checked(codes.flatten(0, 1))
    largest = flat.abs().max()
    return (flat / torch.where(largest > 0, largest, 1)).view(codes.shape)


def _within_their_span(between: Tensor, within: Tensor) -> tuple[Tensor, Tensor]:
    """The same rows in coordinates of the space that they span, where that is smaller: outside it there is nothing."""
    rows = torch.cat([between, within])
    if len(rows) >= rows.shape[1]:
        return between, within
    coordinates = torch.linalg.qr(rows.T, mode="r").R.T
    return coordinates[: len(between)], coordinates[len(between) :]
