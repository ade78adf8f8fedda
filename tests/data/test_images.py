import datasets
import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image

from ebm.data import Images


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    """Nothing is fetched, and nothing kept outside the folder of the test."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a dataset on disk was looked for elsewhere"))


def picture(i, size=(5, 6), mode="RGB"):
    """A picture of 5 rows and 6 columns whose pixels nothing else has."""
    pixels = np.random.default_rng(i).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def write(folder, split, pictures, image="img", label="label", **more):
    """A parquet file such as the hub's."""
    columns = {image: datasets.Image(), label: datasets.ClassLabel(names=["a", "b", "c"])}
    values = {image: pictures, label: [i % 3 for i in range(len(pictures))]}
    for name, (feature, column) in more.items():
        columns[name], values[name] = feature, column
    path = folder / f"{split}-00000-of-00001.parquet"
    folder.mkdir(exist_ok=True)
    datasets.Dataset.from_dict(values, features=datasets.Features(columns)).to_parquet(path)
    return str(folder)


@pytest.fixture
def parquet(tmp_path):
    folder = tmp_path / "parquet"
    write(folder, "train", [picture(i) for i in range(9)])
    return write(folder, "test", [picture(100 + i) for i in range(4)])


def pixels(picture):
    """What `(channels, height, width)` a picture is, between 0 and 1."""
    array = np.atleast_3d(np.asarray(picture)).transpose(2, 0, 1)
    return torch.tensor(array, dtype=torch.float32) / 255


def test_parquet_files_are_read_as_the_pictures_and_labels_that_were_written(parquet):
    for split, first, count in (("train", 0, 9), ("test", 100, 4)):
        rows = Images(parquet).load(split)
        images, labels = rows[range(len(rows))]
        assert images.equal(torch.stack([pixels(picture(first + i)) for i in range(count)]))
        assert labels.tolist() == [i % 3 for i in range(count)]


def test_a_folder_of_pictures_has_the_names_of_its_folders_as_classes(tmp_path):
    for split in ("train", "test"):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / "pets" / split / name).mkdir(parents=True)
            for i in range(2):
                picture(10 * label + i).save(tmp_path / "pets" / split / name / f"{i}.png")
    for split in ("train", "test"):
        images, labels = Images(str(tmp_path / "pets")).load(split)[[0, 1, 2, 3]]
        for image, label in zip(images, labels.tolist(), strict=True):
            assert any(image.equal(pixels(picture(10 * label + i))) for i in range(2))
        assert labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pictures_become_grey_or_rgb_as_asked(tmp_path, mode, channels):
    folder = write(tmp_path / "some", "train", [picture(i, mode=mode) for i in range(5)])
    images, _ = Images(folder, channels=channels, test_split="none").load("train")[[0, 1]]
    assert images.shape == (2, channels, 5, 6)
    if channels == 3 and mode == "L":
        assert images[:, :1].expand(-1, 3, -1, -1).equal(images)


def test_grey_is_that_of_pillow(parquet):
    images, _ = Images(parquet, channels=1).load("test")[[0]]
    assert images[0].equal(pixels(picture(100).convert("L")))


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_size_makes_pictures_square_of_that_size(parquet, in_memory):
    images, _ = Images(parquet, size=3, in_memory=in_memory).load("test")[[0, 1]]
    assert images.shape == (2, 3, 3, 3)
    assert images[1].equal(pixels(picture(101).resize((3, 3))))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_the_same_in_memory_and_read_as_it_is_asked_for(parquet, channels):
    held, read = (Images(parquet, channels=channels, in_memory=held).load("train") for held in (True, False))
    assert len(held) == len(read) == 9
    for mine, others in zip(held[[7, 2, 2]], read[[7, 2, 2]], strict=True):
        assert mine.dtype == others.dtype
        assert mine.equal(others)


def test_pictures_in_memory_take_one_byte_a_value(parquet):
    assert Images(parquet).load("train").tensors[0].dtype == torch.uint8


@pytest.mark.parametrize("in_memory", [True, False])
def test_pictures_of_different_sizes_need_a_size(tmp_path, in_memory):
    folder = write(tmp_path / "some", "train", [picture(0), picture(1, (7, 7)), picture(2), picture(3)])
    source = Images(folder, in_memory=in_memory, held_out=0.25)
    with pytest.raises(ValueError, match=r"different sizes.*set `size`"):
        source.load("train")[[0, 1, 2]]
    resized = Images(folder, in_memory=in_memory, held_out=0.25, size=4).load("train")
    assert resized[[0, 1, 2]][0].shape == (3, 3, 4, 4)


def test_the_last_of_many_pictures_may_not_be_of_another_size(tmp_path):
    folder = write(tmp_path / "some", "train", [*[picture(0, (1, 1))] * 1024, picture(1, (2, 2))])
    write(tmp_path / "some", "test", [picture(0, (1, 1))])
    with pytest.raises(ValueError, match=r"different sizes.*set `size`"):
        Images(folder).load("train")


def test_columns_are_found_by_their_type_whatever_their_names(tmp_path):
    folder = write(tmp_path / "some", "train", [picture(i) for i in range(5)], image="scan", label="diagnosis")
    images, labels = Images(folder, held_out=0.2).load("train")[[0, 1]]
    assert images.shape == (2, 3, 5, 6)
    assert labels.shape == (2,)


def test_a_label_column_of_plain_numbers_is_taken_by_its_name(tmp_path):
    folder = tmp_path / "some"
    folder.mkdir()
    features = datasets.Features({"img": datasets.Image(), "label": datasets.Value("int64")})
    rows = {"img": [picture(i) for i in range(4)], "label": [7, 8, 9, 10]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "train.parquet")
    assert Images(str(folder), held_out=0.5).load("train")[[0, 1]][1].min() >= 7


def test_of_two_columns_of_one_kind_the_one_to_use_has_to_be_named(tmp_path):
    left, right = [picture(i) for i in range(4)], [picture(50 + i) for i in range(4)]
    folder = write(tmp_path / "some", "train", left, right=(datasets.Image(), right))
    write(tmp_path / "some", "test", left, right=(datasets.Image(), right))
    with pytest.raises(ValueError, match=r"2 columns of images.*img \(Image\).*right \(Image\).*`image`"):
        Images(folder).load("train")
    assert Images(folder, image="right").load("train")[[0]][0][0].equal(pixels(right[0]))


@pytest.mark.parametrize(("setting", "what"), [("image", "images"), ("label", "labels")])
def test_data_without_a_column_of_a_kind_says_which_columns_there_are(tmp_path, setting, what):
    folder = tmp_path / "some"
    folder.mkdir()
    column = {"image": ("kind", datasets.ClassLabel(names=["a"]), [0, 0]), "label": ("img", datasets.Image(), None)}
    name, feature, values = column[setting]
    rows = {name: values or [picture(0), picture(1)], "text": ["one", "two"]}
    features = datasets.Features({name: feature, "text": datasets.Value("string")})
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "train.parquet")
    with pytest.raises(ValueError, match=rf"no column of {what}.*{name} .*text .*`{setting}`"):
        Images(str(folder)).load("train")


@pytest.mark.parametrize("setting", ["image", "label"])
def test_a_column_that_is_named_but_not_there_is_answered_with_those_that_are(parquet, setting):
    with pytest.raises(ValueError, match="no column 'pixels', only img, label"):
        Images(parquet, **{setting: "pixels"}).load("train")


@pytest.mark.parametrize("path", ["no/such-dataset", "/no/such/folder", "an_empty_folder"])
def test_a_path_where_nothing_is_says_what_could_be_given(tmp_path, monkeypatch, path):
    (tmp_path / "an_empty_folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"'{path}' could not be loaded.*Give a folder of parquet files or pictures"):
        Images(path).load("train")


def test_data_without_a_test_split_hold_out_a_share_of_the_train_split(tmp_path):
    folder = write(tmp_path / "some", "train", [picture(i) for i in range(10)])
    parts = {split: Images(folder, held_out=0.3).load(split) for split in ("train", "test")}
    assert {split: len(rows) for split, rows in parts.items()} == {"train": 7, "test": 3}
    found = [image for split in parts for image in parts[split][range(len(parts[split]))][0]]
    for i in range(10):
        assert sum(image.equal(pixels(picture(i))) for image in found) == 1
    again = Images(folder, held_out=0.3).load("test")
    assert again[range(3)][0].equal(parts["test"][range(3)][0])


def test_another_split_may_be_the_test_split(tmp_path):
    write(tmp_path / "some", "train", [picture(i) for i in range(3)])
    folder = write(tmp_path / "some", "validation", [picture(9)])
    held_out = Images(folder, test_split="validation").load("test")
    assert len(held_out) == 1
    assert held_out[[0]][0][0].equal(pixels(picture(9)))


def test_data_without_a_train_split_say_so(tmp_path):
    folder = write(tmp_path / "some", "validation", [picture(i) for i in range(3)])
    with pytest.raises(ValueError, match=r"train.*validation"):
        Images(folder).load("train")


def test_channels_that_no_picture_has_are_refused(parquet):
    with pytest.raises(ValueError, match=r"channels.*1.*3.*2"):
        Images(parquet, channels=2).load("train")
