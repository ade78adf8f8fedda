"""What quasi-Newton solvers of limited memory share: pairs of moves and changes, and the inverse Hessian they tell."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ebm.solvers.solver import Point, Problem


class Pairs(NamedTuple):
    """The last pairs of moves and changes of slope of each sample, each pair in a slot.

    The inverse Hessian they tell is applied by its compact form (Byrd, Nocedal, Schnabel 1994, theorem 2.2), with its
    triangular matrix kept inverted.
    """

    oldest: Tensor  # (N,) the slot to write next
    scale: Tensor  # (N,) of the last pair: s'y / y'y
    moves: Tensor  # (N, history, D), s
    changes: Tensor  # (N, history, D), y
    curvatures: Tensor  # (N, history), s'y; 0 in a slot with no pair yet
    inverse: Tensor  # (N, history, history), of the matrix s_i'y_j for i no younger than j

    @property
    def informed(self) -> Tensor:
        """Which samples have a pair, `(N,)`."""
        return self.curvatures.any(-1)


def no_pairs(like: Tensor, history: int) -> Pairs:
    """Slots for so many pairs of each of the rows `(N, D)`, all of them empty."""
    n, d = like.shape
    return Pairs(
        oldest=torch.zeros(n, dtype=torch.long, device=like.device),
        scale=like.new_ones(n),
        moves=like.new_zeros(n, history, d),
        changes=like.new_zeros(n, history, d),
        curvatures=like.new_zeros(n, history),
        inverse=like.new_zeros(n, history, history),
    )


def remember(problem: Problem, pairs: Pairs, taken: Tensor, trial: Point, move: Tensor, change: Tensor) -> Pairs:
    """Write a move and the change of slope along it over the oldest where it was taken, and bent upwards.

    Both on the face that the trial lies on.
    """
    move, change = problem.free(trial, move), problem.free(trial, change)
    curvature, bend, square = (torch.linalg.vecdot(*pair) for pair in ((move, change), (change, change), (move, move)))
    noise = torch.finfo(move.dtype).eps * (square * bend).sqrt()
    keep = taken & (curvature > noise)  # else the approximate Hessian would not stay positive definite
    curvature, bend = curvature.masked_fill(~keep, 1), bend.masked_fill(~keep, 1)
    slots = torch.arange(pairs.moves.shape[1], device=move.device)
    slot = (slots == pairs.oldest[:, None]) & keep[:, None]
    moves, changes = _write(pairs.moves, pairs.oldest, slot, move), _write(pairs.changes, pairs.oldest, slot, change)
    # Striking out the oldest row and column of a triangular matrix strikes them out of its inverse; the newest column
    # [R, c; 0, r] of it has the inverse [R^-1, -R^-1 c / r; 0, 1 / r].
    others = (change[:, None] @ moves.mT).masked_fill(slot[:, None], 0)
    column = (-(others @ pairs.inverse.mT)[:, 0]).masked_fill(slot, 1) / curvature[:, None]
    inverse = _write(pairs.inverse, pairs.oldest, slot, torch.zeros_like(column))
    return pairs._replace(
        oldest=(pairs.oldest + keep) % len(slots),
        scale=torch.where(keep, curvature / bend, pairs.scale),
        moves=moves,
        changes=changes,
        curvatures=torch.where(slot, curvature[:, None], pairs.curvatures),
        inverse=torch.where(slot[:, None], column[..., None], inverse),
    )


def forget(pairs: Pairs, lost: Tensor) -> Pairs:
    """Without the pairs of samples whose directions lead nowhere: with no inverse they count for nothing."""
    return pairs._replace(
        scale=pairs.scale.masked_fill(lost, 1),
        curvatures=pairs.curvatures.masked_fill(lost[:, None], 0),
        inverse=pairs.inverse * ~lost[:, None, None],
    )


def quasi_newton(slope: Tensor, pairs: Pairs) -> Tensor:
    """`-H slope` for the inverse Hessian `H` of the pairs; empty slots are zero and change nothing."""
    # Vectors are rows: a product from the left is several times quicker in batches than one from the right.
    slope = slope[:, None]
    weights = slope @ pairs.moves.mT @ pairs.inverse.mT
    q = torch.baddbmm(slope, weights, pairs.changes, alpha=-1) * pairs.scale[:, None, None]
    corrections = (pairs.curvatures[:, None] * weights - q @ pairs.changes.mT) @ pairs.inverse
    return -torch.baddbmm(q, corrections, pairs.moves)[:, 0]


def _write(rows: Tensor, oldest: Tensor, slot: Tensor, new: Tensor) -> Tensor:
    """`rows` (N, history, D) with the new one (N, D) in its slot, a mask (N, history) that may be empty.

    In place unless recorded, as nothing else holds the memory of a solve: it is most of what a step would copy.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return torch.where(slot[..., None], new[:, None], rows)
    flat = rows.view(-1, rows.shape[-1])
    place = torch.arange(0, len(flat), rows.shape[1], device=rows.device) + oldest
    flat.index_copy_(0, place, torch.where(slot.any(-1, keepdim=True), new, flat[place]))
    return rows
