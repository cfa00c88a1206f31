"""Places a network on the devices that an experiment asks for."""

from typing import NamedTuple

from jax.sharding import Mesh

from cnn_archs import models
from cnn_archs.distributed import mesh as meshes
from cnn_archs.errors import config_errors
from cnn_archs.experiment import Classifier, Experiment


class PlacedModel(NamedTuple):
    """A network and the mesh of its devices.

    split_layers: {name: "outputs" or "inputs"} of the layers that are split over the mesh axis
    "model", and the axis of the kernel that is split.
    """

    net: Classifier
    mesh: Mesh
    split_layers: dict[str, str]


def place_model(experiment: Experiment) -> PlacedModel:
    """Return the network of `experiment` on its mesh. Raises ConfigError if the two do not fit."""
    net, recipe = experiment.net, experiment.recipe
    mesh = meshes.make_mesh(*experiment.mesh_shape)
    key = "data.micro_batch" if recipe.micro_batch else "data.batch_size"
    meshes.check_divisible(mesh, recipe.micro_batch_size, key)
    if net.model.bn_group == -1:
        model = net.model.clone(bn_group=recipe.micro_batch_size // mesh.shape["data"])
        with config_errors(f"model {experiment.name}"):
            models.check_batch_statistics(model, net.image_shape, model.bn_group)
        net = net._replace(model=model)
    return PlacedModel(net, mesh, model_parallel_layers(net.model, experiment.name, mesh))


def model_parallel_layers(model: models.Network, name: str, mesh: Mesh) -> dict[str, str]:
    """Return the layers of `model` that are split over the mesh axis "model"; see PlacedModel.

    name: of the model, for error messages. Raises ConfigError if there are several devices along
    that axis, and the model has no layers to split, or layers that do not split evenly.
    """
    devices = mesh.shape["model"]
    if devices == 1:
        return {}
    with config_errors(f"mesh.model={devices}, model {name}"):
        return models.split(model, devices)
