"""What became of an imported file: how many lines went in, and each that did not, with its number and why."""

from collections import Counter
from collections.abc import Sequence

from attribution.image_file import BadLine
from attribution.ingest import Outcome, Status
from cli.screen import show, table


def report(what: str, numbers: Sequence[int], outcomes: Sequence[Outcome], bad: Sequence[BadLine]) -> None:
    """Print the outcome of an import.

    Args:
        what: the plural of what was imported.
        numbers: line number of each outcome.
        outcomes: what became of the lines that could be read.
        bad: the lines that could not.
    """
    refused = [
        *((line.number, line.reason) for line in bad),
        *(
            (number, outcome.reason)
            for number, outcome in zip(numbers, outcomes, strict=True)
            if outcome.status is Status.REFUSED
        ),
    ]
    if refused:
        show(table("Lines left out", ("line", "why"), sorted(refused), right=("line",)))
    count = Counter(outcome.status for outcome in outcomes)
    show(
        f"{what}: {count[Status.RECORDED]} recorded, {count[Status.KNOWN]} known already,"
        f" {len(refused)} lines left out"
    )
