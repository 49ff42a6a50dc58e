"""Dividing integers without losing one."""

from collections.abc import Mapping


def divide(amount: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Divide an amount by weights: floor, then one each to the largest remainders, ties by id in byte order.

    Nothing is divided by weights that sum to 0.
    """
    total = sum(weights.values())
    if total == 0:
        return dict.fromkeys(weights, 0)
    parts = {name: amount * weight // total for name, weight in weights.items()}
    rests = sorted(weights, key=lambda name: (-(amount * weights[name] % total), name.encode()))
    for name in rests[: amount - sum(parts.values())]:
        parts[name] += 1
    return parts
