"""How many different pictures a set really holds."""

from __future__ import annotations

import numpy as np


def vendi_score(features: np.ndarray) -> float:
    """Effective number of different rows among features (N, D): 1 if all are alike, N if all are orthogonal.

    The exponential of the entropy of the eigenvalues of the cosine similarities' matrix, divided by N (Friedman and
    Dieng 2023).
    """
    if not len(features):
        return 0.0
    rows = features.astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    powers = np.linalg.svd(rows, compute_uv=False) ** 2 / len(rows)
    kept = powers[powers > 1e-12]
    return float(np.exp(-(kept * np.log(kept)).sum()))
