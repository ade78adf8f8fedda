import copy
import math
from functools import partial

import pytest
import torch
from conftest import normal
from process_group import on_processes
from runs import BYOL, lives, small_run
from torch import nn
from torch.nn.functional import normalize

from ebm import FreeEnergy
from ebm.distances import CosineDistance
from ebm.energies import JointEmbedding
from ebm.losses import MomentumContrast
from ebm.study.store import RunFolder

F = FreeEnergy(JointEmbedding(nn.Identity(), distance=CosineDistance()))


def batches(count=4, n=5):
    return [(normal(n, 3, seed=2 * i), normal(n, 3, seed=2 * i + 1)) for i in range(count)]


def by_paper(hx, hy, queue, temperature):
    """Equation 1 of the paper, query by query, on unit codes."""
    total = 0.0
    for query, key in zip(normalize(hx, dim=1), normalize(hy, dim=1), strict=True):
        logits = torch.stack([query @ key, *(query @ normalize(k, dim=0) for k in queue)]) / temperature
        total = total - logits.log_softmax(0)[0]
    return total / len(hx)


@pytest.mark.parametrize("size", [1, 3, 7, 10, 100])
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_value_and_gradient_are_those_of_the_paper_with_the_codes_of_former_batches(size, temperature):
    loss, former = MomentumContrast(size, temperature), []
    for hx, hy in batches():
        hx, hy = hx.requires_grad_(), hy.requires_grad_()
        value, expected = loss(F, hx, hy), by_paper(hx, hy, former[-size:], temperature)
        # Sums of sixteen exponentials in two orders, over a temperature of 0.07.
        torch.testing.assert_close(value, expected, atol=1e-9, rtol=1e-9)
        slopes, references = (torch.autograd.grad(v, (hx, hy)) for v in (value, expected))
        torch.testing.assert_close(slopes, references, atol=1e-9, rtol=1e-9)
        former += [*hy.detach()]


@pytest.mark.parametrize("size", [1, 4, 5, 7, 12])
def test_the_queue_holds_the_last_codes_whether_or_not_batches_divide_its_size(size):
    loss, former = MomentumContrast(size), []
    for hx, hy in batches(count=5):
        loss(F, hx, hy)
        former += [*hy]
        assert torch.equal(loss.queue, torch.stack(former[-size:][::-1]))


def test_the_first_batch_has_no_wrong_answers_and_changes_nothing():
    hx, hy = (h.requires_grad_() for h in batches()[0])
    value = MomentumContrast()(F, hx, hy)
    assert value == 0
    assert not any(slope.any() for slope in torch.autograd.grad(value, (hx, hy)))


def test_where_all_codes_are_the_same_it_is_the_log_of_one_more_than_the_queue_holds():
    loss, codes = MomentumContrast(size=7), torch.ones(5, 3, dtype=torch.float64)
    values = [loss(F, codes, codes).item() for _ in range(3)]
    assert values == pytest.approx([0, math.log(6), math.log(8)], abs=1e-14)


def test_only_a_call_in_training_puts_codes_in_and_each_does_so_once():
    loss = MomentumContrast()
    (first, second, *_) = batches()
    loss(F, *first)
    loss.eval()
    loss(F, *second)
    assert len(loss.queue) == 5
    loss.train()
    hx, hy = (h.requires_grad_() for h in second)
    chunked = copy.deepcopy(loss)
    chunked.chunk = 2
    for each in (loss, chunked):
        each(F, hx, hy).backward()  # which computes energies again, where they are in chunks
        assert len(each.queue) == 10
        assert not each.queue.requires_grad


def test_the_codes_that_a_derivative_needs_are_not_overwritten_by_the_next_batches():
    loss = MomentumContrast(size=5)
    (first, (hx, hy), third, _) = batches()
    loss(F, *first)
    value = loss(F, hx.requires_grad_(), hy)
    loss(F, *third)
    (slope,) = torch.autograd.grad(value, hx)
    torch.testing.assert_close(slope, torch.autograd.grad(by_paper(hx, hy, first[1], 0.07), hx)[0])


@pytest.mark.parametrize("trained", [0, 1, 4])
@pytest.mark.parametrize("into", ["new", "used"])
def test_what_is_saved_goes_on_as_if_it_had_not_been(tmp_path, trained, into):
    loss = MomentumContrast(size=7)
    for batch in batches()[:trained]:
        loss(F, *batch)
    torch.save(loss.state_dict(), tmp_path / "loss.pt")
    resumed = MomentumContrast(size=7)
    for batch in batches(count=2) if into == "used" else []:
        resumed(F, *batch)
    resumed.load_state_dict(torch.load(tmp_path / "loss.pt", weights_only=True))
    for hx, hy in batches():
        assert torch.equal(resumed(F, hy, hx), loss(F, hy, hx))
    assert torch.equal(resumed.queue, loss.queue)


MOCO = {"weight": 1, "fn": {"class_path": "ebm.losses.MomentumContrast", "init_args": {"size": 20}}}


@pytest.mark.parametrize("stops", [[1], [2, 7, 13]], ids=str)
@pytest.mark.filterwarnings("ignore::lightning_fabric.utilities.warnings.PossibleUserWarning")
def test_a_run_that_was_stopped_goes_on_with_the_queue_that_it_had(tmp_path, stops):
    base = BYOL | {"model": BYOL["model"] | {"losses": {"moco": MOCO}, "symmetric": False}}
    run = small_run(tmp_path, "--checkpoint_every=1", base=base)
    whole, parts = (lives(run, RunFolder(tmp_path / name), at) for name, at in (("whole", []), ("parts", stops)))
    assert whole.result()["metrics"] == parts.result()["metrics"]
    saved = [torch.load(folder.checkpoint, weights_only=True)["state_dict"] for folder in (whole, parts)]
    torch.testing.assert_close(saved[0], saved[1], rtol=0, atol=0)
    assert saved[0]["losses.moco.queue"].shape == (20, 4)


def test_a_queue_that_is_longer_than_this_one_is_not_loaded():
    loss = MomentumContrast(size=7)
    for batch in batches():
        loss(F, *batch)
    with pytest.raises(RuntimeError, match=r"size mismatch for queue: .*torch.Size\(\[7, 3\]\)"):
        MomentumContrast(size=6).load_state_dict(loss.state_dict())


def test_codes_of_another_shape_are_refused_by_their_shapes():
    loss = MomentumContrast()
    loss(F, *batches()[0])
    with pytest.raises(ValueError, match=r"holds codes of shape \(3,\), got some of \(4,\)"):
        loss(F, normal(5, 4), normal(5, 4))


@pytest.mark.parametrize("size", [0, -1])
def test_a_queue_of_nothing_is_refused(size):
    with pytest.raises(ValueError, match=f"at least 1 code, got a size of {size}"):
        MomentumContrast(size)


def test_compiled_it_fills_the_same_queue():
    plain, loss = MomentumContrast(size=7), MomentumContrast(size=7)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for batch in batches():
        # Sums of eight exponentials, over a temperature of 0.07.
        torch.testing.assert_close(compiled(F, *batch), plain(F, *batch), atol=1e-12, rtol=1e-12)
        assert torch.equal(loss.queue, plain.queue)


def spread(parts):
    """Two batches, of which each process has some rows: the values, and the queue."""
    rank = torch.distributed.get_rank()
    loss = MomentumContrast(size=7)
    values = [loss(F, *(h.split(parts)[rank] for h in batch)) for batch in batches()]
    return values, loss.queue


def test_every_process_has_the_codes_of_all_in_their_order():
    alone = MomentumContrast(size=7)
    values = [alone(F, *batch) for batch in batches()]
    for found, queue in on_processes(2, partial(spread, (3, 2))):
        torch.testing.assert_close(found, values)
        assert torch.equal(queue, alone.queue)
