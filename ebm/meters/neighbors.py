"""Which codes lie nearest to which: what intrinsic dimension, entropy and learnability by neighbours come down to."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm.distances import precisely
from ebm.meters.codes import checked

SPARE = 8  # candidates beyond those asked for, ranked anew by their exact distance
ROWS = 1024  # looked up at once, at most
ENTRIES = 2**24  # of what stands in memory at once: 128 MiB of double precision


def nearest(codes: Tensor, count: int, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Euclidean distances, in float64 and ascending, to the `count` nearest other codes of `(N, D)`, and their rows.

    Both are `(N, count)`, or `(n, count)` for given `rows` (n,), whose neighbours are still looked for among all. A row
    is not its own neighbour; another that is equal to it is, at distance 0. Among equal distances any order may come.

    By products `|b|^2 - 2 a.b` in single precision of the centred codes, from which the best few are ranked anew by
    exact differences in float64. Where the rounding of the products might have hidden a nearer one, as in clusters
    tighter than a hundredth of the distance between them, the row is looked up once more by products in float64 (all
    rows, where the user lets products in single precision be coarser); neighbours nearer than 1e-7 of the size of the
    codes may still be hidden by others as near. Costs `n N D`. Raises ValueError for codes that `checked` refuses and
    for more neighbours than there are.
    """
    codes = checked(codes)
    if not 1 <= count < len(codes):
        raise ValueError(
            f"{len(codes)} codes have from 1 to {len(codes) - 1} neighbours each, asked for {count}: give more codes or"
            " ask for fewer"
        )
    rows = torch.arange(len(codes)) if rows is None else rows
    # A power of two, which divides without rounding: squares of codes near 1e30 are beyond single precision.
    scale = torch.exp2(torch.frexp(codes.abs().max()).exponent.double())
    codes = codes / scale
    centred = codes - codes.mean(0)
    tables = [centred.float(), centred] if _single_is_whole() else [centred]
    size = max(1, min(ROWS, ENTRIES // ((count + SPARE) * codes.shape[1]), 4 * ENTRIES // len(codes)))
    found = [_surely(codes, tables, part, count) for part in rows.to(codes.device).split(size)]
    return torch.cat([distances for distances, _ in found]) * scale, torch.cat([indices for _, indices in found])


def drawn(count: int, samples: int | None) -> Tensor:
    """All of `count` rows, or `samples` of them, without repetition and the same at each call."""
    if samples is None or samples >= count:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:samples]


def _single_is_whole() -> bool:
    """Whether products in single precision are known to be what their name says, and not in TF32 or bfloat16."""
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # torch does not say once a backend has been set by itself
        return False


def _surely(codes: Tensor, tables: list[Tensor], rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The nearest by the first table, and of rows where that one is too coarse by the next."""
    distances, indices, sure = _search(codes, tables[0], rows, count)
    again = (~sure).nonzero().squeeze(1)
    if len(tables) > 1 and len(again):
        distances[again], indices[again] = _surely(codes, tables[1:], rows[again], count)
    return distances, indices


def _search(codes: Tensor, table: Tensor, rows: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The nearest among the best by products of `table`, and whether rounding cannot have hidden a nearer one."""
    squares = table.square().sum(1)
    products = precisely(lambda a, b: torch.addmm(squares, a, b.T, alpha=-2), table[rows], table)
    products.scatter_(1, rows[:, None], torch.inf)
    best = products.topk(min(count + SPARE, len(codes) - 1), largest=False)
    # Differences, since products lose half of the digits of a small distance.
    exact = torch.cdist(codes[rows, None], codes[best.indices], compute_mode="donot_use_mm_for_euclid_dist").squeeze(1)
    distances, order = (values[:, :count] for values in exact.sort(stable=True))
    # Of a dot product of D numbers at most D roundings of the product of the norms.
    rounding = torch.finfo(table.dtype).eps * (table.shape[1] + 8) * 2 * squares.max().double()
    beyond = best.values[:, -1].double() + squares[rows].double() - rounding
    sure = (distances[:, -1].square() <= beyond) | (distances[:, -1] == 0)
    if best.indices.shape[1] == len(codes) - 1:
        sure = torch.ones_like(sure)
    return distances, best.indices.gather(1, order), sure
