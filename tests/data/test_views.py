from collections import Counter
from dataclasses import dataclass

import kornia
import pytest
import pytorch_lightning as pl
import torch
from conftest import normal
from torch import nn
from torch.utils.data import TensorDataset

from ebm.data import Digits, Source, TwoViews


@dataclass(frozen=True)
class Given(Source):
    """Images that the test made."""

    train: torch.Tensor
    test: torch.Tensor

    def load(self, split):
        images = getattr(self, split)
        return TensorDataset(images, torch.arange(len(images)))


class Noise(nn.Module):
    def forward(self, images):
        return images + torch.rand_like(images)


class Doubled(nn.Module):
    def forward(self, images):
        return torch.cat([images, images], self.axis)

    def __init__(self, axis):
        super().__init__()
        self.axis = axis


def numbered(count):
    """Images `(count, 1, 2, 2)`, each full of its number."""
    return torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()


def data_of(train=10, test=5, augmentations=(), **settings):
    data = TwoViews(Given(numbered(train), numbered(test)), list(augmentations), **settings)
    data.setup("fit")
    return data


def epoch(data, number=0):
    """The numbers of the images in each batch of an epoch."""
    data.sampler.set_epoch(number)
    return [batch[0][:, 0, 0, 0].int().tolist() for batch in data.train_dataloader()]


@pytest.mark.parametrize(
    "augmentation",
    [
        kornia.augmentation.RandomAffine(20.0, p=1.0),
        kornia.augmentation.RandomErasing(p=1.0, value=0.5),
        kornia.augmentation.RandomGaussianNoise(std=0.1, p=1.0),
        Noise(),
    ],
    ids=lambda augmentation: type(augmentation).__name__,
)
def test_the_two_views_of_an_image_have_one_shape_and_differ(augmentation):
    images = Digits().load("train")[range(8)][0]
    x, y = TwoViews(Digits(), [augmentation]).views(images)
    assert x.shape == y.shape == images.shape
    assert all(not a.equal(b) for a, b in zip(x, y, strict=True))
    assert all(not a.equal(b) for a, b in zip(x, images, strict=True))


def test_without_augmentations_both_views_are_the_image():
    x, y = data_of().views(numbered(3))
    assert x.equal(numbered(3))
    assert y.equal(numbered(3))


def test_augmentations_are_done_in_order_and_those_of_y_may_be_others():
    negative, plus_one = (Lambda(fn) for fn in (torch.neg, lambda images: images + 1))
    data = data_of(augmentations=[negative, plus_one], augmentations_y=[plus_one, negative])
    x, y = data.views(numbered(3))
    assert x.equal(1 - numbered(3))
    assert y.equal(-1 - numbered(3))


def test_no_augmentation_of_y_is_not_the_same_as_none_named():
    x, y = data_of(augmentations=[Noise()], augmentations_y=[]).views(numbered(3))
    assert not x.equal(numbered(3))
    assert y.equal(numbered(3))


class Lambda(nn.Module):
    def __init__(self, fn):
        super().__init__()
        self.fn = fn

    def forward(self, images):
        return self.fn(images)


def test_augmentations_leave_the_images_and_no_derivatives_behind():
    images = numbered(3)
    weight = nn.Parameter(torch.ones(()))
    x, _ = data_of(augmentations=[Lambda(lambda images: weight * images)]).views(images)
    assert images.equal(numbered(3))
    assert not x.requires_grad


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_views_of_different_shapes_are_refused_at_once(axis):
    with pytest.raises(ValueError, match=r"two views of images \(\d, 1, 2, 2\) have shapes .* and .*: end both lists"):
        data_of(augmentations_y=[Doubled(axis)])


def test_two_views_that_agree_may_have_another_size_than_the_image():
    x, y = data_of(augmentations=[Doubled(3)]).views(numbered(3))
    assert x.shape == y.shape == (3, 1, 2, 4)


@pytest.mark.parametrize("both", [True, False])
def test_more_views_than_images_are_refused(both):
    with pytest.raises(ValueError, match="one view for each image"):
        data_of(augmentations=[Doubled(0)], augmentations_y=[Doubled(0)] if both else None)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_pixels_that_are_not_numbers_are_refused(bad):
    images = numbered(4)
    images[0, 0, 1, 0] = bad
    with pytest.raises(ValueError, match="holds pixels that are NaN or infinite"):
        TwoViews(Given(images, numbered(2)), []).setup("fit")


@pytest.mark.parametrize(
    "images",
    [numbered(4).byte(), numbered(4).long(), numbered(4)[:, 0], numbered(4).flatten(1), numbered(4)[:, None]],
    ids=["bytes", "integers", "no channels", "vectors", "one axis too many"],
)
def test_what_is_not_a_batch_of_images_is_refused_with_what_came(images):
    with pytest.raises(ValueError, match=r"must give images \(batch, channels, height, width\) .* got \(.*\) of torch"):
        TwoViews(Given(images, images), []).setup("fit")


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_holds_at_least_one_image(batch_size):
    with pytest.raises(ValueError, match=f"at least 1, got {batch_size}"):
        data_of(batch_size=batch_size)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_batch_larger_than_the_data_is_all_of_it(rows):
    data = data_of(train=rows, batch_size=256)
    assert [sorted(batch) for batch in epoch(data)] == [list(range(rows))]
    assert len(data.train_dataloader()) == 1


def test_data_without_a_single_image_are_refused():
    with pytest.raises(ValueError, match="has nothing to train on"):
        data_of(train=0)


@pytest.mark.parametrize(("train", "batch_size"), [(10, 5), (10, 3), (10, 1), (7, 6)])
def test_an_epoch_takes_no_image_twice_and_leaves_out_less_than_a_batch(train, batch_size):
    data = data_of(train=train, batch_size=batch_size)
    batches = epoch(data)
    taken = Counter(row for batch in batches for row in batch)
    assert {len(batch) for batch in batches} == {batch_size}
    assert set(taken.values()) == {1}
    assert train - taken.total() < batch_size
    assert len(data.train_dataloader()) == len(batches)


def test_what_one_epoch_leaves_out_another_takes():
    data = data_of(train=10, batch_size=8)
    assert {row for number in range(20) for batch in epoch(data, number) for row in batch} == set(range(10))


def orders(seed, epochs=3):
    torch.manual_seed(seed)
    data = data_of(train=30, batch_size=10)
    torch.manual_seed(99)  # what is drawn before and between epochs has no say
    return [epoch(data, number) for number in range(epochs)]


def test_the_order_is_decided_by_the_seed_and_the_epoch_alone():
    assert orders(0) == orders(0)
    assert orders(0) != orders(1)
    first, second, third = orders(0)
    assert first != second != third != first


def test_an_epoch_gives_the_same_order_whichever_came_before():
    data = data_of(train=30, batch_size=10)
    third = epoch(data, 2)
    epoch(data, 0)
    assert epoch(data, 2) == third


def test_reading_an_epoch_draws_nothing_from_the_global_generator():
    data = data_of()
    before = torch.get_rng_state()
    epoch(data)
    list(data.val_dataloader())
    assert before.equal(torch.get_rng_state())


def test_workers_read_the_same_batches():
    torch.manual_seed(0)
    by_main = epoch(data_of(train=12, batch_size=4))
    torch.manual_seed(0)
    assert epoch(data_of(train=12, batch_size=4, workers=1)) == by_main


@pytest.mark.parametrize("split", ["train", "test"])
def test_labelled_images_come_all_and_in_order_without_augmentation(split):
    data = data_of(train=10, test=5, augmentations=[Noise()], batch_size=4)
    images, labels = (torch.cat(parts) for parts in zip(*data.labelled(split), strict=True))
    count = {"train": 10, "test": 5}[split]
    assert images.equal(numbered(count))
    assert labels.tolist() == list(range(count))


class Seen(pl.LightningModule):
    """Keeps what it is given, and draws a random number at each training step."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.trained, self.validated, self.drawn = [], [[]], []

    def training_step(self, batch, batch_idx):
        self.trained.append(batch)
        self.drawn.append(torch.rand(()).item())
        return self.weight.square()

    def validation_step(self, batch, batch_idx):
        self.validated[-1].append(batch)

    def on_validation_epoch_end(self):
        self.validated.append([])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trained(data, tmp_path, **settings):
    torch.manual_seed(0)
    module = Seen()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=3,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        **settings,
    )
    trainer.fit(module, datamodule=data)
    return module


def test_held_out_images_get_the_same_views_at_each_validation_and_trained_ones_new_views(tmp_path):
    seen = trained(TwoViews(Given(numbered(4), numbered(5)), [Noise()], batch_size=4), tmp_path)
    first, second, third, _ = seen.validated
    assert [len(x) for x, _ in first] == [4, 1]
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    torch.testing.assert_close(first, third, rtol=0, atol=0)
    noises = [x.sort(0).values - numbered(4) for x, _ in seen.trained]
    assert not noises[0].equal(noises[1])


def test_the_two_views_of_a_held_out_image_differ(tmp_path):
    seen = trained(TwoViews(Given(numbered(4), numbered(5)), [Noise()], batch_size=4), tmp_path)
    assert all(not x.equal(y) for x, y in seen.validated[0])


def test_validation_takes_nothing_from_the_generator_that_training_draws_from(tmp_path):
    def source():
        return TwoViews(Given(numbered(4), numbered(5)), [Noise()], batch_size=2)

    with_, without = trained(source(), tmp_path), trained(source(), tmp_path, limit_val_batches=0)
    assert with_.drawn == without.drawn
    torch.testing.assert_close(with_.trained, without.trained, rtol=0, atol=0)


@pytest.mark.parametrize("labels", [False, True])
def test_with_labels_each_pair_has_that_of_its_image_in_training_and_validation(tmp_path, labels):
    seen = trained(TwoViews(Given(numbered(6), numbered(5)), [], batch_size=3, labels=labels), tmp_path)
    batches = [*seen.trained, *(batch for epoch in seen.validated for batch in epoch)]
    assert {len(batch) for batch in batches} == {3 if labels else 2}
    for x, y, *told in batches:
        assert x.equal(y)
        assert all(label.equal(x[:, 0, 0, 0].long()) for label in told)


def test_the_trainer_tells_the_sampler_the_epoch(tmp_path):
    seen = trained(TwoViews(Given(numbered(6), numbered(2)), [], batch_size=3), tmp_path)
    numbers = [x[:, 0, 0, 0].int().tolist() for x, _ in seen.trained]
    by_epoch = [numbers[i : i + 2] for i in (0, 2, 4)]
    assert all(sorted(a + b) == list(range(6)) for a, b in by_epoch)
    assert by_epoch[0] != by_epoch[1] != by_epoch[2] != by_epoch[0]


def test_views_of_images_on_the_device_are_made_of_normal_numbers_too():
    data = TwoViews(Given(normal(4, 1, 2, 2), normal(4, 1, 2, 2)), [])
    data.setup("fit")
    assert data.views(normal(4, 1, 2, 2))[0].dtype == torch.float64
