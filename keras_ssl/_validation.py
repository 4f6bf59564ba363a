"""Checks of arguments. Every message gives the name, what is expected, and what was received."""

import math
import numbers
from collections.abc import Iterable, Sequence
from typing import Any


def _is_number(value: Any) -> bool:
    # NumPy registers its numbers of any precision as `numbers.Real`, but not its booleans.
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_positive(name: str, value: Any) -> float:
    """Returns `value` as a float, or raises if it is not a finite number above zero."""
    if not _is_number(value) or value <= 0:
        raise ValueError(f"`{name}` must be a positive number. Received: {name}={value!r}")
    return float(value)


def check_non_negative(name: str, value: Any) -> float:
    """Returns `value` as a float, or raises if it is not a finite number of at least zero."""
    if not _is_number(value) or value < 0:
        raise ValueError(f"`{name}` must be zero or a positive number. Received: {name}={value!r}")
    return float(value)


def check_fraction(name: str, value: Any) -> float:
    """Returns `value` as a float, or raises if it is not in [0, 1]."""
    if not _is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"`{name}` must be a number in [0, 1]. Received: {name}={value!r}")
    return float(value)


def check_range(
    name: str, value: Sequence[float], upper: float | None = None
) -> tuple[float, float]:
    """Returns (low, high) as floats, or raises unless positive, ordered and at most `upper`."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__") or len(value) != 2:
        raise ValueError(f"`{name}` must be two numbers (low, high). Received: {name}={value!r}")
    low, high = (check_positive(name, v) for v in value)
    if low > high or (upper is not None and high > upper):
        limit = "" if upper is None else f", at most {upper}"
        raise ValueError(f"`{name}` must be (low, high), low <= high{limit}. Received: {value!r}")
    return (low, high)


def check_count(name: str, value: Any) -> int:
    """Returns `value` as an int, or raises if it is not a whole number of at least one."""
    if not _is_whole(value) or value < 1:
        raise ValueError(f"`{name}` must be a whole number above zero. Received: {name}={value!r}")
    return int(value)


def check_optional_count(name: str, value: Any) -> int | None:
    """Returns `value` as an int, or `None`, or raises if it is neither None nor at least one."""
    return None if value is None else check_count(name, value)


def check_seed(name: str, value: Any) -> int:
    """Returns `value` as an int, or raises if it is not a whole number from 0 to 2**31 - 1."""
    if not _is_whole(value) or not 0 <= value < 2**31:
        raise ValueError(
            f"`{name}` must be a whole number from 0 to 2**31 - 1. Received: {name}={value!r}"
        )
    return int(value)


def check_optional_seed(name: str, value: Any) -> int | None:
    """Returns `value` as an int, or `None`, or raises if it is neither None nor a seed."""
    return None if value is None else check_seed(name, value)


def check_choice(name: str, value: Any, choices: Iterable[str]) -> Any:
    """Returns `value`, or raises an error that lists `choices` if it is not one of them."""
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"`{name}` must be one of {known}. Received: {name}={value!r}")
    return value


def check_callable(name: str, value: Any) -> Any:
    """Returns `value`, or raises if it cannot be called."""
    if not callable(value):
        raise TypeError(f"`{name}` must be callable. Received: {name}={value!r}")
    return value
