"""Groups of series that move together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Bounds of the silhouette and what they are called, Kaufman & Rousseeuw 1990.
_STRUCTURES = ((0.7, "strong"), (0.5, "reasonable"), (0.25, "weak"))


@dataclass(frozen=True)
class Clustering:
    """Series by what they move with.

    Attributes:
        order: places of the series as the leaves of the tree, neighbours alike, shape (k,).
        labels: number of each series' cluster, from 0 in the order of the leaves, shape (k,).
        silhouette: mean over the series, -1 to 1; ``None`` when there was nothing to choose from.
    """

    order: tuple[int, ...]
    labels: tuple[int, ...]
    silhouette: float | None


def correlation_distance(matrix: Floats) -> Floats:
    """``sqrt((1 - rho) / 2)``, shape (k, k): 0 for series that move together, 1 for opposite ones.

    It is a metric. Source: Mantegna, "Hierarchical structure in financial markets", European Physical Journal
    B 11, 1999, whose distance is twice it; the scale has no bearing on the clusters.
    """
    distance = np.sqrt(np.maximum((1 - matrix) / 2, 0.0))
    np.fill_diagonal(distance, 0.0)
    return np.asarray(distance, dtype=np.float64)


def hierarchical_clusters(matrix: Floats) -> Clustering:
    """Average linkage of the distances, cut into as many clusters as have the highest mean silhouette.

    From 2 to k - 1 clusters are tried; of equal silhouettes the fewest. The leaves are ordered such that
    neighbours are as near as the tree allows.

    Args:
        matrix: a correlation matrix, shape (k, k).

    Returns:
        One cluster with a silhouette of ``None`` for fewer than 3 series, and when no cut has a positive one.

    Sources: Mantegna 1999 for the tree of distances; Sokal & Michener, "A statistical method for evaluating
    systematic relationships", University of Kansas Science Bulletin 38, 1958, for average linkage;
    Bar-Joseph, Gifford & Jaakkola, "Fast optimal leaf ordering for hierarchical clustering", Bioinformatics
    17, 2001; Rousseeuw, "Silhouettes", Journal of Computational and Applied Mathematics 20, 1987.
    """
    from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
    from scipy.spatial.distance import squareform
    from sklearn.metrics import silhouette_score

    k = len(matrix)
    if k < 3:
        return Clustering(tuple(range(k)), (0,) * k, None)
    distance = correlation_distance(matrix)
    tree = linkage(squareform(distance, checks=False), method="average", optimal_ordering=True)
    order = tuple(leaves_list(tree).tolist())
    best, labels = 0.0, np.zeros(k, dtype=np.int64)
    for count in range(2, k):
        cut = fcluster(tree, count, criterion="maxclust")
        # Of equal distances the tree may have no cut into just so many.
        if not 2 <= len(set(cut.tolist())) < k:
            continue
        score = float(silhouette_score(distance, cut, metric="precomputed"))
        if score > best + 1e-12:
            best, labels = score, cut
    return Clustering(order, _numbered(labels, order), best if best > 0 else None)


def structure(silhouette: float | None) -> str:
    """What a mean silhouette says of clusters.

    Source: Kaufman & Rousseeuw, "Finding Groups in Data", 1990, table 4: strong above 0.7, reasonable above
    0.5, weak above 0.25, else none that is substantial.
    """
    for bound, name in _STRUCTURES:
        if silhouette is not None and silhouette > bound:
            return name
    return "not substantial"


def _numbered(labels: NDArray[np.int64], order: tuple[int, ...]) -> tuple[int, ...]:
    numbers: dict[int, int] = {}
    for place in order:
        numbers.setdefault(int(labels[place]), len(numbers))
    return tuple(numbers[int(label)] for label in labels)
