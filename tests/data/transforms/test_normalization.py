"""Means and standard deviations in numbers, of pixels from 0 to 1, as torchvision takes them."""

import jax
import numpy as np
import pytest

from cnn_archs import cli
from cnn_archs import config as configs
from cnn_archs.data.loading.pixel_statistics import compute_statistics
from cnn_archs.errors import ConfigError
from cnn_archs.experiment_inputs import make_preprocessor
from cnn_archs.normalizations import normalization_overrides

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)).astype(np.uint8)
PIXELS = IMAGES.astype(np.float64) / 255
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NUMBERS = (f"data.mean={MEAN}", f"data.std={STD}")


def inputs(*overrides, shape=(8, 8, 3), experiment="lenet5_digits"):
    config = configs.load_config(experiment, ["crop.name=none", *overrides])
    return make_preprocessor(config, shape, resident=True)


def prepared(*overrides, images=IMAGES, **options):
    """Return the network's input; no training image is read."""
    made = inputs(*overrides, **options)
    statistics = compute_statistics(made, lambda: pytest.fail("training images are read"))
    return np.asarray(jax.jit(made.make_preprocess(statistics))(None, images))


def by_torchvision(mean, std):
    """Return what ToTensor() and Normalize(mean, std) make of the images."""
    return (PIXELS - np.array(mean)) / np.array(std)


def test_numbers_of_each_channel_are_those_of_torchvision():
    out = prepared(*NUMBERS)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, by_torchvision(MEAN, STD), atol=2e-6)


@pytest.mark.parametrize("name, mean, std", [("imagenet", MEAN, STD), ("inception", 0.5, 0.5)])
def test_names_stand_for_numbers_whatever_the_experiment_has(name, mean, std):
    out = prepared(*normalization_overrides(name), experiment="alexnet_cifar10")
    np.testing.assert_allclose(out, by_torchvision(mean, std), atol=2e-6)


def test_one_number_is_that_of_all_channels_and_of_gray():
    out = prepared(*normalization_overrides("mnist"), images=IMAGES[..., :1], shape=(8, 8, 1))
    np.testing.assert_allclose(out, by_torchvision(0.1307, 0.3081)[..., :1], atol=2e-6)


def test_caffe_is_bgr_from_0_to_255_less_the_means_of_imagenet():
    expected = IMAGES[..., ::-1].astype(np.float64) - [103.939, 116.779, 123.68]
    np.testing.assert_allclose(prepared(*normalization_overrides("caffe")), expected, atol=1e-4)


def test_none_is_pixels_from_0_to_1_in_an_experiment_that_subtracts_a_mean():
    out = prepared(*normalization_overrides("none"), experiment="vgg_cifar10")
    np.testing.assert_allclose(out, PIXELS, atol=1e-7)


def test_a_mean_alone_and_a_standard_deviation_alone_count_pixels_from_0_to_1():
    changed = "vgg_cifar10"  # whose pixel_range is (0, 4)
    out = prepared(f"data.mean={MEAN}", experiment=changed)
    np.testing.assert_allclose(out, by_torchvision(MEAN, 1), atol=1e-6)
    made = inputs("data.std=0.25", experiment=changed)
    statistics = {"mean": np.full((1, 1, 3), 51.0, np.float32)}  # of the training images
    out = jax.jit(made.make_preprocess(statistics))(None, IMAGES)
    np.testing.assert_allclose(out, by_torchvision(0.2, 0.25), atol=1e-6)


def test_the_border_of_a_crop_has_the_value_of_the_mean():
    made = inputs(*NUMBERS, "crop.name=pad", "crop.pixels=4")
    prepare = jax.jit(made.make_preprocess(compute_statistics(made, lambda: pytest.fail(""))))
    keys = [jax.random.key(i) for i in range(4)]
    corners = np.stack([prepare(key, IMAGES)[:, 0, 0] for key in keys])
    assert (corners == 0).all(-1).any()


def test_a_config_with_numbers_is_kept_and_read_again(tmp_path):
    config = configs.load_config("lenet5_digits", [*NUMBERS, "data.channel_order=rgb"])
    (tmp_path / "config.json").write_text(config.to_json())
    again = configs.read_config(tmp_path / "config.json")
    assert configs.to_plain_dict(again) == configs.to_plain_dict(config)
    assert make_preprocessor(again, (8, 8, 3), resident=True).mean == MEAN


def test_a_config_of_an_older_version_has_no_numbers(tmp_path):
    config = configs.to_plain_dict(configs.load_config("vgg_cifar10", []))
    del config["data"]["std"], config["data"]["channel_order"], config["frozen"]
    again = configs.complete_config(config)
    assert (again.data.mean, again.data.std, again.data.channel_order) == ("channel", (), "rgb")


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["data.mean=(123.68,116.78,103.94)"], "from 0 to 1 and counted so that 255 is 1"),
        (["data.std=58.4"], "more than 0 and at most 1 and counted so that 255 is 1"),
        (["data.std=(0.2,0.0,0.2)"], "data.std=(0.2,0.0,0.2): must be values (a,b,...)"),
        (["data.mean=(0.5,0.5)"], "data.mean has 2 numbers, but the images have 3 channels"),
        (["data.std=(0.5,0.5,0.5,0.5)"], "data.std has 4 numbers, but the images have 3 channels"),
        (["data.mean=()"], "data.mean=(): give a number for each channel"),
        ([*NUMBERS, "data.pixel_range=0,255"], "data.pixel_range must be (0,1)"),
        ([*NUMBERS, "standardize.name=keras"], "standardize both normalize"),
        (["data.channel_order=grb"], "data.channel_order=grb: must be rgb or bgr"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_with_their_unit(overrides, message):
    with pytest.raises(ConfigError) as e:
        inputs(*overrides)
    assert message in str(e.value)


def test_an_unknown_name_is_an_error_with_the_nearest(tmp_path, capsys):
    command = ["train", "--normalization=image_net", f"--workdir={tmp_path / 'run'}"]
    assert cli.main(command) == 2
    err = capsys.readouterr().err
    assert err == "error: --normalization: no value 'image_net'; did you mean 'imagenet'?\n"
