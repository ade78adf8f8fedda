import inspect

import pytest
import torch
from conftest import normal

import ebm.meters
from ebm import FreeEnergy
from ebm.energies import Density, JointEmbedding, Situation, WorldModel
from ebm.meters import chains, density, entries, foresight
from ebm.networks import MLP

METERS = [
    fn
    for fn in vars(ebm.meters).values()
    if inspect.isfunction(fn) and list(inspect.signature(fn).parameters) == ["F", "hx", "hy"]
]
# Those of one kind of data alone, which they say where they are given another.
OF_POINTS, OF_BITS, OF_TRAJECTORIES = {density, chains}, {entries}, {foresight}


def learned(meter, rows):
    """A free energy and codes such as the meter is for."""
    nothing = torch.empty(rows, 0, dtype=torch.float64)
    if meter in OF_POINTS | OF_BITS:
        y = normal(rows, 2, seed=1)
        energy = FreeEnergy(Density(MLP([2, 8, 1])).double())
        return energy, nothing, (y > 0).double() if meter in OF_BITS else y
    if meter in OF_TRAJECTORIES:
        energy = WorldModel.small().double()
        x, y = Situation(normal(rows, 8), normal(rows, 3, 3, seed=2)), normal(rows, 3, 8, seed=1)
    else:
        energy = JointEmbedding.small().double()
        x, y = normal(rows, 8), normal(rows, 8, seed=1)
    hx, hy = energy.encode(x, y)
    return FreeEnergy(energy), hx.detach(), hy.detach()


def test_meters_are_found_by_their_signature():
    assert {"spread", "rank", "energy_gap", "density", "entries"} <= {meter.__name__ for meter in METERS}


@pytest.mark.parametrize("rows", [2, 9])
@pytest.mark.parametrize("meter", METERS)
def test_a_meter_takes_the_free_energy_and_codes_to_named_finite_numbers(meter, rows):
    values = meter(*learned(meter, rows))
    assert values
    assert all(type(name) is str and type(value) is float for name, value in values.items())
    assert all(abs(value) < 1e9 for value in values.values())


@pytest.mark.parametrize("meter", METERS)
def test_a_meter_leaves_the_codes_as_they_are(meter):
    F, hx, hy = learned(meter, 5)
    before = hx.clone(), hy.clone()
    meter(F, hx, hy)
    assert hx.equal(before[0])
    assert hy.equal(before[1])


def test_no_two_meters_log_a_number_under_one_name():
    names = [name for meter in METERS for name in meter(*learned(meter, 5))]
    assert len(names) == len(set(names))
