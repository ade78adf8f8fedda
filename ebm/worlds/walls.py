"""The geometry of upright walls with one door each, in the unit square: who may pass, how far it is, how it looks.

`walls` is `(*batch, count, 2)`: the x of a wall's middle, and the y of its door's middle. A wall takes up the points
within `thickness` of its middle, but for those within `door` of its door's: both are half widths. Points are
`(*batch, 2)`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.linalg import vector_norm


def blocked(before: Tensor, after: Tensor, walls: Tensor, thickness: float, door: float) -> Tensor:
    """Where the straight way from one point to another touches a wall, `(*batch,)` of bool; exact, however long it is.

    Within the width of a wall the way is a straight piece: it is in the door if both of its ends are.
    """
    (x0, y0), (x1, y1) = (point.unsqueeze(-2).unbind(-1) for point in (before, after))
    middle, gap = walls.unbind(-1)
    left, right = middle - thickness, middle + thickness
    meets = (torch.maximum(x0, x1) > left) & (torch.minimum(x0, x1) < right)
    run = torch.where(x1 == x0, torch.ones_like(x0), x1 - x0)
    slope = (y1 - y0) / run
    enters = y0 + (x0.clamp(left, right) - x0) * slope
    leaves = y1 + (x1.clamp(left, right) - x1) * slope  # from the end, so that an upright way has both of its ends
    inside = ((enters - gap).abs() < door) & ((leaves - gap).abs() < door)
    return (meets & ~inside).any(-1)


def gone_near(before: Tensor, after: Tensor, centre: Tensor, radius: float) -> Tensor:
    """Where the straight way comes within the radius of a centre, `(*batch,)` of bool."""
    way = after - before
    share = ((centre - before) * way).sum(-1) / way.square().sum(-1).clamp_min(torch.finfo(way.dtype).tiny)
    nearest = before + share.clamp(0, 1).unsqueeze(-1) * way
    return vector_norm(nearest - centre, dim=-1) < radius


def distance(start: Tensor, end: Tensor, walls: Tensor, thickness: float, door: float) -> Tensor:
    """The length of the shortest way from one point to another through the doors, `(*batch,)`.

    Walls stand from left to right. The way bends at corners of doors alone, and does not turn back: it is the shortest
    path over start, corners in their order, and end, of straight pieces within the door at each edge between.
    """
    swap = start[..., :1] > end[..., :1]
    first, last = torch.where(swap, end, start), torch.where(swap, start, end)
    middle, gap = walls.unbind(-1)
    edges = torch.stack([middle - thickness, middle + thickness], -1).flatten(-2)  # (*batch, 2 count)
    low, high = ((gap + side * door).repeat_interleave(2, -1) for side in (-1, 1))
    corners = torch.stack([torch.stack([edges, y], -1) for y in (low, high)], -2).flatten(-3, -2)
    batch = torch.broadcast_shapes(first.shape[:-1], corners.shape[:-2])
    corners = corners.expand(*batch, -1, 2)
    nodes = torch.cat([first.expand(*batch, 2).unsqueeze(-2), corners, last.expand(*batch, 2).unsqueeze(-2)], -2)
    lengths = nodes.new_zeros(*batch, 1)
    for index in range(1, nodes.shape[-2]):
        here, there = nodes[..., :index, :], nodes[..., index : index + 1, :]
        ways = lengths + vector_norm(there - here, dim=-1)
        clear = _clear(here, there, edges.unsqueeze(-2), low.unsqueeze(-2), high.unsqueeze(-2))
        lengths = torch.cat([lengths, torch.where(clear, ways, torch.inf).amin(-1, keepdim=True)], -1)
    return lengths[..., -1]


def _clear(here: Tensor, there: Tensor, edges: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Where a straight way to the right is within the door at each edge that lies strictly between its ends.

    A way to the left is taken for clear: none that begins with one is the shortest.
    """
    (x0, y0), (x1, y1) = (point.unsqueeze(-2).unbind(-1) for point in (here, there))
    run = torch.where(x1 == x0, torch.ones_like(x0), x1 - x0)
    y = y0 + (edges - x0) / run * (y1 - y0)
    between = (edges > x0) & (edges < x1)
    return (~between | ((y >= low) & (y <= high))).all(-1)


def blob(points: Tensor, size: int, width: float) -> Tensor:
    """`exp(-|pixel - point|^2 / (2 width^2))` at the middles of pixels, `(*batch, size, size)`; row 0 is at y = 0."""
    squares = ((centre - _middles(size, points)).square() / (2 * width**2) for centre in _each(points))
    # exp(-40), of which a product is still a normal number in single precision: subnormal ones are slow.
    across, down = (torch.exp(-square.clamp_max(40)) for square in squares)
    return down.unsqueeze(-1) * across.unsqueeze(-2)


def disk(centre: Tensor, radius: float, size: int) -> Tensor:
    """1 within the radius of a point, 0 without, and between the two over one pixel, `(*batch, size, size)`."""
    across, down = (x - _middles(size, centre) for x in _each(centre))
    far = (down.square().unsqueeze(-1) + across.square().unsqueeze(-2)).sqrt()
    return ((radius - far) * size + 0.5).clamp(0, 1)


def picture(walls: Tensor, size: int, thickness: float, door: float) -> Tensor:
    """The share of each pixel that walls take up, `(*batch, size, size)`; they stand apart, so their shares add up."""
    middle, gap = walls.unbind(-1)
    solid = 1 - _covered(gap, door, size)
    return solid.mT @ _covered(middle, thickness, size)


def _covered(centre: Tensor, half: float, size: int) -> Tensor:
    """The share of each of `size` pixels in a row that lies within `half` of a centre, `(*batch, size)`."""
    pixels, centre = _middles(size, centre), centre.unsqueeze(-1)
    right = torch.minimum(pixels + 0.5 / size, centre + half)
    return ((right - torch.maximum(pixels - 0.5 / size, centre - half)) * size).clamp(0, 1)


def _middles(size: int, like: Tensor) -> Tensor:
    return (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) / size


def _each(points: Tensor) -> tuple[Tensor, Tensor]:
    x, y = points.unsqueeze(-1).unbind(-2)
    return x, y
