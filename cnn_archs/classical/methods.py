"""The classifiers without gradient descent of LeCun et al. 1998, section III.C, in numpy.

Each function takes training vectors f64[N, D] with labels i32[N] and test vectors f64[M, D], and
returns the predicted labels i32[M]. Labels are 0, 1, ..., K - 1. Linear systems are solved by least
squares for targets of +1 for a unit's own class and -1 for the others.
"""

from collections.abc import Callable
from itertools import combinations
from math import isqrt

import numpy as np
from sklearn.cluster import KMeans
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.svm import SVC

from cnn_archs.classical.tangent import nearest_by_tangents

Predict = Callable[..., np.ndarray]


def linear(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Predict the class whose weighted sum, with a bias, is largest."""
    return with_bias(test).dot(solve(with_bias(train), one_of(labels))).argmax(1)


def pairwise(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Train one linear unit for each pair of classes, and let the units add up to scores.

    Unit i/j has the target +1 for class i and -1 for class j, and does not see the other classes.
    Its output is squashed, f(a) = 1.7159 tanh(2 a / 3), since it can be far from +-1 for a class
    that it was not trained on. The score of class i is the sum of the units i/x minus that of the
    units x/i.
    """
    inputs = with_bias(test)
    scores = np.zeros((len(test), labels.max() + 1))
    for i, j in combinations(range(scores.shape[1]), 2):
        of_pair = (labels == i) | (labels == j)
        targets = np.where(labels[of_pair] == i, 1.0, -1.0)
        unit = 1.7159 * np.tanh(2 / 3 * inputs.dot(solve(with_bias(train[of_pair]), targets)))
        scores[:, i] += unit
        scores[:, j] -= unit
    return scores.argmax(1)


def nearest(train: np.ndarray, labels: np.ndarray, test: np.ndarray, *, k: int) -> np.ndarray:
    """Predict the most frequent class of the `k` training vectors at the least distance.

    Of classes that are equally frequent the smallest label wins.
    """
    neighbors = KNeighborsClassifier(n_neighbors=k, algorithm="brute")
    return neighbors.fit(train.astype(np.float32), labels).predict(test.astype(np.float32))


def pca_quadratic(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, *, components: int
) -> np.ndarray:
    """Classify the products of all pairs of principal components with a linear classifier.

    40 components have 820 products, squares included; the bias makes 821 inputs.
    """
    mean = train.mean(0)
    centered = train - mean
    _, axes = np.linalg.eigh(centered.T.dot(centered))  # in increasing order of the variance
    axes = axes[:, -components:]
    return linear(products(centered.dot(axes)), labels, products((test - mean).dot(axes)))


def products(x: np.ndarray) -> np.ndarray:
    """Return the products of all pairs of columns of f64[N, C]: f64[N, C (C + 1) / 2]."""
    rows, columns = np.triu_indices(x.shape[1])
    return x[:, rows] * x[:, columns]


def rbf(
    train: np.ndarray,
    labels: np.ndarray,
    test: np.ndarray,
    *,
    units: int,
    width: float,
    ridge: float,
    seed: int,
) -> np.ndarray:
    """Classify the responses of Gaussian units with a linear classifier.

    units: for each class; their centers are those of k-means on its training vectors, started with
    random numbers of `seed`. A unit responds with exp(-d^2 / (2 width s^2)) at distance d, where
    s^2 is the mean of d^2 over all vectors of its class and their nearest centers. ridge: added to
    the diagonal of the normal equations for each training vector.
    """
    found, scales = [], []
    for label in range(labels.max() + 1):
        own = train[labels == label]
        means = KMeans(units, n_init=1, random_state=seed).fit(own)
        found.append(means.cluster_centers_)
        scales += [means.inertia_ / len(own)] * units
    centers, scale = np.concatenate(found), 2 * width * np.array(scales)

    def respond(x: np.ndarray) -> np.ndarray:
        squares = (x**2).sum(1)[:, None] - 2 * x.dot(centers.T) + (centers**2).sum(1)
        return with_bias(np.exp(-squares / scale))

    inputs = respond(train)
    normal = inputs.T.dot(inputs) + ridge * len(train) * np.eye(inputs.shape[1])
    weights = np.linalg.solve(normal, inputs.T.dot(one_of(labels)))
    return respond(test).dot(weights).argmax(1)


def local_linear(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, *, k: int, ridge: float
) -> np.ndarray:
    """Train a linear classifier for each test vector, on the `k` training vectors nearest to it.

    ridge: the weight decay, which is added to the variance of each input. The bias does not decay.
    (Bottou & Vapnik 1992.)
    """
    targets = one_of(labels)
    finder = NearestNeighbors(n_neighbors=min(k, len(train)), algorithm="brute").fit(train)
    predicted = []
    for x, near in zip(test, finder.kneighbors(test, return_distance=False), strict=True):
        inputs, wanted = train[near], targets[near]
        middle, mean = inputs.mean(0), wanted.mean(0)
        centered = inputs - middle
        normal = centered.T.dot(centered) + ridge * len(near) * np.eye(len(x))
        weights = np.linalg.solve(normal, centered.T.dot(wanted - mean))
        predicted.append((mean + (x - middle).dot(weights)).argmax())
    return np.array(predicted)


def polynomial_svm(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, *, degree: int, penalty: float
) -> np.ndarray:
    """Predict with support vector machines of kernel (1 + x y / s)^degree, one for each pair.

    s: the number of inputs times the variance of all of them. penalty: the constant C of the
    errors in training.
    """
    return polynomial_machine(degree, penalty).fit(train, labels).predict(test)


def virtual_svm(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, *, degree: int, penalty: float
) -> np.ndarray:
    """Train machines as `polynomial_svm` does, then again on their support vectors, moved too.

    The vectors are those of square images. The second machines are trained on each support vector
    of the first, and on what it is after a shift by one pixel up, down, to the left and to the
    right. degree, penalty: of the first and the second machines.
    """
    first = polynomial_machine(degree, penalty).fit(train, labels)
    own, of_own = train[first.support_], labels[first.support_]
    moved = [shifted(own, *by) for by in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))]
    second = polynomial_machine(degree, penalty)
    return second.fit(np.concatenate(moved), np.tile(of_own, len(moved))).predict(test)


def polynomial_machine(degree: int, penalty: float) -> SVC:
    """Return the untrained machines of `polynomial_svm`."""
    return SVC(C=penalty, kernel="poly", degree=degree, gamma="scale", coef0=1.0, cache_size=2000)


def shifted(vectors: np.ndarray, down: int, right: int) -> np.ndarray:
    """Move the square images f64[N, D] by whole pixels, at most one; 0 comes in at the edge."""
    side = isqrt(vectors.shape[1])
    wide = np.pad(vectors.reshape(-1, side, side), ((0, 0), (1, 1), (1, 1)))
    cut = wide[:, 1 - down : 1 - down + side, 1 - right : 1 - right + side]
    return cut.reshape(len(vectors), -1)


def with_bias(x: np.ndarray) -> np.ndarray:
    """Append a column of ones to f64[N, D]."""
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def one_of(labels: np.ndarray) -> np.ndarray:
    """Return the targets f64[N, K]: 1 in the column of the label, -1 in the others."""
    return 2.0 * np.eye(labels.max() + 1)[labels] - 1.0


def solve(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the weights of least square error; of several the smallest, as by a pseudo-inverse.

    They come from the normal equations. Directions in which the inputs vary less than 1e-10 times
    as much as in the widest one (pixels that are always 0) get no weight.
    """
    inverse = np.linalg.pinv(inputs.T.dot(inputs), rcond=1e-10, hermitian=True)
    return inverse.dot(inputs.T.dot(targets))


METHODS: dict[str, Predict] = {
    "linear": linear,
    "pairwise": pairwise,
    "nearest": nearest,
    "pca_quadratic": pca_quadratic,
    "rbf": rbf,
    "nearest_by_tangents": nearest_by_tangents,
    "local_linear": local_linear,
    "polynomial_svm": polynomial_svm,
    "virtual_svm": virtual_svm,
}
OF_SQUARES: frozenset[str] = frozenset({"nearest_by_tangents", "virtual_svm"})  # with one channel
