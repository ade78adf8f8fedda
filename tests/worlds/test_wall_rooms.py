"""The rooms of EB-JEPA: what a dot does at walls and in the door, by hand, and what a walk is."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from ebm.worlds.wall_rooms import WallRooms
from ebm.worlds.wall_walks import wall_walks

WORLD = WallRooms()
WALL, DOOR = 32.0, 18.0


def at(x: float, y: float) -> Tensor:
    """A state with the dot there, and the goal in a corner."""
    return torch.tensor([x, y, 50.0, 50.0, WALL, DOOR], dtype=torch.float64)


def moved(x: float, y: float, right: float, down: float, *noise: float) -> list[float]:
    """Where the dot is after a move, in pixels."""
    action = torch.tensor([right, down], dtype=torch.float64) / WORLD.reach
    drawn = torch.tensor(noise, dtype=torch.float64) if noise else None
    return WORLD.step(at(x, y), action, drawn)[:2].tolist()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_free_dot_goes_where_it_is_told() -> None:
    assert moved(10, 20, 1.5, -1.0) == pytest.approx([11.5, 19.0])


@pytest.mark.parametrize("length", [1.0, 3.0, 1e6])
def test_no_action_goes_further_than_the_limit(length: float) -> None:
    action = length * torch.tensor([3.0, -4.0], dtype=torch.float64)
    after = WORLD.step(at(15, 30), action)
    went = after[:2] - at(15, 30)[:2]
    assert float(went.norm()) == pytest.approx(2.45)
    direction = torch.tensor([3.0, -4.0]) if length == 1.0 else torch.tensor([1.0, -1.0])  # the box comes first
    clamped = direction.clamp(-1, 1)
    assert went.tolist() == pytest.approx((2.45 * clamped / clamped.norm()).tolist())


def test_a_wall_stops_a_dot_where_it_meets_it_and_puts_it_off() -> None:
    assert moved(30, 40, 2.0, 1.0) == pytest.approx([31 - 0.3, 40.5])  # the face at 31 is met half way
    assert moved(34, 40, -2.0, 1.0) == pytest.approx([33 + 0.3, 40.5])
    assert moved(5, 40, -2.0, 1.0) == pytest.approx([4 + 0.3, 40.5])
    assert moved(10, 59, 1.0, 2.0) == pytest.approx([10.5, 60 - 0.3])


def test_the_recoil_is_off_the_wall_whatever_the_sign_of_the_noise() -> None:
    for sign in (-1.0, 1.0):
        assert moved(30, 40, 2.0, 1.0, sign * 2.0, 3.0) == pytest.approx([31 - 1.0, 40.5 + 1.5])
        assert moved(10, 59, 1.0, 2.0, 1.0, sign * 2.0) == pytest.approx([10.5 + 0.5, 60 - 1.0])


def test_a_recoil_goes_through_no_other_wall() -> None:
    assert moved(30.8, 5, 2.0, 0.0, 1.0, -8.0) == pytest.approx([31 - 0.5, 4 + 0.3])


def test_of_two_walls_that_which_is_met_first_counts() -> None:
    assert moved(5, 4.8, -1.5, -0.9, 2.0, 0.0) == pytest.approx([5.0, 4.2])  # the left one, after 2/3 of the way
    assert moved(5.5, 4.5, -1.6, -1.6, 0.0, 2.0) == pytest.approx([5.0, 5.0])  # the upper one, after 5/16 of it


def test_the_door_lets_a_dot_through_and_its_ends_do_not() -> None:
    assert moved(30, 18, 2.0, 0.5) == pytest.approx([32.0, 18.5])
    assert moved(31.5, 21, 0.0, 2.0) == pytest.approx([31.5, 22 - 0.3])
    assert moved(31.5, 21, 0.4, 2.0, 0.2, 1.0) == pytest.approx([31.7 + 0.1, 22 - 0.5])
    assert moved(32.5, 15, 0.0, -2.0, 0.0, -1.0) == pytest.approx([32.5, 14 + 0.5])


def test_upright_moves_are_moves_as_any_other() -> None:
    nearly = moved(20, 59, 1e-9, 2.0, 0.3, 0.4)
    assert moved(20, 59, 0.0, 2.0, 0.3, 0.4) == pytest.approx(nearly, abs=1e-8)  # twice the tilt


def test_no_walk_is_ever_in_a_wall_or_beyond_it() -> None:
    g = generator()
    states = WORLD.start(1024, g)
    for _ in range(60):
        actions = 2 * torch.rand(1024, 2, generator=g) - 1
        before, states = states, WORLD.step(states, actions, WORLD.noise(states, g))
        x, y, _, _, wall, door = states.unbind(-1)
        assert not bool((((x - wall).abs() < WORLD.wall) & ((y - door).abs() > WORLD.door)).any())
        assert float(states[:, :2].amin()) >= 4.0
        assert float(states[:, :2].amax()) <= 60.0
        crossed = (before[:, 0] < wall) != (x < wall)
        in_door = torch.minimum((y - door).abs(), (before[:, 1] - door).abs()) <= WORLD.door
        assert bool(in_door[crossed].all())


def test_episodes_begin_as_published() -> None:
    x, y, goal_x, goal_y, wall, door = WORLD.start(20_000, generator()).unbind(-1)
    assert ((x < wall) != (goal_x < wall)).all()
    assert (wall.amin(), wall.amax(), door.amin(), door.amax()) == (20, 44, 10, 54)
    for height in (y, goal_y):
        assert float(height.amin()) == pytest.approx(6.6, abs=0.05)  # 20,000 draws leave 0.0025 pixels at an end
        assert float(height.amax()) == pytest.approx(57.4, abs=0.05)
    assert float((x - wall).abs().amin()) >= 3.6 - 1e-5  # half the wall and two deviations of the dot, in float32


def test_the_dot_is_a_bell_and_the_walls_are_lines() -> None:
    picture = WORLD.observe(at(10.25, 40.5))
    assert float(picture[0, 40, 11]) == pytest.approx(math.exp(-(0.75**2 + 0.5**2) / (2 * 1.3**2)))
    assert picture[1].unique().tolist() == [0, 1]
    assert picture[1, 30, 31:34].tolist() == [1, 1, 1]
    assert float(picture[1, :, 4].sum()) == 65
    # 4 outer lines of 65 that cross at 4 points; 3 columns less the door, less where they cross the outer lines.
    assert float(picture[1].sum()) == 4 * 65 - 4 + 3 * (65 - 9 - 2)


def test_the_goal_is_reached_within_its_radius() -> None:
    near, far = at(50, 50 + 4.49), at(50, 50 + 4.51)
    assert WORLD.succeeded(torch.stack([near, far])).tolist() == [True, False]
    assert bool(WORLD.succeeded(WORLD.goal(far)))


def test_the_way_to_the_goal_bends_at_the_door() -> None:
    by_hand = math.dist((10, 50), (31, 22)) + 2 + math.dist((33, 22), (50, 50))
    assert float(WORLD.distance(at(10, 50))) == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"bump": 2.0}, "bump"),
        ({"size": 40}, "size"),
        ({"wall_margin": 8}, "wall_margin"),
        ({"door_margin": 5}, "door_margin"),
        ({"near": 0.0}, "near"),
        ({"episode": 0}, "step"),
    ],
)
def test_rooms_that_cannot_be_are_refused(change: dict[str, float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        dataclasses.replace(WORLD, **change)


def test_walks_have_the_published_steps() -> None:
    lengths = WORLD.reach * wall_walks(WORLD, 4000, 5, generator()).actions.norm(dim=-1)
    assert 0.2 <= float(lengths.amin()) < 0.21
    assert 1.79 < float(lengths.amax()) <= 1.8 + 1e-5
    assert float(lengths.mean()) == pytest.approx(1.0, abs=0.01)  # 20,000 lengths of deviation 0.34


@pytest.mark.parametrize("crossing", [0.0, 1.0])
def test_walks_that_are_to_cross_are_in_the_door(crossing: float) -> None:
    states = wall_walks(WORLD, 1000, 17, generator(), crossing=crossing).states
    off = (states[..., :2] - states[..., 4:]).abs()
    in_door = ((off[..., 0] <= WORLD.wall) & (off[..., 1] <= WORLD.door)).any(-1).double().mean()
    assert (float(in_door) > 0.8) if crossing else (float(in_door) < 0.1)  # a wall met before, or a door met by chance


def test_walks_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="share"):
        wall_walks(WORLD, 2, 3, generator(), crossing=1.5)
    with pytest.raises(ValueError, match="at least 1 step"):
        wall_walks(WORLD, 2, 0, generator())
