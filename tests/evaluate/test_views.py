"""Compare the views of each protocol with coordinates that were computed by hand."""

import pytest

from cnn_archs import config as configs
from cnn_archs.data.transforms import crops
from cnn_archs.errors import ConfigError
from cnn_archs.evaluate import views
from cnn_archs.evaluate.views import View

OUT = (224, 224)
SIZES = [(256, 341), (341, 256), (256, 256), (224, 224), (256, 1000)]
COUNTS = {  # at three test scales
    "single": 1,
    "mirror": 2,
    "ten_crop": 10,
    "ten_crop_whole": 10,
    "grid_50": 50,
    "grid_150": 150,
    "grid_144": 144,
    "dense": 2,
    "multi_scale": 6,
    "dense+grid_150": 156,
}


def crop_of(experiment, *overrides):
    """Return (crop, test_scales) of an experiment."""
    config = configs.load_config(experiment, list(overrides))
    out = tuple(config.data.image_shape)[:2]
    return crops.create(out=out if all(out) else (32, 32), **config.crop), config.test_scales


def corners(layout, height, width, out=OUT):
    return [(v.top, v.left) for v in layout(height, width, out)]


def test_ten_crops_are_of_the_central_square():
    """341 - 256 = 85 pixels are left over, 42 of them on the left; 256 - 224 = 32."""
    square = [(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)]
    assert corners(views.corner_and_center_views, 256, 256) == square
    assert corners(views.corner_and_center_views, 256, 341) == [(y, x + 42) for y, x in square]
    assert corners(views.corner_and_center_views, 341, 256) == [(y + 42, x) for y, x in square]


def test_ten_crops_of_the_whole_image_lie_in_its_corners():
    """341 - 224 = 117, whose half is 58.5, to even; 256 - 224 = 32."""
    layout = views.whole_corner_and_center_views
    assert corners(layout, 256, 256) == corners(views.corner_and_center_views, 256, 256)
    assert corners(layout, 256, 341) == [(0, 0), (0, 117), (32, 0), (32, 117), (16, 58)]
    assert corners(layout, 341, 256) == [(0, 0), (0, 32), (117, 0), (117, 32), (58, 16)]


def test_the_grid_is_regular_and_spans_the_whole_image():
    """341 - 224 = 117: 0, 29.25, 58.5, 87.75, 117, rounded, a half to even."""
    rows, columns = (0, 8, 16, 24, 32), (0, 29, 58, 88, 117)
    assert corners(views.grid_views, 256, 341) == [(y, x) for y in rows for x in columns]
    assert corners(views.grid_views, 341, 256) == [(y, x) for y in columns for x in rows]
    assert corners(views.grid_views, 224, 224) == [(0, 0)] * 25


@pytest.mark.parametrize(
    "size, starts",
    [
        ((256, 341), [(0, 0), (0, 42), (0, 85)]),
        ((341, 256), [(0, 0), (42, 0), (85, 0)]),
        ((256, 256), [(0, 0), (0, 0), (0, 0)]),
    ],
)
def test_three_squares_with_five_crops_and_themselves(
    size: tuple[int, int], starts: list[tuple[int, int]]
) -> None:
    found = views.three_squares_views(*size, OUT)
    for i, (top, left) in enumerate(starts):
        *small, square = found[6 * i : 6 * i + 6]
        assert square == View(top, left, 256, 256)
        of_square = [(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)]
        assert small == [View(top + y, left + x, 224, 224) for y, x in of_square]


def test_the_middle_and_the_whole():
    assert views.center_view(256, 341, OUT) == [View(16, 58, 224, 224)]  # 58.5, to even
    assert views.whole_view(256, 341, OUT) == [View(0, 0, 256, 341)]


@pytest.mark.parametrize("protocol", [p for p in views.PROTOCOLS if p != "single"])
@pytest.mark.parametrize("size", SIZES)
def test_half_of_the_views_are_the_others_mirrored(protocol: str, size: tuple[int, int]) -> None:
    crop, _ = crop_of("vgg_imagenet:D_jitter")
    for one in views.protocol_passes(protocol, crop, ()):
        found = one.layout(*size, OUT)
        half = len(found) // 2
        assert not any(view.mirrored for view in found[:half])
        assert found[half:] == [view._replace(mirrored=True) for view in found[:half]]


@pytest.mark.parametrize("protocol", views.PROTOCOLS)
@pytest.mark.parametrize("size", SIZES)
def test_every_view_is_inside_the_image_and_of_a_size_that_is_expected(
    protocol: str, size: tuple[int, int]
) -> None:
    crop, _ = crop_of("vgg_imagenet:D_jitter")
    sizes = {OUT, (min(size),) * 2} if protocol == "grid_144" else {OUT}
    for one in views.protocol_passes(protocol, crop, ()):
        for v in one.layout(*size, OUT):
            assert v.top >= 0 and v.left >= 0
            assert v.top + v.height <= size[0] and v.left + v.width <= size[1]
            assert (v.height, v.width) in ({size} if one.dense else sizes)


@pytest.mark.parametrize("protocol", views.PROTOCOLS)
@pytest.mark.parametrize("experiment", ["vgg_imagenet:D_jitter", "alexnet_imagenet"])
def test_the_number_of_views_and_their_shares(protocol, experiment):
    crop, test_scales = crop_of(experiment)
    found = views.protocol_passes(protocol, crop, test_scales)
    assert views.count_views(found, crop.out) == COUNTS[protocol]
    assert sum(one.share for one in found) == pytest.approx(1)


def test_dense_and_crops_have_equal_shares():
    crop, test_scales = crop_of("resnet_imagenet:50")
    found = views.protocol_passes("dense+grid_150", crop, test_scales)
    dense = [one.share for one in found if one.dense]
    assert dense == pytest.approx([0.1] * 5)
    assert [one.share for one in found if not one.dense] == pytest.approx([1 / 6] * 3)


@pytest.mark.parametrize(
    "experiment, one, three, several, googlenet",
    [
        # VGG, section 4.2: S - 32, S, S + 32; for S in [256, 512] its ends and middle
        ("vgg_imagenet:D", 256, (224, 256, 288), (224, 256, 288), (256, 288, 320, 352)),
        ("vgg_imagenet:D_384", 384, (352, 384, 416), (352, 384, 416), (256, 288, 320, 352)),
        ("vgg_imagenet:D_jitter", 384, (256, 384, 512), (256, 384, 512), (256, 288, 320, 352)),
        # ResNet, section 3.4: five scales; crops at VGG's three
        (
            *("resnet_imagenet:50", 256, (256, 368, 480)),
            *((224, 256, 384, 480, 640), (256, 288, 320, 352)),
        ),
        # ours: 7/8, 1, 9/8 of 256, no less than is seen
        ("googlenet_imagenet", 256, (224, 256, 288), (224, 256, 288), (256, 288, 320, 352)),
        ("alexnet_imagenet", 256, (227, 256, 288), (227, 256, 288), (259, 292, 324, 357)),
        # 32x32: 256/224, 288/224, ... of it; 8/7 of 32 is 37
        ("resnet_cifar10", 37, (32, 37, 42), (32, 37, 42), (37, 41, 46, 50)),
    ],
)
def test_scales(experiment, one, three, several, googlenet):
    found = views.choose_scales(*crop_of(experiment))
    assert found == views.Scales(one, one, three, several, googlenet)


def test_three_scales_of_the_config_are_for_crops_too():
    crop, _ = crop_of("resnet_imagenet:50")
    found = views.choose_scales(crop, (256, 384, 512))
    assert found.three == found.multiple == (256, 384, 512)


def test_ten_crops_of_a_warped_image_are_of_all_of_it():
    crop = crops.create("square", OUT, side=256, resize="warp")
    assert views.protocol_passes("ten_crop", crop, ())[0].scale == 0
    assert views.protocol_passes("grid_50", crop, ())[0].scale == 256


@pytest.mark.parametrize("scales", ["(256.5,)", "(0,)", "(256,-1)"])
def test_a_scale_that_is_no_number_of_pixels_is_refused(scales):
    with pytest.raises(ConfigError, match="test_scales"):
        crop_of("vgg_imagenet:D", f"test_scales={scales}")


def test_a_scale_at_which_no_crop_fits_is_refused():
    crop, _ = crop_of("vgg_imagenet:D")
    with pytest.raises(ConfigError, match="grid_150.*224x224.*192.*test_scales"):
        views.protocol_passes("grid_150", crop, (192, 256, 384))
    assert views.protocol_passes("multi_scale", crop, (192, 256, 384))[0].scale == 192
