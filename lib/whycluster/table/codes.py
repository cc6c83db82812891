"""Numbers that are no amounts: 999 among ages, -1 among durations.

What gives them away is the gap between them and all other values. A distance in standard deviations
would not: codes in more than a few rows stretch the deviation by which they are measured.
"""

import re
from dataclasses import dataclass

import numpy as np

from whycluster.contract.wording import as_text

FEW = 10  # different other values, below which a value that only stands apart is not pointed at
_CODE = re.compile(r"-?(9+[5-9]|8{2,}|7{2,}|9+\.9+|9{2,}\.0)|-[1-9]")
_LIMITS = {-32768.0, 32767.0, 65535.0, 2147483647.0, -2147483648.0, 4294967295.0}


@dataclass(frozen=True)
class Codes:
    """Numbers that seem to mean "no value".

    Parameters
    ----------
    certain : tuple of float
        They are written as codes are, occur again and again, and lie further from all other values
        than these are apart.
    probable : tuple of float
        Some of this holds.
    """

    certain: tuple[float, ...] = ()
    probable: tuple[float, ...] = ()


def find_codes(numbers: np.ndarray) -> Codes:
    """Look for codes among amounts.

    Parameters
    ----------
    numbers : ndarray of shape (n_rows,)
        NaN is passed over.

    Examples
    --------
    >>> find_codes(np.array([-999.0, 31, 45, 27, 60, -999, 38])).certain
    (-999.0,)
    """
    different, counts = np.unique(numbers[~np.isnan(numbers)], return_counts=True)
    looks = np.array([_looks_like_code(value) for value in different], dtype=bool)
    others = different[~looks]
    if len(others) < 2:
        return Codes()
    is_apart, is_odd = _stand_out(different, others)
    certain = looks & is_apart & (counts > 1) & (np.abs(different) > 9)
    often = (counts > 1) & (len(others) >= FEW)
    probable = ~certain & ((looks & is_apart) | (looks & is_odd & often) | _lone(different, often))
    return Codes(tuple(different[certain].tolist()), tuple(different[probable].tolist()))


def _looks_like_code(value):
    return bool(_CODE.fullmatch(as_text(value))) or float(value) in _LIMITS


def _stand_out(different, others):
    """Return which values are further from the others than these span, and which negatives are odd.

    One or two negative numbers are odd where all others are not below zero.
    """
    low, high = others[0], others[-1]
    gap = np.maximum(low - different, different - high)
    is_odd = (different < 0) & (low >= 0) & ((different < 0).sum() <= 2)
    return gap > high - low, is_odd


def _lone(different, often):
    """Return whether the smallest and the largest value are repeated and far from all others."""
    is_lone = np.zeros(len(different), dtype=bool)
    if len(different) > FEW:
        gaps = np.diff(different)
        is_lone[0] = gaps[0] > different[-1] - different[1]
        is_lone[-1] = gaps[-1] > different[-2] - different[0]
    return is_lone & often
