"""What JSON can hold: no NumPy types, no NaN."""

import math
from typing import Any

import numpy as np

__all__ = ["as_plain"]


def as_plain(value: Any) -> Any:
    """Turn NumPy's numbers into Python's, tuples into lists, and what is not finite into None.

    Examples
    --------
    >>> as_plain({"n": np.int64(3), "residuals": (np.float32(0.5), np.nan)})
    {'n': 3, 'residuals': [0.5, None]}
    """
    if isinstance(value, dict):
        return {key: as_plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
