"""The random source of the services. It spreads load and hides nothing, so the fast generator will do."""

from __future__ import annotations

import random


def fraction() -> float:
    """A number in [0, 1)."""
    return random.random()  # noqa: S311
