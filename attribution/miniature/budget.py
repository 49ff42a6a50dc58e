"""The wall-clock budget of a training run and the part of it that each stage may use."""

import time
from collections.abc import Iterator


class Budget:
    """A number of minutes from now on, shared by stages that each end at a stated fraction of it."""

    def __init__(self, minutes: float) -> None:
        self.seconds = 60 * minutes
        self._start = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the budget began."""
        return time.monotonic() - self._start

    def steps_until(self, fraction: float) -> Iterator[tuple[int, float]]:
        """Step numbers with the stage's progress 0..1, until `fraction` of the whole budget is used up."""
        begin, end = self.elapsed, self.seconds * fraction
        step = 0
        while (now := self.elapsed) < end:
            yield step, (now - begin) / (end - begin)
            step += 1

    def log(self, *what: object) -> None:
        """One line of progress, stamped with the seconds used."""
        print(f"[{self.elapsed:6.0f} s]", *what, flush=True)
