"""A network on the devices that an experiment asks for."""

from typing import NamedTuple

from jax.sharding import Mesh

from cnn_archs import models
from cnn_archs.distributed import mesh as meshes
from cnn_archs.errors import config_errors
from cnn_archs.experiment import Classifier, Experiment


class Placed(NamedTuple):
    """A network on its devices. layers: that are split over the mesh's "model", and by what."""

    net: Classifier
    mesh: Mesh
    layers: dict[str, str]


def placed(experiment: Experiment) -> Placed:
    """The network of `experiment` on its mesh; ConfigError where the two do not fit."""
    net, recipe = experiment.net, experiment.recipe
    mesh = meshes.create(*experiment.mesh_shape)
    key = "data.micro_batch" if recipe.micro_batch else "data.batch_size"
    meshes.check_batch(mesh, recipe.at_once, key)
    net = net._replace(model=on_devices(net.model, mesh, recipe.at_once))
    return Placed(net, mesh, split_layers(net.model, experiment.name, mesh))


def on_devices(model: models.Network, mesh: Mesh, at_once: int) -> models.Network:
    """`model` with bn_group = -1, each device's share of the images `at_once`, as a number."""
    if model.bn_group != -1:
        return model
    return model.clone(bn_group=at_once // mesh.shape["data"])


def split_layers(model: models.Network, name: str, mesh: Mesh) -> dict[str, str]:
    """The layers of `model` that are split over the mesh's "model", and by what.

    ConfigError where it has none, or one that does not split evenly.
    """
    devices = mesh.shape["model"]
    if devices == 1:
        return {}
    with config_errors(f"mesh.model={devices}, model {name}"):
        return models.split(model, devices)
