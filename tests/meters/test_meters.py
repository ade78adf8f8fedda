import inspect

import pytest
from conftest import normal

import ebm.meters
from ebm import FreeEnergy
from ebm.energies import JointEmbedding

METERS = [
    fn
    for fn in vars(ebm.meters).values()
    if inspect.isfunction(fn) and list(inspect.signature(fn).parameters) == ["F", "hx", "hy"]
]


def test_meters_are_found_by_their_signature():
    assert {"spread", "rank", "energy_gap"} <= {meter.__name__ for meter in METERS}


@pytest.mark.parametrize("rows", [2, 9])
@pytest.mark.parametrize("meter", METERS)
def test_a_meter_takes_the_free_energy_and_codes_to_named_finite_numbers(meter, rows):
    energy = JointEmbedding.small().double()
    hx, hy = energy.encode(normal(rows, 8), normal(rows, 8, seed=1))
    values = meter(FreeEnergy(energy), hx.detach(), hy.detach())
    assert values
    assert all(type(name) is str and type(value) is float for name, value in values.items())
    assert all(abs(value) < 1e9 for value in values.values())


@pytest.mark.parametrize("meter", METERS)
def test_a_meter_leaves_the_codes_as_they_are(meter):
    energy = JointEmbedding.small().double()
    hx, hy = normal(5, 4), normal(5, 4, seed=1)
    meter(FreeEnergy(energy), hx, hy)
    assert hx.equal(normal(5, 4))
    assert hy.equal(normal(5, 4, seed=1))


def test_no_two_meters_log_a_number_under_one_name():
    energy = FreeEnergy(JointEmbedding.small().double())
    names = [name for meter in METERS for name in meter(energy, normal(5, 4), normal(5, 4, seed=1))]
    assert len(names) == len(set(names))
