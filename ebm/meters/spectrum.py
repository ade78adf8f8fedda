"""Over how many directions codes spread: what can be read off their singular values.

All are free of scale: a code that has shrunk to almost a point can have the highest rank of all, since what is left is
noise in every direction. Never read a rank without a spread beside it. And all see straight directions alone: a curve
that winds through all of space is to them a ball, for which there is `intrinsic_dimension`.

Below, `s` are the singular values of the centred codes, largest first, and `l = s^2` the eigenvalues of their
covariance times their number. N draws of a ball in D dimensions have no flat spectrum unless N is far above D.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ebm.meters.codes import checked
from ebm.meters.landscape import Scores

EPSILON = torch.finfo(torch.float64).eps
EVEN = 1e-4  # eigenvalues within this of the largest lose no more than six of sixteen digits to the product of codes
FIRST, LAST = 4, 100  # the ranks between which alpha-ReQ fits its line


def singular_values(codes: Tensor) -> Tensor:
    """Of the centred codes `(N, D)`, largest first, `(min(N, D),)`, in float64; 0 for what rounding may have left.

    That of the codes to the precision in which they come: in single precision what is below 1e-7 of the norm of the
    longest row or column is nothing, in bfloat16 below 0.8 %. Then that of their centring, `eps max(N, D)` of the
    largest entry in double precision, and of the values themselves, as much of the largest of them. One row has none.
    Raises ValueError for codes that are not finite or not rows.
    """
    exact = checked(codes, rows=1)
    return _values(exact - exact.mean(0), _rounding(codes))


def effective_rank(codes: Tensor) -> float:
    """`exp(-sum p log p)`, `p = s / sum s`.  Roy and Vetterli 2007.

    From 1 (a line) to D (a ball); 0 for codes that are all the same. It is of `s` and not of `l`, so that weak
    directions count for much: one of 1 and 63 of a thousandth have an effective rank of 1.6.
    """
    return _exponential_entropy(singular_values(codes))


def rankme(codes: Tensor) -> float:
    """`exp(-sum p log p)` of the singular values of the codes as they are, not centred.  Garrido et al. 2023, eq. 2.

    From 1 to D, 0 for zeros. A code that is far from the origin has a RankMe near 1, whatever its shape. Without the
    1e-7 that the paper adds to every `p`, by which, and more so by the 1e-5 of some libraries, a code of rank one seems
    to have the more the wider it is, and zeros are NaN.
    """
    return _exponential_entropy(_values(checked(codes, rows=1), _rounding(codes)))


def stable_rank(codes: Tensor) -> float:
    """`sum l / max l`, the squared Frobenius norm over the squared spectral norm of the centred codes.

    Rudelson and Vershynin 2007. From 1 to D, 0 for codes that are all the same. It sees how far the strongest direction
    stands out, and nothing of how the others share the rest. A sample makes the strongest direction seem stronger:
    2,048 draws of a ball in 64 dimensions read 47.
    """
    return _stable_rank(singular_values(codes))


def nesum(codes: Tensor) -> float:
    """`sum_i l_i / l_1`, the normalised sum of eigenvalues of He and Ozay 2022: the same number as `stable_rank`."""
    return stable_rank(codes)


def participation_ratio(codes: Tensor) -> float:
    """`(sum l)^2 / sum l^2`, how many directions of equal variance would have as uneven a spectrum.

    Gao and Ganguli 2015. From 1 to D, 0 for codes that are all the same. It sees the directions of most variance:
    dozens that have a hundredth of it each hardly count.
    """
    return _participation_ratio(singular_values(codes))


def alpha_req(codes: Tensor) -> float:
    """The exponent `a` of `l_k ~ k^-a`: minus the slope of `log l_k` over `log k`, least squares with weights `1 / k`.

    Agrawal et al. 2022, with the weights of Stringer et al. 2019 and the ranks from 4 to 100 of their code. 0 for a
    flat spectrum, the larger the faster it decays; that of a sample is never flat, 2,048 draws of a ball in 64
    dimensions read 0.18. Directions that are empty are left out, where the logarithm of their rounding would be fitted
    else, so that it does not see them: 8 even directions of 64 read as a ball does.
    With fewer than two left between those ranks all there are count, and with fewer than two at all it is 0.
    """
    return _decay(singular_values(codes))


def condition_number(codes: Tensor) -> float:
    """`s_1 / s_D`, from 1 for a ball up to `1 / eps = 4.5e15`, which stands for an empty direction and for no codes.

    One direction decides: it does not tell one that is empty from all but one. N centred rows fill N - 1 directions
    at most, so that a batch of D or fewer always has an empty one.
    """
    return float(1 / _relative(singular_values(codes))[-1].clamp_min(EPSILON))


def rank(F: Scores, hx: Tensor, hy: Tensor) -> dict[str, float]:
    """The spectrum of the codes of y by most numbers of this file.

    Without the condition number, which for codes no more than dimensions is one that spoils every curve. Of y, since
    in a predictive energy the code of x is a prediction, whose rank is the predictor's too.
    """
    values = singular_values(hy)
    return {
        "effective_rank": _exponential_entropy(values),
        "rankme": rankme(hy),
        "stable_rank": _stable_rank(values),
        "participation_ratio": _participation_ratio(values),
        "alpha_req": _decay(values),
    }


def rank_of_squares(values: Tensor) -> float:
    """`exp(-sum p log p)`, `p = values^2 / sum values^2`; 0 for zeros."""
    return _exponential_entropy(_relative(values).square())


def values_of(rows: Tensor) -> Tensor:
    """Singular values of rows `(N, D)` in float64, largest first, 0 for what rounding may have left of the largest."""
    return _values(rows, rows.new_zeros(()))


def _values(rows: Tensor, rounding: Tensor) -> Tensor:
    """By the cheapest way that is exact to nine digits; 0 for what is no larger than the rounding."""
    scale = rows.abs().max().clamp_min(torch.finfo(rows.dtype).tiny)
    tall = (rows if rows.shape[0] >= rows.shape[1] else rows.T) / scale
    values = _by_products(tall)
    if values is None:
        values = torch.linalg.svdvals(torch.linalg.qr(tall, mode="r").R)
    least = torch.maximum(EPSILON * max(rows.shape) * values[0], rounding / scale)
    return scale * torch.where(values > least, values, 0)


def _rounding(codes: Tensor) -> Tensor:
    """How large a singular value may come of the precision of the codes, and of centring them in float64."""
    exact = codes.detach().double()
    peak = exact.abs().max().clamp_min(torch.finfo(exact.dtype).tiny)
    precision = torch.finfo(codes.dtype).eps if codes.is_floating_point() else EPSILON
    longest = torch.maximum((exact / peak).norm(dim=0).max(), (exact / peak).norm(dim=1).max())
    return peak * (precision * longest).clamp_min(EPSILON * max(codes.shape))


def _by_products(tall: Tensor) -> Tensor | None:
    """Roots of the eigenvalues of `tall' tall`, a quarter of the time; None where that would lose small ones."""
    squares = torch.linalg.eigvalsh(tall.T @ tall).flip(0)
    return squares.sqrt() if bool(squares[-1] > EVEN * squares[0]) else None


def _relative(values: Tensor) -> Tensor:
    """Over the largest, so that squares neither overflow nor vanish; zeros stay zeros."""
    return values / torch.where(values[0] > 0, values[0], 1)


def _exponential_entropy(values: Tensor) -> float:
    total = values.sum()
    if not bool(total > 0):
        return 0.0
    return float(torch.special.entr(values / total).sum().exp())


def _stable_rank(values: Tensor) -> float:
    return float(_relative(values).square().sum())


def _participation_ratio(values: Tensor) -> float:
    squares = _relative(values).square()
    return float(squares.sum().square() / squares.square().sum().clamp_min(EPSILON))


def _decay(values: Tensor) -> float:
    logs = 2 * _relative(values).log()
    ranks = torch.arange(1, len(values) + 1, dtype=logs.dtype, device=logs.device)
    there = values > 0
    fitted = there & (ranks >= FIRST) & (ranks <= LAST)
    fitted = fitted if int(fitted.sum()) > 1 else there
    if int(fitted.sum()) < 2:
        return 0.0
    weights, x, y = 1 / ranks[fitted], ranks[fitted].log(), logs[fitted]
    x = x - (weights * x).sum() / weights.sum()
    return float(-(weights * x * y).sum() / (weights * x.square()).sum())
