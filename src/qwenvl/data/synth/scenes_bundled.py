"""What scikit-learn bundles and scenes are made of: its handwritten digits and its two photographs."""

from __future__ import annotations

from typing import Any


def sklearn_datasets() -> Any:
    """The module `sklearn.datasets`. Raises ImportError, naming the extra, where scikit-learn is missing."""
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            "scenes need scikit-learn for its handwritten digits and photographs: pip install 'qwenvl[data]'"
        ) from error
    return datasets
