import pytest
import torch
from conftest import normal
from torch.utils.data import TensorDataset

from ebm.data import Points, Source, TwoMoons


class Given(Source):
    """Rows that the test made."""

    def __init__(self, rows):
        self.rows = rows

    def load(self, split):
        return TensorDataset(self.rows, torch.arange(len(self.rows)))


def test_y_is_the_rows_and_x_has_as_many_without_features():
    rows = normal(7, 3)
    x, y = Points(Given(rows)).pairs(rows)
    assert torch.equal(y, rows)
    assert (x.shape, x.dtype) == ((7, 0), rows.dtype)


def test_an_epoch_has_each_row_once_in_an_order_that_the_seed_decides():
    def epoch(seed):
        torch.manual_seed(seed)
        data = Points(TwoMoons(train=64), batch_size=16)
        data.setup("fit")
        return torch.cat([batch[0] for batch in data.train_dataloader()])

    rows = TwoMoons(train=64).load("train").tensors[0]
    assert torch.equal(epoch(0), epoch(0))
    assert not torch.equal(epoch(0), epoch(1))
    assert torch.equal(epoch(0).unique(dim=0), rows.unique(dim=0))


@pytest.mark.parametrize(
    "rows",
    [normal(5, 1, 2, 2), normal(5), torch.zeros(5, 2, dtype=torch.long), torch.full((5, 2), torch.nan)],
    ids=["images", "single numbers", "integers", "not numbers"],
)
def test_what_is_no_point_is_refused(rows):
    with pytest.raises(ValueError, match=r"must give finite points \(batch, features\) of floating point"):
        Points(Given(rows)).setup("fit")
