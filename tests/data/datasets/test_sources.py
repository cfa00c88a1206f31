"""Datasets by name: digits, held-out images, tfds datasets of one and of several sizes, damage."""

import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tiny_dataset
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedShuffleSplit

from cnn_archs import config as configs
from cnn_archs.data.datasets import sources, splits, tfds_source
from cnn_archs.data.loading import decode
from cnn_archs.errors import ConfigError, DataError
from cnn_archs.experiment import resolve

PREPARED = Path(os.environ.get("TFDS_DATA_DIR") or "/nowhere")


def needs(name):
    there = (PREPARED / name).is_dir()
    return pytest.mark.skipif(not there, reason=f"no {name} in TFDS_DATA_DIR={PREPARED}")


def each(images):
    return [image.tobytes() for image in images]


# --- The embedded digits -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    return {split: sources.load_split("digits", split) for split in ("train", "test")}


def test_digits_are_1437_and_360_images_of_32x32(digits):
    for split, count in (("train", 1_437), ("test", 360)):
        d = digits[split]
        assert d.images.shape == (count, 32, 32, 1) and d.images.dtype == np.uint8
        assert d.labels.shape == (count,) and d.labels.dtype == np.int32
        assert len(d) == count and d.classes == tuple("0123456789")
    assert 1_437 + 360 == 1_797 == len(load_digits().target)


def test_digits_are_all_of_scikit_learns_each_once(digits):
    small, labels = load_digits(return_X_y=True)
    large = [
        np.asarray(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BILINEAR))
        for pixels in np.round(small.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
    ]
    everything = Counter(zip(each(large), labels.tolist(), strict=True))
    parts = [Counter(zip(each(d.images), d.labels.tolist(), strict=True)) for d in digits.values()]
    assert not parts[0] & parts[1]
    assert parts[0] + parts[1] == everything


def test_digits_use_the_whole_range_of_pixels(digits):
    assert digits["train"].images.min() == 0 and digits["train"].images.max() == 255


def test_the_split_of_digits_is_fixed_and_stratified(digits):
    labels = load_digits().target
    splitter = StratifiedShuffleSplit(n_splits=1, test_size=360, random_state=0)
    train, test = next(splitter.split(labels, labels))
    assert digits["train"].labels.tolist() == labels[train].tolist()
    assert digits["test"].labels.tolist() == labels[test].tolist()
    share = np.bincount(labels) * 360 / 1_797
    assert np.abs(np.bincount(digits["test"].labels) - share).max() < 1


def test_digits_have_no_other_split():
    with pytest.raises(ConfigError, match="'validation'"):
        sources.load_split("digits", "validation")


@pytest.mark.parametrize("name", ["digits"])
def test_what_is_known_of_a_dataset_is_so(name, digits):
    shape, classes = sources.dataset_spec(name)
    assert digits["train"].images.shape[1:] == shape
    assert len(digits["train"].classes) == classes == len(sources.class_names(name))


# --- Held out ----------------------------------------------------------------------------------


def numbered(per_class=(50, 30, 20)):
    """Make a split of one-pixel images, each with its own number."""
    labels = np.repeat(np.arange(len(per_class)), per_class).astype(np.int32)
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return splits.Split(images, labels, tuple("abc"))


def test_hold_out_is_stratified_and_disjoint():
    whole = numbered()
    rest, held = splits.hold_out(whole, 10)
    assert np.bincount(held.labels).tolist() == [5, 3, 2]
    assert np.bincount(rest.labels).tolist() == [45, 27, 18]
    together = np.concatenate([rest.images.reshape(-1), held.images.reshape(-1)])
    assert sorted(together.tolist()) == list(range(100))
    for part in (rest, held):
        assert (whole.labels[part.images.reshape(-1)] == part.labels).all()
        assert part.classes == whole.classes


def test_hold_out_is_always_the_same_and_at_random():
    first, second = (splits.hold_out(numbered(), 10)[1].images.reshape(-1) for _ in range(2))
    assert (first == second).all() and set(first.tolist()) != set(range(10))


@pytest.mark.parametrize("count", [-1, 1, 2, 98, 100, 1_000])
def test_hold_out_leaves_an_image_of_each_class_on_both_sides(count):
    with pytest.raises(ConfigError, match="data.holdout"):
        splits.hold_out(numbered(), count)


def test_hold_out_at_its_limits():
    for count in (3, 97):
        rest, held = splits.hold_out(numbered((34, 33, 33)), count)
        assert (len(rest), len(held)) == (100 - count, count)
        assert set(rest.labels) == set(held.labels) == {0, 1, 2}


def test_some_are_of_every_class_and_always_the_same():
    whole = numbered()
    first, second = (splits.subsample(whole, 10, "data.examples") for _ in range(2))
    assert np.bincount(first.labels).tolist() == [5, 3, 2]
    assert first.images.tolist() == second.images.tolist()
    assert splits.subsample(whole, 100, "data.examples") is whole
    for count in (-1, 2, 99, 101):
        with pytest.raises(ConfigError, match="data.examples"):
            splits.subsample(whole, count, "data.examples")


def test_fewer_training_images_leave_held_out_and_test_images_as_they_are():
    def parts(*overrides):
        found = resolve(configs.load_config("lenet5_digits", ["data.holdout=137", *overrides]))
        return found.dataset.splits(found.inputs.crop)

    whole, fewer = parts(), parts("data.examples=100")
    assert [len(whole[s]) for s in ("train", "val", "test")] == [1300, 137, 360]
    assert len(fewer["train"]) == 100
    for split in ("val", "test"):
        np.testing.assert_array_equal(whole[split].images, fewer[split].images)
    kept = {image.tobytes() for image in whole["train"].images}
    assert {image.tobytes() for image in fewer["train"].images} <= kept


def unread(i: int) -> splits.Record:
    raise AssertionError(f"image {i} is read")


def test_hold_out_of_records_is_as_that_of_a_split():
    whole = numbered()
    records = splits.Records(unread, np.arange(100), whole.labels, whole.classes)
    both = (splits.hold_out(x, 10) for x in (records, whole))
    for ours, theirs in zip(*both, strict=True):
        assert ours.index.tolist() == theirs.images.reshape(-1).tolist()
        assert ours.labels.tolist() == theirs.labels.tolist()
    unknown = splits.Records(unread, np.arange(100), None, whole.classes)
    rest, held = splits.hold_out(unknown, 10)
    assert held.labels is None and len(held) == 10
    assert sorted([*rest.index, *held.index]) == list(range(100))
    assert held.index.tolist() == splits.hold_out(unknown, 10)[1].index.tolist()


# --- Datasets of tfds, of images that differ in size -------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Prepare the datasets of tiny_dataset.py in a folder."""
    folder = tmp_path_factory.mktemp("tensorflow_datasets")
    for name in ("mixed_undivided", "mixed_unlabeled", "mixed_validated", "tiny_undivided"):
        tiny_dataset.prepare(name, folder)
    return folder


def numbers(records):
    """Return the numbers of examples: number i has an image of (20 + i) x (30 + i) pixels."""
    images = [decode.decode(records[i].encoded, "x") for i in range(len(records))]
    found = [len(image) - 20 for image in images]
    assert all(image.shape == (20 + i, 30 + i, 3) for i, image in zip(found, images, strict=True))
    assert all((image == 5 * i).all() for i, image in zip(found, images, strict=True))
    return found


def test_an_undivided_dataset_is_divided_by_class(tiny):
    """The test part is a fifth of 20 and a fifth of 10 images."""
    train, test = (sources.open_records("mixed_undivided", s, str(tiny)) for s in ("train", "test"))
    assert train.labels is not None and test.labels is not None
    assert np.bincount(train.labels).tolist() == [16, 8]
    assert np.bincount(test.labels).tolist() == [4, 2]
    assert sorted(numbers(train) + numbers(test)) == list(range(30))
    for part in (train, test):
        assert part.classes == ("zero", "ten") and part.labels is not None
        assert [part[i].label for i in range(len(part))] == part.labels.tolist()
        assert [int(i % 3 == 2) for i in numbers(part)] == part.labels.tolist()


def test_it_is_divided_alike_every_time(tiny):
    found = [numbers(sources.open_records("mixed_undivided", "test", str(tiny))) for _ in range(2)]
    assert found[0] == found[1] == sorted(found[0])


def test_one_of_equal_images_is_divided_too(tiny):
    train, test = (sources.load_split("tiny_undivided", s, str(tiny)) for s in ("train", "test"))
    assert np.bincount(train.labels).tolist() == [24, 8]
    assert np.bincount(test.labels).tolist() == [6, 2]
    assert (test.images == 10 * test.labels[:, None, None, None]).all()


def test_where_the_test_part_has_no_labels_the_validation_part_is_the_test(tiny):
    found = sources.open_records("mixed_unlabeled", "test", str(tiny))
    assert [found[i].label for i in range(len(found))] == [1, 0, 0, 1, 1]
    assert found.labels is None  # all of ImageNet would have to be read for them


@pytest.mark.parametrize("split, count", [("train", 12), ("test", 2), ("validation", 2)])
def test_where_there_is_no_test_part_the_validation_part_is_it(tiny, split, count):
    assert len(sources.open_records("mixed_validated", split, str(tiny))) == count


def test_records_have_names_to_be_found_by(tiny):
    found = sources.open_records("mixed_undivided", "train", str(tiny))
    assert found[0].name.startswith("mixed_undivided, split train, in ")
    assert found[0].name.endswith(f"example {found.index[0]}")


def test_mixed_datasets_are_described_without_their_images(tiny):
    assert sources.dataset_spec("mixed_undivided", str(tiny)) == ((0, 0, 3), 2)
    assert sources.class_names("mixed_undivided", str(tiny)) == ("zero", "ten")


def test_a_split_that_they_do_not_have_is_refused(tiny):
    with pytest.raises(ConfigError, match="has no split 'x', only train"):
        sources.open_records("mixed_undivided", "x", str(tiny))


@pytest.mark.parametrize("name", ["digits", "shapes"])
def test_what_is_drawn_or_embedded_is_not_read_one_by_one(name):
    with pytest.raises(ConfigError, match="is loaded whole"):
        sources.open_records(name, "train")


@pytest.mark.parametrize("name", sorted({*sources.DATASET_SPECS} - {*tfds_source.NOT_OF_TFDS}))
def test_what_is_known_is_what_tfds_says(name, tmp_path):
    features = tfds_source.features_of(name, tfds_source.open_builder(name, str(tmp_path)))
    h, w, c = features["image"].shape
    assert sources.DATASET_SPECS[name] == ((h or 0, w or 0, c), features["label"].num_classes)


@pytest.fixture
def cut(tiny, tmp_path):
    """Copy mixed_undivided, and return its file of records too."""
    shutil.copytree(tiny / "mixed_undivided", tmp_path / "mixed_undivided")
    (records,) = tmp_path.glob("mixed_undivided/1.0.0/*.array_record*")
    return tmp_path, records


@pytest.mark.parametrize("part", [0.0, 0.2, 0.5, 0.99])
def test_a_truncated_shard_is_noticed_before_the_first_step(cut, part):
    folder, records = cut
    whole = records.read_bytes()
    records.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(DataError, match=records.name) as e:
        sources.open_records("mixed_undivided", "train", str(folder))
    assert "\n" not in str(e.value)


def test_a_missing_shard_is_named(cut):
    folder, records = cut
    records.unlink()
    with pytest.raises(DataError, match=f"mixed_undivided is incomplete: .*{records.name}"):
        sources.open_records("mixed_undivided", "train", str(folder))


def test_overwritten_records_are_noticed_when_they_are_read(tiny, tmp_path):
    shutil.copytree(tiny / "mixed_validated", tmp_path / "mixed_validated")
    (records,) = tmp_path.glob("mixed_validated/1.0.0/*train.array_record*")
    found = sources.open_records("mixed_validated", "train", str(tmp_path))
    data = bytearray(records.read_bytes())
    data[:2_000] = bytes(2_000)
    records.write_bytes(data)
    with pytest.raises(DataError, match="damaged data: mixed_validated, split train") as e:
        for i in range(len(found)):
            found[i]
    assert "\n" not in str(e.value)


# --- Errors ------------------------------------------------------------------------------------


def test_an_unknown_name_is_one_line_with_the_nearest():
    with pytest.raises(ConfigError, match="no dataset 'mnsit'; did you mean 'mnist'") as e:
        sources.load_split("mnsit", "train")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "name, reason",
    [
        ("imdb_reviews", "is not an image-classification dataset"),
        ("cats_vs_dogs", "differ in size"),
    ],
)
def test_what_is_no_set_of_equal_images_is_refused_unread(name, reason, tmp_path):
    """A dataset whose images differ in size, such as ImageNet, is not loaded whole."""
    with pytest.raises(ConfigError, match=reason):
        sources.load_split(name, "train", str(tmp_path))


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="there is no folder .*nowhere"):
        sources.load_split("mnist", "train", str(tmp_path / "nowhere"))


def test_data_that_is_not_prepared_says_how_to_prepare_it(tmp_path):
    with pytest.raises(DataError, match="prepare it: cnn-archs prepare mnist") as e:
        sources.load_split("mnist", "train", str(tmp_path))
    assert "\n" not in str(e.value) and str(tmp_path) in str(e.value)


def test_the_known_datasets_need_no_files_to_be_described(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert sources.dataset_spec("mnist") == ((28, 28, 1), 10)
    assert sources.dataset_spec("cifar10") == ((32, 32, 3), 10)


def test_the_folder_is_the_flag_then_the_variable_then_tfds_own(monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", "/from/variable")
    assert tfds_source.tfds_dir("/from/flag") == Path("/from/flag")
    assert tfds_source.tfds_dir("") == Path("/from/variable")
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert tfds_source.tfds_dir("") == Path.home() / "tensorflow_datasets"


# --- The real thing ----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def mnist_splits():
    """Read MNIST once for all tests."""
    return {split: sources.load_split("mnist", split) for split in ("train", "test")}


@needs("mnist")
def test_mnist_is_60000_and_10000_images(mnist_splits):
    for split, count in (("train", 60_000), ("test", 10_000)):
        d = mnist_splits[split]
        assert d.images.shape == (count, 28, 28, 1) and d.images.dtype == np.uint8
        assert d.labels.shape == (count,) and d.labels.dtype == np.int32
        assert d.classes == tuple("0123456789")


@needs("mnist")
def test_mnist_has_the_published_numbers_of_each_digit(mnist_splits):
    """The counts are those of LeCun's label files."""
    train = [5_923, 6_742, 5_958, 6_131, 5_842, 5_421, 5_918, 6_265, 5_851, 5_949]
    test = [980, 1_135, 1_032, 1_010, 982, 892, 958, 1_028, 974, 1_009]
    assert np.bincount(mnist_splits["train"].labels).tolist() == train
    assert np.bincount(mnist_splits["test"].labels).tolist() == test


@needs("mnist")
def test_mnist_is_in_the_order_of_tfds(mnist_splits):
    """The labels are the first of `tfds.load("mnist")`, version 3.0.1, unshuffled."""
    assert mnist_splits["train"].labels[:10].tolist() == [4, 1, 0, 7, 8, 1, 2, 7, 1, 6]
    assert mnist_splits["test"].labels[:10].tolist() == [2, 0, 4, 8, 7, 6, 0, 6, 3, 1]


@needs("mnist")
def test_mnist_pixels_have_mean_0_1307_and_deviation_0_3081(mnist_splits):
    """These constants are commonly used to normalize MNIST."""
    pixels = np.bincount(mnist_splits["train"].images.reshape(-1), minlength=256)
    values = np.arange(256) / 255
    mean = (pixels * values).sum() / pixels.sum()
    variance = (pixels * (values - mean) ** 2).sum() / pixels.sum()
    assert mean == pytest.approx(0.1307, abs=5e-5)
    assert variance**0.5 == pytest.approx(0.3081, abs=5e-5)


@needs("mnist")
def test_images_and_labels_of_mnist_belong_together(mnist_splits):
    """A linear classifier by the nearest class mean is right for 82 % (chance: 10 %)."""
    train, test = mnist_splits["train"], mnist_splits["test"]
    means = np.stack([train.images[train.labels == k].mean(0).reshape(-1) for k in range(10)])
    x = test.images[:1_000].reshape(1_000, -1).astype(np.float64)
    nearest = (((x[:, None] - means[None]) ** 2).sum(-1)).argmin(-1)
    assert (nearest == test.labels[:1_000]).mean() > 0.75


@needs("mnist")
def test_a_split_that_the_dataset_does_not_have_is_refused():
    with pytest.raises(ConfigError, match="mnist has no split 'validation', only train, test"):
        sources.load_split("mnist", "validation")


@needs("cifar10")
def test_cifar10_is_32x32_in_color():
    test = sources.load_split("cifar10", "test")
    assert test.images.shape == (10_000, 32, 32, 3) and test.images.dtype == np.uint8
    assert np.bincount(test.labels).tolist() == [1_000] * 10
    assert test.classes[:2] == ("airplane", "automobile")
    assert sources.dataset_spec("cifar10") == (test.images.shape[1:], len(test.classes))
    assert (test.images[..., 0] != test.images[..., 2]).any()


# --- Damage ------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path):
    """Copy MNIST's test split, and return the path of its records too."""
    (source,) = (PREPARED / "mnist").iterdir()
    target = tmp_path / "mnist" / source.name
    target.mkdir(parents=True)
    for path in source.iterdir():
        if "train" not in path.name:
            shutil.copyfile(path, target / path.name)
    (records,) = target.glob("*test.array_record*")
    return tmp_path, records


@needs("mnist")
def test_missing_records_are_named(copy):
    folder, records = copy
    records.unlink()
    with pytest.raises(DataError, match=f"mnist is incomplete: .*{records.name} is missing"):
        sources.load_split("mnist", "test", str(folder))


@needs("mnist")
@pytest.mark.parametrize("part", [0.0, 0.5, 0.999])
def test_truncated_records_are_damaged_data(copy, part):
    folder, records = copy
    whole = records.read_bytes()
    records.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(DataError, match="mnist") as e:
        sources.load_split("mnist", "test", str(folder))
    assert "\n" not in str(e.value)


@needs("mnist")
def test_overwritten_records_are_damaged_data(copy):
    folder, records = copy
    data = bytearray(records.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4_096] = bytes(4_096)
    records.write_bytes(data)
    with pytest.raises(DataError, match="damaged data: mnist, split test") as e:
        sources.load_split("mnist", "test", str(folder))
    assert "\n" not in str(e.value)
