"""Products and inverses of 3×3 matrices for compiled loops.

numba compiles the linear algebra of numpy in seconds; these loops take a fraction of one.
"""

from __future__ import annotations

import numpy as np

from aiida_goectp.core.crystals.compiled.cache import compiled

__all__ = (
    'determinant',
    'face_distances',
    'inverse',
    'orthogonal_factors',
    'product',
    'product_transposed',
    'square_root',
)


@compiled()
def determinant(m: np.ndarray) -> float:  # pragma: no cover - compiled
    """Return the determinant."""
    return (
        m[0, 0] * (m[1, 1] * m[2, 2] - m[1, 2] * m[2, 1])
        - m[0, 1] * (m[1, 0] * m[2, 2] - m[1, 2] * m[2, 0])
        + m[0, 2] * (m[1, 0] * m[2, 1] - m[1, 1] * m[2, 0])
    )


@compiled()
def inverse(m: np.ndarray) -> np.ndarray:  # pragma: no cover - compiled
    """Return the inverse, by cofactors."""
    volume, result = determinant(m), np.empty((3, 3))
    for i in range(3):
        a, b = (i + 1) % 3, (i + 2) % 3
        for j in range(3):
            c, d = (j + 1) % 3, (j + 2) % 3
            result[j, i] = (m[a, c] * m[b, d] - m[a, d] * m[b, c]) / volume
    return result


@compiled()
def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:  # pragma: no cover - compiled
    """Return the matrix product, (n, 3) @ (3, 3)."""
    result = np.zeros((len(a), 3))
    for i in range(len(a)):
        for j in range(3):
            for k in range(3):
                result[i, j] += a[i, k] * b[k, j]
    return result


@compiled()
def product_transposed(a: np.ndarray, b: np.ndarray) -> np.ndarray:  # pragma: no cover - compiled
    """Return the product with the transpose, (n, 3) @ (3, 3).T."""
    result = np.zeros((len(a), 3))
    for i in range(len(a)):
        for j in range(3):
            for k in range(3):
                result[i, j] += a[i, k] * b[j, k]
    return result


@compiled()
def square_root(m: np.ndarray) -> np.ndarray:  # pragma: no cover - compiled
    """Return the square root of a symmetric positive definite matrix.

    Iteration of Denman and Beavers (Applied Mathematics and Computation 2, 63 (1976)), which converges quadratically.
    """
    root, other = np.empty((3, 3)), np.zeros((3, 3))
    for i in range(3):
        other[i, i] = 1.0
        for j in range(3):
            root[i, j] = (m[i, j] + m[j, i]) / 2
    for _ in range(50):
        first, second, change = inverse(root), inverse(other), 0.0
        for i in range(3):
            for j in range(3):
                new = (root[i, j] + second[i, j]) / 2
                change = max(change, abs(new - root[i, j]))
                root[i, j], other[i, j] = new, (other[i, j] + first[i, j]) / 2
        if change < 1e-15:
            break
    return root


@compiled()
def orthogonal_factors(matrices: np.ndarray) -> np.ndarray:  # pragma: no cover - compiled
    """Return the orthogonal factor of the polar decomposition of each matrix, (n, 3, 3); none may be singular.

    Scaled Newton iteration (N. J. Higham, SIAM J. Sci. Stat. Comput. 7, 1160 (1986)), which converges quadratically.
    """
    result = matrices.copy()
    for place in range(len(result)):
        x = result[place]
        for _ in range(50):
            back, change = inverse(x), 0.0
            scale = np.sqrt(np.sqrt(np.square(back).sum() / np.square(x).sum()))
            for i in range(3):
                for j in range(3):
                    new = (scale * x[i, j] + back[j, i] / scale) / 2
                    change = max(change, abs(new - x[i, j]))
                    x[i, j] = new
            if change < 1e-15:
                break
    return result


@compiled()
def face_distances(lattice: np.ndarray) -> np.ndarray:  # pragma: no cover - compiled
    """Return the distances of opposite faces of a cell with rows a, b, c, (3,)."""
    back, result = inverse(lattice), np.empty(3)
    for x in range(3):
        result[x] = 1 / np.sqrt(back[0, x] ** 2 + back[1, x] ** 2 + back[2, x] ** 2)
    return result
