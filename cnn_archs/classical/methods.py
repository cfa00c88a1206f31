"""The classifiers without gradient descent of LeCun et al. 1998, section III.C, in numpy.

Each function takes training vectors f64[N, D] with labels i32[N] and test vectors f64[M, D], and
returns the predicted labels i32[M]. Labels are 0, 1, ..., K - 1. Linear systems are solved by least
squares for targets of +1 for a unit's own class and -1 for the others.
"""

from collections.abc import Callable
from itertools import combinations

import numpy as np
from sklearn.cluster import KMeans
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

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


def polynomial_svm(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, *, degree: int, penalty: float
) -> np.ndarray:
    """Predict with support vector machines of kernel (1 + x y / s)^degree, one for each pair.

    s: the number of inputs times the variance of all of them. penalty: the constant C of the
    errors in training.
    """
    machine = SVC(
        C=penalty, kernel="poly", degree=degree, gamma="scale", coef0=1.0, cache_size=2000
    )
    return machine.fit(train, labels).predict(test)


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
    "polynomial_svm": polynomial_svm,
}
