"""scikit-learn's stratified split, without importing scikit-learn, which takes a second."""

import numpy as np


def stratified_split(labels: np.ndarray, test: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide N examples into two parts, random but fixed: indices i64[N - test] and i64[test].

    labels: i32[N]. Each class has its share of both parts, to the nearest example. The indices are
    those of `sklearn.model_selection.train_test_split(..., stratify=labels, random_state=0)`.
    """
    random = np.random.RandomState(0)
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(classes, kind="stable"), np.cumsum(counts)[:-1])
    of_train = apportion(counts, len(labels) - test, random)
    of_test = apportion(counts - of_train, test, random)
    parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for of_class, first, second in zip(members, of_train, of_test, strict=True):
        shuffled = of_class[random.permutation(len(of_class))]
        parts[0].append(shuffled[:first])
        parts[1].append(shuffled[first : first + second])
    train, tested = (random.permutation(np.concatenate(part)) for part in parts)
    return train, tested


def apportion(counts: np.ndarray, draws: int, random: np.random.RandomState) -> np.ndarray:
    """Divide `draws` examples among classes in proportion to their sizes: i64[classes].

    counts: the sizes, i64[classes]. Each share is rounded down; the missing examples go to the
    classes with the largest fractions, and ties are broken at random.
    """
    exact = counts / counts.sum() * draws
    found = np.floor(exact)
    fractions, missing = exact - found, int(draws - found.sum())
    for fraction in np.sort(np.unique(fractions))[::-1]:
        if missing == 0:
            break
        (alike,) = np.where(fractions == fraction)
        chosen = random.choice(alike, size=min(len(alike), missing), replace=False)
        found[chosen] += 1
        missing -= len(chosen)
    return found.astype(int)
