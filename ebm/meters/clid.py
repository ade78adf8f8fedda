"""How easily the clusters of codes are learned, beside the dimension of the surface that they lie on."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm.meters.codes import checked
from ebm.meters.intrinsic_dimension import two_nn
from ebm.meters.landscape import Scores
from ebm.meters.neighbors import drawn, nearest

STEPS = 20  # of Lloyd's algorithm at most
SAMPLES = 4096


def cluster_learnability(codes: Tensor, clusters: int | None = None, samples: int | None = SAMPLES) -> float:
    """The share of codes whose nearest other code is of the same cluster, of `sqrt(N)` clusters by k-means.

    Cluster learnability of Lu et al. 2023, the accuracy of a classifier by one neighbour on the labels of k-means,
    here by leaving one out, which needs no half held out. Euclidean, of codes `(N, D)` as they are; of a sample of
    4,096 rows if there are more (`samples`; None for all). The sample and the codes that k-means starts at are drawn
    by their place, the same at each call but others for another order of rows.

    From about `1 / clusters`, where neighbours say nothing of clusters, to 1. Codes at one point, or at as many points
    as there are clusters, have 1: they are easily learned and say nothing, so that it takes a dimension beside it. It
    falls as dimensions are added, whatever is in them; and its clusters need not be the classes that are wanted.

    Raises ValueError for codes that `checked` refuses and for fewer than one cluster or more than codes.
    """
    return _learned(_sample(codes, samples), clusters)


def clid(codes: Tensor, clusters: int | None = None, samples: int | None = SAMPLES) -> float:
    """`cluster_learnability + min(two_nn / D, 1)`: cluster learnability and intrinsic dimension.  CLID: Lu et al. 2023.

    To compare models they scale each of the two by what it is over those models, which one code alone cannot; here the
    dimension, of the same sample, is a share of the D there are. To compare models, scale what `learnability` logs.

    From 0 to 2. A point reads 1, by its learnability alone; N(0, I) less than that in many dimensions, where both parts
    read low. It sees neither spread nor rank but by its parts, and depends on the order of rows as they do.
    """
    codes = _sample(codes, samples)
    return _learned(codes, clusters) + _dimension(codes)


def learnability(F: Scores, hx: Tensor, hy: Tensor) -> dict[str, float]:
    """Cluster learnability of the codes of y, and their CLID, which depend on the order of rows a little."""
    codes = _sample(hy, SAMPLES)
    learned = _learned(codes, None)
    return {"cluster_learnability": learned, "clid": learned + _dimension(codes)}


def _sample(codes: Tensor, samples: int | None) -> Tensor:
    codes = checked(codes)
    return codes[drawn(len(codes), samples).to(codes.device)]


def _learned(codes: Tensor, clusters: int | None) -> float:
    clusters = round(len(codes) ** 0.5) if clusters is None else clusters
    if not 1 <= clusters <= len(codes):
        raise ValueError(f"{len(codes)} codes make from 1 to as many clusters, asked for {clusters}: ask for fewer")
    labels = clustered(codes, clusters)
    _, indices = nearest(codes, 1)
    return float((labels[indices[:, 0]] == labels).double().mean())


def _dimension(codes: Tensor) -> float:
    return min(two_nn(codes, samples=None) / codes.shape[1], 1.0)


def clustered(codes: Tensor, clusters: int) -> Tensor:
    """The cluster `(N,)` of each code by k-means, Lloyd's algorithm from codes drawn by their place."""
    codes = codes - codes.mean(0)
    codes = codes / codes.abs().max().clamp_min(torch.finfo(codes.dtype).tiny)
    centres = codes[drawn(len(codes), clusters).to(codes.device)]
    labels = _closest(codes, centres)
    for _ in range(STEPS):
        # A product, since sums by index come in any order on a GPU.
        members = torch.nn.functional.one_hot(labels, clusters).to(codes.dtype).T
        counts = members.sum(1, keepdim=True)
        centres = torch.where(counts > 0, members @ codes / counts.clamp_min(1), centres)
        before, labels = labels, _closest(codes, centres)
        if before.equal(labels):
            break
    return labels


def _closest(codes: Tensor, centres: Tensor) -> Tensor:
    return torch.addmm(centres.square().sum(1), codes, centres.T, alpha=-2).argmin(1)
