"""Robustness: what each warp does to an image, and the errors that are reported."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from cnn_archs import cli, config
from cnn_archs.evaluate import robustness, runs
from cnn_archs.evaluate.robustness import KINDS
from cnn_archs.metrics import MetricSums

MESH = jax.make_mesh((1, 1), ("data", "model"), axis_types=(AxisType.Auto,) * 2)


def warped(image, kind, amount, direction):
    return np.asarray(
        robustness.warp_images(
            image, *KINDS[kind].warp(amount, KINDS[kind].directions[direction]), MESH
        )
    )


def drawn(*pixels, size=9, value=200):
    image = np.zeros((1, size, size, 1), np.uint8)
    for row, column in pixels:
        image[0, row, column] = value
    return image


@pytest.mark.parametrize("kind", KINDS)
def test_amount_0_is_the_image_itself(kind):
    images = np.random.default_rng(0).integers(0, 256, (3, 7, 9, 3), np.uint8)
    for direction in range(len(KINDS[kind].directions)):
        np.testing.assert_array_equal(warped(images, kind, 0, direction), images)


def test_shifts_are_down_right_up_and_left():
    for direction, to in enumerate([(6, 4), (4, 6), (2, 4), (4, 2)]):
        np.testing.assert_array_equal(warped(drawn((4, 4)), "shift", 2, direction), drawn(to))


def test_what_comes_in_repeats_the_edge():
    image = np.random.default_rng(0).integers(0, 256, (1, 6, 6, 3), np.uint8)
    down = warped(image, "shift", 2, 0)
    np.testing.assert_array_equal(down[:, 2:], image[:, :4])
    np.testing.assert_array_equal(down[:, :2], np.repeat(image[:, :1], 2, axis=1))


def test_a_quarter_turn_is_counterclockwise_then_clockwise():
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 1), np.uint8)
    for direction, turns in enumerate((1, -1)):
        np.testing.assert_array_equal(
            warped(image, "rotate", 90, direction), np.rot90(image, turns, (1, 2))
        )


def test_scaling_is_up_then_down_by_as_many_times():
    square = drawn(*((r, c) for r in (3, 4, 5) for c in (3, 4, 5)))
    larger, smaller = (warped(square, "scale", 1.0, d)[0, 4, :, 0] > 50 for d in (0, 1))
    assert (larger.sum(), smaller.sum()) == (7, 1) and larger[1:8].all() and smaller[4]


def test_a_shear_moves_lower_rows_to_the_right_then_to_the_left():
    line = drawn(*((row, 4) for row in range(9)))
    for direction, sign in enumerate((1, -1)):
        expected = drawn(*((row, 4 + sign * (row - 4)) for row in range(9)))
        np.testing.assert_array_equal(warped(line, "shear", 1.0, direction), expected)


def test_the_grid_is_printed_once_with_amounts_that_grow_from_0():
    assert list(KINDS) == ["shift", "rotate", "scale", "shear"]
    for kind in KINDS.values():
        assert kind.amounts[0] == 0 and list(kind.amounts) == sorted(set(kind.amounts))


def test_errors_stand_in_the_order_of_amounts_and_seeds_and_each_direction_counts_once():
    kind = robustness.WarpKind("k", (0, 1, 2), (0.0, 1.0), lambda a, d: (a * jnp.eye(2), (d, 0.0)))

    def hits(n, of=100):
        return MetricSums(jnp.int32(of), jnp.float32(0), jnp.int32(n), jnp.int32(of))

    def counts(matrix, shifted):
        amount, direction = int(matrix[0, 0]), int(shifted[0])
        asked.append((amount, direction))
        return [hits(10 * amount + 2 * direction + seed) for seed in (0, 1)]

    asked: list[tuple[int, int]] = []
    found = robustness.measure_kind(kind, counts, [hits(50), hits(60)])
    assert asked == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert (found["amounts"], found["directions"], found["unit"]) == ([0, 1, 2], 2, "k")
    hit = [[50, 60], [11, 12], [21, 22]]
    np.testing.assert_allclose(found["top1_error"], [[1 - h / 100 for h in row] for row in hit])


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    where = tmp_path_factory.mktemp("mlp")
    quick = (
        *("--config.steps=30", "--config.seeds=2", "--config.eval_batch_size=77"),
        *("--config.model.name=mlp", "--config.schedule.learning_rate=0.03"),
    )
    assert cli.main(["train", f"--workdir={where}", *quick]) == 0
    return where


@pytest.mark.slow
def test_amount_0_has_the_plain_test_error_and_the_document_is_written(workdir, capsys):
    capsys.readouterr()
    command = ["evaluate", f"--workdir={workdir}", "--robustness"]
    assert cli.main([*command, "--format=json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((workdir / "robustness.json").read_text())
    plain = runs.evaluate_runs([workdir], "single", "test")["test"]["top1_error"]
    assert plain == json.loads((workdir / "result.json").read_text())["test"]["top1_error"]
    for name, kind in found.items():
        assert kind["top1_error"][0] == plain and len(kind["top1_error"]) == len(kind["amounts"])
        assert all(len(of_seeds) == 2 for of_seeds in kind["top1_error"])
        assert np.mean(kind["top1_error"][-1]) > np.mean(plain), name
    assert robustness.measure_robustness(workdir) == found
    for wrong in ("--protocol=mirror", "--split=train", "--precise_stats=9"):
        assert cli.main([*command, wrong]) == 2
    assert cli.main(["evaluate", f"--workdir={workdir},{workdir}", "--robustness"]) == 2


def test_images_that_differ_in_size_are_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "config.json").write_text(config.load_config("resnet_imagenette", []).to_json())
    assert cli.main(["evaluate", f"--workdir={tmp_path}", "--robustness"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the images of imagenette differ in size" in line
