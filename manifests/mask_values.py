"""Which pixels of a mask are lesion, whatever values its author gave them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manifests.errors import BadInput

if TYPE_CHECKING:
    import numpy as np

SOFT_EDGE = 0.05
"""The largest share of a mask's pixels that may be neither dark nor bright: what resampling and JPEG make of edges."""


class MaskValues(BadInput):
    """A picture whose values do not tell lesion from skin."""


def lesion_of(values: np.ndarray, name: str) -> np.ndarray:
    """bool (H, W) of the values (H, W) of a mask.

    Of two values the greater is lesion; a single one is lesion unless it is 0. Among more, the brighter half is, where
    hardly any pixel lies between dark and bright: labels of several classes and photographs raise MaskValues.
    """
    import numpy as np

    low, high = values.min(), values.max()
    if low == high:
        return np.full(values.shape, high > 0)
    if ((values == low) | (values == high)).all():
        return values == high
    top = 255 if values.dtype == np.uint8 else _brightest(float(high))
    between = float(((values > top / 4) & (values < top * 3 / 4)).mean())
    if between > SOFT_EDGE or low > top / 4 or high < top * 3 / 4:
        raise MaskValues(
            f"{name} has more than two values, from {low:g} to {high:g}, which do not tell lesion from skin; save it "
            "with 0 and 255"
        )
    return values > top / 2


def _brightest(high: float) -> float:
    """What stands for white among values that go up to `high`."""
    return next((top for top in (1.0, 255.0) if high <= top), 65535.0)
