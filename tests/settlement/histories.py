"""How long the random histories are: `MODEL_SCALE=20` runs twenty times as many, other ones every time."""

import os

from hypothesis import HealthCheck, settings

SCALE = int(os.environ.get("MODEL_SCALE", "1"))


def histories(examples: int, steps: int) -> settings:
    """The same histories in every run, unless more are asked for."""
    return settings(
        max_examples=examples * SCALE,
        stateful_step_count=steps,
        derandomize=SCALE == 1,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
