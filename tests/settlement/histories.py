"""How many random histories: `MODEL_SCALE=20` runs twenty times as many, other ones, and shrinks what fails."""

import os

from hypothesis import HealthCheck, Phase, settings

SCALE = int(os.environ.get("MODEL_SCALE", "1"))


def histories(examples: int, steps: int) -> settings:
    """The same histories in every run, unless more are asked for."""
    return settings(
        max_examples=examples * SCALE,
        stateful_step_count=steps,
        derandomize=SCALE == 1,
        # A history of hundreds of transactions takes minutes to shrink.
        phases=[Phase.generate] if SCALE == 1 else [Phase.generate, Phase.shrink],
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
