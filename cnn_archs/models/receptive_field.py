"""Receptive fields: the pixels of the input that an output of each layer sees.

They are computed from the jaxpr of a network in which each layer is one equation (`layer`), so
branches, shortcuts and concatenations need no separate description.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
from jax.extend.core import Jaxpr, Literal, Primitive

from cnn_archs.models.network import WHOLE, Window, Windows

# Replaces a layer; `row` is its row in the summary: (x, row=, shape=, dtype=) -> its output.
layer = Primitive("layer")


@layer.def_abstract_eval
def _(x, *, row, shape, dtype):
    return jax.core.ShapedArray(shape, dtype)


class Axis(NamedTuple):
    """Along one axis, output i of `outputs` sees the pixels first + i stride to last + i stride."""

    first: int
    last: int
    stride: int
    outputs: int

    def through(self, window: Window, outputs: int) -> "Axis":
        """Return the receptive field after one more layer with `window` and `outputs` outputs."""
        return Axis(
            self.first - window.before * self.stride,
            self.last + (window.size - 1 - window.before) * self.stride,
            self.stride * window.stride,
            outputs,
        )

    def join(self, other: "Axis") -> "Axis":
        """Return the receptive field of a sum or concatenation of two maps of the same stride."""
        first, last = min(self.first, other.first), max(self.last, other.last)
        return Axis(first, last, self.stride, self.outputs)


Field = tuple[Axis, Axis] | None  # down and across; None: unknown


def field_of(image: Sequence[int]) -> Field:
    """Return the field of the pixels of an image (H, W, C), each of which sees itself."""
    return Axis(0, 0, 1, image[0]), Axis(0, 0, 1, image[1])


def join(a: Field, b: Field) -> Field:
    """Return the field of a sum or concatenation; None if the strides differ."""
    if (
        a is None
        or b is None
        or [(x.stride, x.outputs) for x in a] != [(x.stride, x.outputs) for x in b]
    ):
        return None
    return a[0].join(b[0]), a[1].join(b[1])


def fields(jaxpr: Jaxpr, image: Field, windows: Sequence[Windows]) -> dict[int, Field]:
    """Return {row: receptive field of its outputs} for a jaxpr whose last argument is the image.

    windows: for each row, the windows of the layer.
    """
    found: dict[int, Field] = {}

    def walk(jaxpr: Jaxpr, arguments: Sequence[tuple[Field] | None]) -> list[tuple[Field] | None]:
        """Return (field,) for each result, None for one that does not depend on the image."""
        known = dict(zip(jaxpr.invars, arguments, strict=True))
        for e in jaxpr.eqns:
            seen = [None if isinstance(v, Literal) else known.get(v) for v in e.invars]
            inner = e.params.get("jaxpr", e.params.get("call_jaxpr"))
            inner = getattr(inner, "jaxpr", inner)
            dependent = [s for s in seen if s]
            if not dependent:
                continue
            if inner is not None and len(inner.invars) == len(seen):
                results = walk(inner, seen)
            elif e.primitive is layer:
                (field,) = dependent[0]
                found[e.params["row"]] = field = behind(
                    field, windows[e.params["row"]], e.params["shape"]
                )
                results = [(field,)]
            else:
                (field,) = dependent[0]
                for (other,) in dependent[1:]:
                    field = join(field, other)
                results = [(kept(field, getattr(v.aval, "shape", ())),) for v in e.outvars]
            known.update(zip(e.outvars, results, strict=True))
        return [None if isinstance(v, Literal) else known.get(v) for v in jaxpr.outvars]

    walk(jaxpr, [*[None] * (len(jaxpr.invars) - 1), (image,)])
    return found


def behind(field: Field, windows: Windows, shape: tuple[int, ...]) -> Field:
    """Return the field of a layer's outputs, of `shape`, from the field of its inputs."""
    if field is None or windows is None:
        return None
    counts = shape[1:3] if len(shape) == 4 else (1, 1)
    down, across = (
        a.through(Window(a.outputs - n + 1) if windows == WHOLE else w, n)
        for a, w, n in zip(field, windows, counts, strict=True)
    )
    return down, across


def kept(field: Field, shape: tuple[int, ...]) -> Field:
    """Return `field`, or None if an operation between layers changed the size of the map."""
    if field and len(shape) == 4 and shape[1:3] != (field[0].outputs, field[1].outputs):
        return None
    return field
