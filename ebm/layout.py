"""How variables of any shape lie in the rows `(N, D)` that solvers and samplers work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map, tree_unflatten

Tree = Any
"""A tensor, or a tuple, list or dict of tensors, nested as one likes."""

_LOW_PRECISION = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Layout:
    """A tree whose leaves `(*batch, *event)` share their batch axes, as one row of all features for each sample.

    Rows are kept in float32 at least: steps near a minimum are smaller than half precision can add.
    """

    structure: TreeSpec
    batch: torch.Size
    events: tuple[torch.Size, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tree: Tree, batch: torch.Size) -> Layout:
        """The layout of a tree whose leaves begin with the axes of `batch`."""
        leaves, structure = tree_flatten(tree)
        return cls(structure, batch, tuple(leaf.shape[len(batch) :] for leaf in leaves), leaves[0].dtype)

    @property
    def sizes(self) -> list[int]:
        """How many columns of a row each leaf has."""
        return [event.numel() for event in self.events]

    @property
    def row_dtype(self) -> torch.dtype:
        """What the rows are kept in."""
        return torch.float32 if self.dtype in _LOW_PRECISION else self.dtype

    def rows(self, tree: Tree) -> Tensor:
        """The rows `(N, D)` of a tree of this layout."""
        n = self.batch.numel()
        columns = [leaf.reshape(n, size) for leaf, size in zip(tree_flatten(tree)[0], self.sizes, strict=True)]
        return (columns[0] if len(columns) == 1 else torch.cat(columns, 1)).to(self.row_dtype)

    def leaves(self, rows: Tensor, batch: Sequence[int] | None = None) -> list[Tensor]:
        """The leaves of rows, shaped `(*batch, *event)`: by default one axis, of as many samples as there are rows."""
        lead = rows.shape[:-1] if batch is None else batch
        columns = [rows] if len(self.events) == 1 else torch.split(rows, self.sizes, -1)
        return [column.reshape(*lead, *event) for column, event in zip(columns, self.events, strict=True)]

    def tree(self, rows: Tensor, batch: Sequence[int] | None = None) -> Tree:
        """The tree that rows stand for, in its own dtype."""
        leaves = [leaf.to(self.dtype) for leaf in self.leaves(rows, batch)]
        return leaves[0] if self.structure.is_leaf() else tree_unflatten(leaves, self.structure)


def check_start(tree: Tree) -> None:
    """Refuse a start that nothing can be minimised or sampled from.

    Raises ValueError for no tensor, for integers, for leaves of two dtypes, devices or batches, and for NaN or
    infinite values.
    """
    leaves = tree_flatten(tree)[0]
    if not leaves or not all(isinstance(leaf, Tensor) for leaf in leaves):
        kinds = sorted({type(leaf).__name__ for leaf in leaves}) or ["nothing"]
        raise ValueError(f"z is a tensor, or a tuple, list or dict of tensors, but the start holds {', '.join(kinds)}")
    for leaf in leaves:
        if not leaf.is_floating_point():
            raise ValueError(f"z is moved by small steps, so it starts from floating point, not {leaf.dtype}")
        if not bool(leaf.isfinite().all()):
            raise ValueError(f"the start holds {int((~leaf.isfinite()).sum())} values that are NaN or infinite")
    kinds = sorted({f"{leaf.dtype} on {leaf.device}" for leaf in leaves})
    if len(kinds) > 1:
        raise ValueError(f"the parts of z are of one dtype and on one device, but these are {' and '.join(kinds)}")
    if len({leaf.shape[:1] for leaf in leaves}) > 1:
        shapes = " and ".join(str(tuple(leaf.shape)) for leaf in leaves)
        raise ValueError(f"the parts of z begin with the axes of one batch, but these are of shape {shapes}")


def check_given(given: tuple[Tree, ...], tree: Tree) -> None:
    """Refuse what cannot have a row for each sample of a start, before the energy fails on it for another reason.

    Raises ValueError for what is no tuple, and for a tensor with another number of rows.
    """
    if not isinstance(given, tuple):
        raise ValueError(
            f"`given` is a tuple of what the function takes after z, such as `(y,)`, not a {type(given).__name__}"
        )
    given_rows(given, tree_flatten(tree)[0][0].shape[:1])


def batch_of(energies: Tensor, tree: Tree) -> torch.Size:
    """The batch axes of a start, read off the energies that it was given.

    Raises ValueError where these are not one number for each sample.
    """
    shape = energies.shape
    if energies.is_complex():
        raise ValueError(
            f"an energy is a real number for each sample, not {energies.dtype}: take its real part or modulus"
        )
    for leaf in tree_flatten(tree)[0]:
        if not shape or shape != leaf.shape[: len(shape)]:
            raise ValueError(
                f"an energy returns one number per sample: for z of shape {tuple(leaf.shape)} its shape is a leading"
                f" part of that, such as {tuple(leaf.shape[:1])}, but it was {tuple(shape)}; sum over features, not"
                " the batch, and give a single sample a batch of one"
            )
    if sum(leaf.shape[len(shape) :].numel() for leaf in tree_flatten(tree)[0]) == 0:
        raise ValueError("there is nothing to minimise over: z has no features")
    return shape


def given_rows(given: tuple[Tree, ...], batch: torch.Size) -> tuple[Tree, ...]:
    """What is held, with one axis of samples in place of the axes of the batch, to which its own broadcast.

    Raises ValueError for a tensor that does not begin with such axes.
    """

    def flat(leaf: Tensor) -> Tensor:
        if not _has_rows(leaf, batch):
            raise ValueError(
                f"each tensor in `given` has a row for each sample: it begins with the axes {tuple(batch)} of the"
                f" batch, but one is of shape {tuple(leaf.shape)}; what all samples share belongs in the function"
            )
        return leaf.expand(*batch, *leaf.shape[len(batch) :]).flatten(0, len(batch) - 1)

    return map_rows(flat, given)


def have_rows(given: tuple[Tree, ...], batch: torch.Size) -> bool:
    """Whether each tensor that is held surely has a row for each sample: an axis of features besides, or integers.

    Not where the batch has several axes, as a function may hold something for each entry of one of them.
    """
    leaves = [leaf for leaf in tree_flatten(given)[0] if isinstance(leaf, Tensor)]
    return len(batch) == 1 and all(
        _has_rows(leaf, batch) and (leaf.ndim > 1 or not leaf.is_floating_point()) for leaf in leaves
    )


def _has_rows(leaf: Tensor, batch: torch.Size) -> bool:
    lead = leaf.shape[: len(batch)]
    return len(lead) == len(batch) and all(have in (1, want) for have, want in zip(lead, batch, strict=True))


def map_rows(fn: Any, given: tuple[Tree, ...]) -> tuple[Tree, ...]:
    """What is held, with `fn` done to each of its tensors."""
    return tuple(tree_map(lambda leaf: fn(leaf) if isinstance(leaf, Tensor) else leaf, part) for part in given)
