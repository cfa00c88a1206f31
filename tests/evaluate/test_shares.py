"""Processes that share the images of an evaluation find together what one finds alone."""

from functools import partial

import drawn
import jax
import numpy as np
import pytest
from as_processes import as_processes

from cnn_archs.data.datasets.splits import Split
from cnn_archs.data.loading.in_memory import Resident
from cnn_archs.data.transforms import crops
from cnn_archs.distributed import mesh as meshes
from cnn_archs.distributed import multihost
from cnn_archs.errors import DataError
from cnn_archs.evaluate import evaluator, protocols, step, views
from cnn_archs.evaluate.shares import gather_probabilities, own_share, sum_over_shares
from cnn_archs.optim import losses

VARIABLES = [{"params": {"sharpness": np.float32(s)}} for s in (1.0, 3.0)]
CROP = partial(crops.create, "shorter_side", drawn.OUT, smallest=18, largest=18, evaluate=18)


def probabilities(data, protocol, *, resident=False, at_once=4):
    """Return the probabilities of all images, as `evaluate` finds them in each process."""
    net = drawn.network(CROP(), resident=resident)
    passes = views.protocol_passes(protocol, net.inputs.crop, ())
    known = {"mean": np.full((1, 1, 3), 120, np.float32)}
    own = protocols.mean_probabilities(
        net, VARIABLES, own_share(data()), passes, known, at_once, meshes.own_mesh()
    )
    return gather_probabilities(own, data())


def streamed(count, **more):
    return partial(drawn.streamed, list(drawn.pictures(count)), **more)


def check_equal(found, alone):
    np.testing.assert_allclose(found.by_network, alone.by_network, atol=1e-6)
    assert (found.labels == alone.labels).all() and (found.readable == alone.readable).all()


@pytest.mark.parametrize(
    ("protocol", "images"),
    [("ten_crop", 7), ("mirror", 2), pytest.param("dense", 7, marks=pytest.mark.slow)],
)
def test_the_probabilities_of_three_processes_are_those_of_one(protocol, images):
    """With two images, the third process has none."""
    alone = probabilities(streamed(images), protocol)
    for found in as_processes(3, lambda: probabilities(streamed(images), protocol)):
        check_equal(found, alone)


def test_images_in_memory_are_shared_too():
    same = [image[:19, :19] for image in drawn.pictures(5)]

    def work():
        return probabilities(lambda: drawn.resident(same), "mirror", resident=True)

    alone = work()
    for found in as_processes(2, work):
        check_equal(found, alone)


def sums(count):
    """Return the metrics of the first `count` images of one size, as `evaluate` finds them."""
    images = drawn.resident([image[:19, :19] for image in drawn.pictures(count)])
    net, mesh = drawn.network(crops.create("none", (19, 19)), resident=True), meshes.own_mesh()
    prepare = net.inputs.make_preprocess({"mean": np.full((1, 1, 3), 120, np.float32)})
    loss = losses.create("cross_entropy", smoothing=0.0)
    run = step.compile_eval(step.make_eval_step(net.model, loss, prepare), mesh, resident=True)
    share = own_share(images)
    own = None
    if len(share):
        assert isinstance(share, Split)
        own = evaluator.sum_metrics(run, VARIABLES[0], Resident(share, mesh), 2, mesh)
    return sum_over_shares(own, images).report()


@pytest.mark.parametrize("images", [5, 2])
def test_the_metrics_of_three_processes_are_those_of_one(images):
    alone = sums(images)
    for found in as_processes(3, lambda: sums(images)):
        assert found == pytest.approx(alone, rel=1e-6) and found["examples"] == images


@pytest.mark.parametrize("damaged", [(4,), (1, 4), (100, 103)])
def test_as_many_damaged_images_are_left_out_as_by_one_process(damaged):
    """One in a hundred of all, whatever the share of a process that they are in."""
    data = streamed(230 if max(damaged) > 5 else 7, damaged=damaged, on_corrupt="skip")
    work = partial(probabilities, data, "single", at_once=128)
    if damaged == (1, 4):  # in two shares
        for call in (work, lambda: as_processes(2, work)):
            with pytest.raises(DataError, match="2 of 7 images are damaged, more than one in 100"):
                call()
        return
    alone = work()
    assert (~alone.readable).sum() == len(damaged)
    for found in as_processes(3, work):
        check_equal(found, alone)


def test_rows_and_values_are_put_together_in_order():
    def work():
        own = multihost.local_indices(7)
        rows = multihost.gather_rows(np.stack([own, own * 2**40], 1), 7)
        items = multihost.gather_items([{"é": int(i)} for i in own], 7)
        return rows, items, multihost.sum_over_processes(np.array([2**40, jax.process_index()]))

    for rows, items, total in as_processes(3, work):
        assert rows.tolist() == [[i, i * 2**40] for i in range(7)]
        assert items == [{"é": i} for i in range(7)]
        assert total.tolist() == [3 * 2**40, 3]
