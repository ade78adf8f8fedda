"""The mean views of the samples should fill as many directions as they can, each as long as it can be."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from ebm.regularizers.spectra import gram, matching, missing, nuclear_norm, on_sphere


@final
class MMCR(nn.Module):
    """`sqrt(N r) - |C|_* + local/N sum_n |Z_n|_*`, `C_n` the mean of a sample's views `Z_n` on the unit sphere.

    Maximum manifold capacity: Yerxa, Kuang, Simoncelli, Chung 2023, with `|.|_*` the sum of singular values. The
    paper's `lambda` is `local`; 0 is the default of its official code for ImageNet.
    The constant, `r = min(N, D)`, is the most that `|C|_*` can be: it makes zero what is the same in all views and
    white on the sphere, `C'C = N/D I`, or orthogonal, `CC' = I`, if `N < D`. Codes are not centred.

    The agreement of views is in it, since the mean of views that differ is short.
    """

    def __init__(self, local: float = 0.0) -> None:
        super().__init__()
        self.local = local

    def forward(self, *codes: Tensor) -> Tensor:
        """Codes `(batch, D)` of any number of branches of one shape, whose rows match, to a scalar.

        Raises ValueError on a batch of one, or on branches of different shapes.
        """
        whole = matching(self, codes)
        views = torch.stack([on_sphere(h.double()) for h in whole])
        centroids = views.mean(0)
        largest = (len(centroids) * min(centroids.shape)) ** 0.5
        unfilled = missing(nuclear_norm(gram(centroids)), largest)
        spread = self.local * nuclear_norm(_between_views(views)).mean() if self.local else 0.0
        return (unfilled + spread).to(whole[0].dtype)


def _between_views(views: Tensor) -> Tensor:
    """The scalar products of the views of each sample, `(V, N, D) -> (N, V, V)`, in double precision."""
    return torch.einsum("and,bnd->nab", views, views)
