"""The fork in the road: what is known of it, what is not, and what cannot be."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ebm.worlds import Fork, simulate

WORLDS = {"two exits": Fork(), "three": Fork((0.2, 0.3, 0.5)), "two cars": Fork(cars=2), "steep": Fork(turn=90.0)}
worlds = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
AHEAD = 5


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def waiting(world, states, _):
    return states.new_zeros(*states.shape[:-1], 0)


def drive(world, count=64, steps=AHEAD, seed=0):
    return simulate(world, waiting, count, steps, generator(seed)).states


def by_hand(world, state, step):
    """Where a single car is after so many steps, written out."""
    offset, speed, _, _, _ = state[0].tolist()
    side = {2: (None, -1, 1), 3: (None, -1, 0, 1)}[world.exits][int(state[step, 4])]
    driven = min(step * speed, world.stem + world.arm)
    if driven < world.stem:
        return offset, -0.9 + driven
    angle, beyond = math.radians(world.turn), driven - world.stem
    return offset + side * beyond * math.sin(angle), -0.9 + world.stem + beyond * (math.cos(angle) if side else 1)


@pytest.mark.parametrize("world", [WORLDS["two exits"], WORLDS["three"], WORLDS["steep"]])
def test_a_car_drives_straight_up_and_then_along_its_arm(world):
    states = drive(world, 8)
    for state in states:
        for step in range(AHEAD + 1):
            expected = torch.tensor(by_hand(world, state, step))
            # Five sums in single precision.
            torch.testing.assert_close(world.places(state[step])[0], expected, atol=1e-5, rtol=0)


@worlds
def test_the_future_is_one_of_the_futures_that_there_are(world):
    states = drive(world)
    futures = world.futures(states[:, 0], AHEAD)
    assert futures.shape == (world.modes, 64, 5 * world.cars)
    assert world.modes == world.exits**world.cars
    off = (futures - states[:, AHEAD]).abs().amax(-1)
    assert (off.amin(0) < 1e-5).all()  # five sums in single precision
    assert ((off < 1e-5).sum(0) == 1).all()
    assert set(off.argmin(0).tolist()) == set(range(world.modes))


@worlds
def test_once_all_have_chosen_there_is_one_future(world):
    states = drive(world, steps=4)[:, 4]
    assert (world.truth(states)["exit"] > 0).all()
    futures = world.futures(states, 2)
    assert (futures == futures[0]).all()


@pytest.mark.parametrize("probabilities", [(0.5, 0.5), (0.7, 0.3), (0.2, 0.3, 0.5), (0.0, 1.0)])
def test_exits_are_taken_as_often_as_they_are_likely(probabilities):
    world = Fork(probabilities)
    taken = world.truth(drive(world, 4096)[:, -1])["exit"][:, 0].long()
    shares = torch.bincount(taken - 1, minlength=len(probabilities)) / 4096
    # Four standard errors of a share of one half.
    torch.testing.assert_close(shares, torch.tensor(probabilities), atol=4 * 0.5 / 64, rtol=0)


def test_nothing_of_the_past_tells_the_exit():
    states = drive(Fork(), 4096)
    past = states[:, 0][:, [0, 1]]
    exits = states[:, -1, 4]
    correlations = torch.corrcoef(torch.cat([past, exits[:, None]], 1).T)[-1, :2]
    assert (correlations.abs() < 4 / 64).all()  # four standard errors
    again = simulate(Fork(), waiting, 4096, AHEAD, generator(1), start=states[:, 0]).states
    # Other noise from the same past: as often the same exit as not, within four standard errors.
    assert abs(float((again[:, -1, 4] == exits).float().mean()) - 0.5) < 4 * 0.5 / 64


@worlds
def test_before_the_junction_all_futures_look_the_same(world):
    start = world.start(8, generator())
    assert torch.equal(world.futures(start, 1)[0], world.futures(start, 1)[-1])
    frames = world.observe(world.futures(start, 1))
    assert torch.equal(frames, frames[:1].expand_as(frames))


@given(seed=st.integers(0, 99))
def test_impossible_places_are_what_their_names_say(seed):
    world = Fork()
    start = world.start(16, generator(seed))
    futures = world.places(world.futures(start, AHEAD))
    found = world.impossible(start, AHEAD, generator(seed))
    assert found.keys() == {"average", "off_road", "too_far"}
    # The sum of two numbers, halved.
    torch.testing.assert_close(found["average"], (futures[0] + futures[1]) / 2, atol=1e-6, rtol=0)
    assert not world.on_road(found["off_road"]).any()
    assert (found["off_road"].abs() <= 0.9).all()
    distance = (found["too_far"] - futures).norm(dim=-1).amin(0)
    assert ((distance > 0.25 - 1e-5) & (distance < 0.35 + 1e-5)).all()  # rounding of sums
    assert world.on_road(found["too_far"]).all()


def test_the_average_of_left_and_right_is_in_the_wall_between_them():
    world = Fork(road=0.15)
    start = world.start(256, generator())
    fast = start[:, 1] > 0.24
    average = world.impossible(start, AHEAD, generator())["average"]
    assert not world.on_road(average[fast]).any()


@worlds
def test_cars_keep_to_the_road(world):
    places = world.places(drive(world, steps=8))
    for car in range(world.cars):
        assert world.on_road(places[..., car, :], car).all()


def test_a_second_car_is_the_first_one_turned_by_half():
    one, two = Fork(), Fork(cars=2)
    states = drive(one, 4)
    both = torch.cat([states, states], -1)
    places = two.places(both)
    assert torch.equal(places[..., 0, :], one.places(states)[..., 0, :])
    assert torch.equal(places[..., 1, :], -places[..., 0, :])


def test_a_frame_is_brightest_where_the_car_is_the_top_row_first():
    world = Fork(size=21)  # a pixel each 0.1
    frame = world.render(torch.tensor([[[0.3, 0.8]]]))[0]
    assert divmod(int(frame.argmax()), 21) == (2, 13)
    assert float(frame.max()) == pytest.approx(1, abs=1e-5)  # the car is at the middle of a pixel
    # One standard deviation of 0.12 away would be exp(-1/2); a pixel is 0.1 away.
    assert float(frame[2, 14]) == pytest.approx(math.exp(-(0.1**2) / (2 * 0.12**2)), abs=1e-4)


@worlds
def test_observations_show_the_last_frame_and_this(world):
    states = drive(world, 4)
    seen = world.observe(states)
    assert seen.shape == (4, AHEAD + 1, 2, 16, 16)
    # Places before are sums in another order.
    torch.testing.assert_close(seen[:, 1:, 0], seen[:, :-1, 1], atol=1e-4, rtol=0)


def test_an_episode_ends_when_all_cars_have_stopped_and_then_nothing_changes():
    world = Fork(cars=2)
    states = drive(world, 32, steps=12)
    ended = world.ended(states)
    assert ended[:, -1].all()
    assert not ended[:, 0].any()
    for state, end in zip(states, ended, strict=True):
        first = int(end.to(torch.uint8).argmax())
        assert (state[first:] == state[first]).all()


def test_leading_axes_broadcast_and_steps_are_those_of_single_copies():
    world = Fork(cars=2)
    states = drive(world, 3)[:, 2]
    noise = world.noise(states.expand(4, 3, -1), generator(3))
    wide = world.step(states, states.new_zeros(4, 1, 0), noise)
    assert wide.shape == (4, 3, 10)
    assert torch.equal(wide[2, 1], world.step(states[1], states.new_zeros(0), noise[2, 1]))


def test_a_step_without_noise_is_refused():
    world = Fork()
    with pytest.raises(ValueError, match="left to chance"):
        world.step(world.start(2, generator()), torch.zeros(2, 0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"probabilities": (1.0,)}, "2 or 3 exits"),
        ({"probabilities": (0.5, 0.6)}, "add up to 1"),
        ({"probabilities": (1.5, -0.5)}, "add up to 1"),
        ({"cars": 3}, "1 or 2 cars"),
        ({"turn": 0.0}, "degrees"),
        ({"slow": 0.4}, "`slow` at most `fast`"),
        ({"lane": -0.1}, "`lane` is between"),
        ({"stem": 2.0}, "`stem` is between"),
        ({"width": math.nan}, "`width` is between"),
        ({"size": 2}, "at least 4 rows"),
        ({"episode": 0}, "an episode 1 step"),
    ],
)
def test_settings_that_make_no_fork_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Fork(**settings)


def test_a_state_of_another_world_is_refused():
    with pytest.raises(ValueError, match="has 10 features"):
        Fork(cars=2).observe(Fork().start(2, generator()))
