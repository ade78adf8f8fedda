"""Rooms: nothing goes through a wall, the way through the doors is as long as it is said, and pictures show what is."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from ebm.worlds import SMaze, TwoRooms, Uniform, simulate
from ebm.worlds.rooms import Rooms

ROOMS = [TwoRooms(), TwoRooms(random_wall=True), SMaze()]
every_room = pytest.mark.parametrize("world", ROOMS, ids=["TwoRooms", "random wall", "SMaze"])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def at(world: Rooms, position: tuple[float, float], goal: tuple[float, float]) -> Tensor:
    """A state of a world whose walls are always the same."""
    walls = world.start(1, generator())[0, 5:].double()
    return torch.cat([torch.tensor([*position, *goal, 0.0], dtype=torch.float64), walls])


def depth(world: Rooms, states: Tensor, points: Tensor) -> Tensor:
    """How deep points `(..., 2)` are in a wall, at the least of its two surfaces; negative outside of all."""
    walls = states[..., 5:].unflatten(-1, (-1, 2))
    across = world.thickness - (points[..., None, 0] - walls[..., 0]).abs()
    along = (points[..., None, 1] - walls[..., 1]).abs() - world.door
    return torch.minimum(across, along).amax(-1)


@given(seed=st.integers(0, 10**6), limit=st.floats(0.01, 0.95), which=st.sampled_from([TwoRooms, SMaze]))
def test_no_step_of_any_length_touches_a_wall_and_none_is_refused_without_one(seed, limit, which):
    world = which(limit=limit, anywhere=True)
    states = world.start(64, generator(seed)).double()
    actions = Uniform()(world, states, generator(seed + 1))
    after = world.step(states, actions)
    wanted = (states[:, :2] + limit * actions).clamp(0.03, 0.97)
    shares = torch.linspace(0, 1, 1001, dtype=torch.float64)[:, None, None]
    way = states[:, :2] + shares * (wanted - states[:, :2])
    deepest = depth(world, states, way).amax(0)
    stayed = (after[:, :2] == states[:, :2]).all(-1)
    torch.testing.assert_close(after[~stayed, :2], wanted[~stayed])
    assert (deepest[~stayed] <= 1e-12).all()  # rounding of a point on the wall's surface
    assert (deepest[stayed] > -limit / 500).all()  # points are so far apart that a corner may lie between two


@every_room
def test_a_long_walk_changes_rooms_by_the_door_alone_and_never_ends_in_a_wall(world):
    states = simulate(world, Uniform(), 256, 100, generator()).states.double()
    assert (depth(world, states, states[..., :2]) <= 1e-7).all()  # single precision
    walls = states[:, :-1, 5:].unflatten(-1, (-1, 2))
    before, after = states[:, :-1, None, :2], states[:, 1:, None, :2]
    side = before[..., 0] - walls[..., 0], after[..., 0] - walls[..., 0]
    crossed = side[0] * side[1] < 0
    share = side[0] / torch.where(crossed, side[0] - side[1], torch.ones_like(side[0]))
    height = before[..., 1] + share * (after[..., 1] - before[..., 1])
    assert crossed.sum() > 50
    assert ((height - walls[..., 1]).abs()[crossed] < world.door).all()


@pytest.mark.parametrize(("world", "most"), list(zip(ROOMS, [0.02, 0.02, 0.005], strict=True)))
def test_chance_hardly_ever_reaches_the_goal(world, most):
    states = simulate(world, Uniform(), 2000, world.episode, generator()).states
    assert world.succeeded(states).any(-1).double().mean() <= most


@every_room
def test_agent_and_goal_begin_in_different_rooms_either_way_round(world):
    states = world.start(2000, generator())
    sides = torch.stack([states[:, 0, None] > states[:, 5::2], states[:, 2, None] > states[:, 5::2]])
    assert (sides[0] != sides[1]).all()
    assert 0.4 < sides[0, :, 0].double().mean() < 0.6  # a fair coin, 2000 times: 0.5 +- 0.034 at three deviations


@every_room
def test_the_shortest_way_is_that_of_a_convex_search_over_where_doors_are_passed(world):
    states = world.start(12, generator()).double()
    states[::3, :4] = torch.rand(4, 4, generator=generator(1), dtype=torch.float64) * 0.25 + 0.02  # in one room too
    for state, found in zip(states, world.distance(states), strict=True):
        assert found.item() == pytest.approx(searched(world, state.tolist()), abs=1e-6)  # L-BFGS-B's own tolerance


def searched(world: Rooms, state: list[float]) -> float:
    (x0, y0), (x1, y1) = sorted([tuple(state[:2]), tuple(state[2:4])])
    walls = list(zip(state[5::2], state[6::2], strict=True))
    edges = [(x + side * world.thickness, y) for x, y in walls for side in (-1, 1)]
    edges = [(x, y) for x, y in edges if x0 < x < x1]

    def length(heights: list[float]) -> float:
        points = [(x0, y0), *((x, y) for (x, _), y in zip(edges, heights, strict=True)), (x1, y1)]
        return sum(((a - c) ** 2 + (b - d) ** 2) ** 0.5 for (a, b), (c, d) in pairwise(points))

    if not edges:
        return length([])
    bounds = [(y - world.door, y + world.door) for _, y in edges]
    return minimize(length, [y for _, y in edges], bounds=bounds, options={"ftol": 1e-15, "gtol": 1e-9}).fun


def test_the_way_round_a_corner_is_three_straight_pieces():
    world = TwoRooms()
    to_the_corner = (0.27**2 + 0.48**2) ** 0.5  # the door's upper edge is at 0.42, the wall from 0.47 to 0.53
    state = at(world, (0.2, 0.9), (0.8, 0.9))
    assert world.distance(state).item() == pytest.approx(2 * to_the_corner + 0.06, abs=1e-7)  # its wall is single
    assert world.distance(world.goal(state)).item() == 0


@every_room
def test_going_where_the_way_is_shorter_arrives_in_every_episode(world):
    states = world.start(32, generator())
    angles = torch.arange(32) * torch.pi / 16
    circle = torch.stack([angles.cos(), angles.sin()], -1)
    choices = torch.cat([circle, circle / 3, circle / 10])  # small ones, to come off the corner of a door
    arrived = torch.zeros(32, dtype=torch.bool)
    for _ in range(world.episode):
        options = world.step(states[:, None], choices)
        states = options[torch.arange(32), world.distance(options).argmin(-1)]
        arrived |= world.succeeded(states)
    assert arrived.all()


def test_the_way_has_a_finite_slope_everywhere_at_the_goal_too():
    world = SMaze()
    states = world.start(64, generator())
    states[0] = world.goal(states[0])
    slope = torch.func.grad(lambda states: world.distance(states).sum())(states)
    assert slope.isfinite().all()
    # Away from the goal one goes as much further as one steps.
    torch.testing.assert_close(slope[1:, :2].norm(dim=-1), torch.ones(63), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("world", "walls"), [(TwoRooms(), 1), (SMaze(), 2)])
@pytest.mark.parametrize("size", [16, 32, 65])
def test_the_picture_of_walls_has_their_area_and_a_hole_where_the_door_is(world, walls, size):
    world = type(world)(size=size)
    seen = world.observe(world.start(1, generator())[0])
    area = walls * 2 * world.thickness * (1 - 2 * world.door)
    assert seen[1].mean().item() == pytest.approx(area, rel=1e-5)
    wall, door = world.start(1, generator())[0, 5:7].tolist()
    assert seen[1][int(door * size), int(wall * size)].item() < 1e-6  # rounding of the door's share of a pixel
    assert seen[1][int(0.5 * size), int(wall * size)].item() > 0.45  # a pixel of 16 is as wide as the wall


def test_the_dot_is_brightest_where_the_agent_is_with_x_to_the_right_and_y_down():
    world = TwoRooms(size=32)
    seen = world.observe(at(world, (0.25, 0.75), (0.8, 0.8)))[0]
    row, column = divmod(seen.argmax().item(), 32)
    assert (column + 0.5) / 32 == pytest.approx(0.25, abs=1 / 32)
    assert (row + 0.5) / 32 == pytest.approx(0.75, abs=1 / 32)


def test_the_picture_of_the_goal_has_the_agent_there_and_the_same_walls():
    world = TwoRooms(random_wall=True)
    states = world.start(4, generator())
    there, moved = world.observe(world.goal(states)), states.clone()
    moved[:, :2] = states[:, 2:4]
    assert torch.equal(there, world.observe(moved))
    assert torch.equal(there[:, 1], world.observe(states)[:, 1])


def test_a_hazard_is_violated_by_a_way_that_touches_it_between_two_free_places_and_stays_so():
    world = TwoRooms(limit=0.4, hazard=(0.25, 0.6, 0.05))
    states = at(world, (0.1, 0.6), (0.8, 0.8))
    through = world.step(states, torch.tensor([0.75, 0.0]))
    beside = world.step(states, torch.tensor([0.0, 0.5]))
    short = world.step(states, torch.tensor([0.2, 0.0]))
    assert not world.violated(states)
    assert world.violated(through)
    assert not world.violated(beside)
    assert not world.violated(short)
    assert world.violated(world.step(through, torch.tensor([0.0, 0.5])))  # which is beside it
    assert not TwoRooms(limit=0.4).violated(TwoRooms(limit=0.4).step(states, torch.tensor([0.75, 0.0])))


def test_a_hazard_changes_nothing_that_happens_and_is_seen_only_where_it_is_asked_for():
    plain, hazard = TwoRooms(), TwoRooms(hazard=(0.5, 0.22, 0.06))
    shown = TwoRooms(hazard=(0.5, 0.22, 0.06), hazard_shown=True)
    runs = [simulate(world, Uniform(), 32, 20, generator()).states for world in (plain, hazard)]
    assert torch.equal(runs[0][..., :4], runs[1][..., :4])
    assert torch.equal(plain.observe(runs[1]), hazard.observe(runs[1]))
    disk = shown.observe(runs[1][0, 0])[2]
    assert disk.mean().item() == pytest.approx(torch.pi * 0.06**2, rel=0.05)  # of 11 pixels, smooth at its edge
    assert disk[7, 16] == 1  # (0.52, 0.23), whose middle is inside of it


@every_room
def test_anywhere_begins_in_each_room_and_never_in_a_wall(world):
    world = dataclasses.replace(world, anywhere=True)
    states = world.start(3000, generator())
    for places in (states[:, :2], states[:, 2:4]):
        assert (depth(world, states, places) < -0.01).all()
        passed = (places[:, :1] > states[:, 5::2]).sum(1)
        rooms = passed.bincount(minlength=states[:, 5::2].shape[1] + 1) / 3000
        assert (rooms > 0.25).all()


def test_the_edge_of_the_square_stops_one_coordinate_and_not_the_other():
    world = TwoRooms()
    after = world.step(at(world, (0.05, 0.6), (0.8, 0.8)), torch.tensor([-1.0, 1.0]))
    torch.testing.assert_close(after[:2], torch.tensor([0.03, 0.68], dtype=torch.float64))


def test_an_action_that_is_no_number_makes_its_own_position_none():
    world = TwoRooms()
    after = world.step(world.start(2, generator()), torch.tensor([[torch.nan, 0.0], [0.0, 0.0]]))
    assert after[0, 0].isnan()
    assert after[1].isfinite().all()


def test_a_probe_is_asked_about_walls_only_where_they_vary():
    for world, names in ((TwoRooms(), {"position"}), (TwoRooms(random_wall=True), {"position", "walls"})):
        states = world.start(8, generator())
        assert world.truth(states).keys() == names
        assert all(truth.std(0).min() > 0 for truth in world.truth(states).values())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"size": 0}, "size is a number of at least 1, got 0"),
        ({"limit": 0.0}, "limit is a length .* got 0.0"),
        ({"door": float("nan")}, "door is a length .* got nan"),
        ({"thickness": 0.1}, "thickness is half of the wall's, less than 0.1"),
        ({"hazard": (0.5, 0.5, 0.0)}, r"hazard is \(x, y, radius\)"),
        ({"hazard_shown": True}, "none is given: set hazard"),
    ],
)
def test_settings_that_make_no_rooms_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        TwoRooms(**settings)
