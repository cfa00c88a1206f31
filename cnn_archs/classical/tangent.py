"""Classify by nearest neighbors in tangent distance (LeCun et al. 1998, III.C; Simard et al. 1993).

A digit that is moved or bent a little moves along a plane in the space of images, which seven
tangent vectors span. The distance of two digits is the least distance between their planes, so that
small changes of place and form cost next to nothing.
"""

from math import isqrt

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.neighbors import NearestNeighbors

CHUNK = 5_000  # images whose tangent vectors are computed at a time
FLAT = 1e-8  # a direction that changes an image less than this, relative to the widest, is none


def nearest_by_tangents(
    train: np.ndarray,
    labels: np.ndarray,
    test: np.ndarray,
    *,
    candidates: int,
    sigma: float,
    spring: float,
) -> np.ndarray:
    """Predict the class of the training vector at the least tangent distance.

    The vectors are those of square images in gray. candidates: the number of training vectors,
    nearest by the Euclidean distance, of which the tangent distance is computed. sigma: the
    standard deviation, in pixels, of the Gaussian that smooths the images. spring: see `distances`.
    """
    smooth, bases = smoothed_and_bases(train, sigma)
    tested, tested_bases = smoothed_and_bases(test, sigma)
    finder = NearestNeighbors(n_neighbors=min(candidates, len(train)), algorithm="brute")
    found = finder.fit(smooth).kneighbors(tested, return_distance=False)
    nearest = [
        near[distances(image, basis, smooth[near], bases[near], spring).argmin()]
        for image, basis, near in zip(tested, tested_bases, found, strict=True)
    ]
    return labels[np.array(nearest)]


def smoothed_and_bases(vectors: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the smoothed images f32[N, D], and bases of their tangent planes f32[N, 7, D]."""
    parts = np.array_split(vectors, max(1, len(vectors) // CHUNK))
    pairs = [tangent_vectors(part, sigma) for part in parts]
    smooth = np.concatenate([image.astype(np.float32) for image, _ in pairs])
    return smooth, np.concatenate([basis_of(tangents).astype(np.float32) for _, tangents in pairs])


def tangent_vectors(vectors: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the smoothed images f64[N, D], and their tangent vectors f64[N, 7, D].

    They are the derivatives of an image by a shift across, a shift down, its size, a rotation, two
    shears (one of them squeezes it across while it grows downwards) and the thickness of its lines.
    Places are counted from the middle of the image, in halves of its side.
    """
    side = isqrt(vectors.shape[1])
    images = vectors.reshape(-1, side, side)
    smooth, dy, dx = (
        # Beyond 8 sigma a Gaussian is nothing to a float64; beyond the edge of the image is 0.
        gaussian_filter(images, (0, sigma, sigma), (0, *order), mode="constant", truncate=8.0)
        for order in ((0, 0), (1, 0), (0, 1))
    )
    place = (np.arange(side) - (side - 1) / 2) / (side / 2)
    y, x = place[:, None], place[None, :]
    tangents = [
        *(dx, dy, x * dx + y * dy, y * dx - x * dy),
        *(x * dx - y * dy, y * dx + x * dy, dx**2 + dy**2),
    ]
    flat = (len(images), side * side)
    return smooth.reshape(flat), np.stack([t.reshape(flat) for t in tangents], axis=1)


def basis_of(tangents: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of each plane, f64[N, 7, D], as wide as the tangent vectors.

    Where they are linearly dependent, as those of an empty image, the rows that are left are 0.
    """
    size = np.linalg.norm(tangents, axis=2, keepdims=True)
    tangents = np.divide(tangents, size, out=np.zeros_like(tangents), where=size > 0)
    lengths, turns = np.linalg.eigh(tangents @ tangents.swapaxes(1, 2))
    widest = lengths[:, -1:]
    scale = np.zeros_like(lengths)
    np.divide(1.0, np.sqrt(np.maximum(lengths, 0)), out=scale, where=lengths > FLAT * widest)
    return (turns * scale[:, None, :]).swapaxes(1, 2) @ tangents


def distances(
    image: np.ndarray,
    basis: np.ndarray,
    others: np.ndarray,
    other_bases: np.ndarray,
    spring: float,
) -> np.ndarray:
    """Return the squared tangent distances f64[C] of an image f32[D] from others f32[C, D].

    basis, other_bases: of the planes, f32[7, D] and f32[C, 7, D]. Both images move within their
    planes: the distance is the least value of |x + a P - y - b Q|^2 + spring (|a|^2 + |b|^2). The
    spring keeps the two steps a and b unique where the planes are parallel.
    """
    difference = (image - others).astype(np.float64)
    count, width = len(others), len(basis)
    along = np.empty((count, 2 * width))
    along[:, :width] = difference @ basis.T
    along[:, width:] = np.einsum("cwd,cd->cw", other_bases, difference)
    between = other_bases @ basis.T
    products = np.zeros((count, 2 * width, 2 * width))
    products[:] = (1.0 + spring) * np.eye(2 * width)
    products[:, width:, :width] = between
    products[:, :width, width:] = between.swapaxes(1, 2)
    steps = np.linalg.solve(products, along[:, :, None])[:, :, 0]
    return (difference**2).sum(1) - (along * steps).sum(1)
