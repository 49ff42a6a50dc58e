"""From one royalty line to everything behind it: payout, statement, sale, image, players, coalition values."""

from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import text
from sqlalchemy.orm import Session

from database.errors import NotFound


@dataclass(frozen=True, slots=True)
class Item:
    """One fact, as text for people: money with six decimals, shares and v with nine."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Step:
    """One station on the way down."""

    name: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A royalty line explained, from the payout down to the coalition values."""

    line_id: int
    line: str
    steps: tuple[Step, ...]


def explain(session: Session, line: str) -> Explanation:
    """Explain a line, given by its id (`42`) or its name on the statement (`sale-1/art-1/pay-1`).

    Args:
        session: of the role `auditor`, or any that may read the views.
        line: id or name.

    Raises:
        NotFound: there is no such line.
    """
    line_id, name = _find(session, line)
    rows = session.execute(
        text("SELECT step, item, value FROM audit.explain(:id) ORDER BY place"), {"id": line_id}
    )
    steps = tuple(
        Step(step, tuple(Item(item, value) for _, item, value in items))
        for step, items in groupby(rows.tuples(), key=lambda row: str(row[0]))
    )
    return Explanation(line_id, name, steps)


def cited_attributions(session: Session, period_id: str) -> list[tuple[str, int]]:
    """The attributions that an accounting period's royalty lines follow from: the image's external id, and its key.

    Args:
        session: of the role `settlement`.
        period_id: the accounting period.

    Raises:
        NotFound: the period has no line that follows from an attribution.
    """
    rows = session.execute(
        text("""
            SELECT i.external_id, a.id
            FROM (SELECT DISTINCT attribution_id FROM settlement.royalty_line WHERE period_id = :period) AS l
            JOIN attribution.attribution AS a ON a.id = l.attribution_id
            JOIN attribution.image AS i ON i.id = a.image_id ORDER BY a.id
        """),
        {"period": period_id},
    ).all()
    if not rows:
        raise NotFound(
            f"no attribution earned anything in {period_id}: is it closed? `royalty period list` shows"
        )
    return [(external_id, key) for external_id, key in rows]


def cited_by(session: Session, line: str) -> tuple[str, int]:
    """The image of a royalty line, and the attribution that the line follows from.

    Args:
        session: of the role `auditor`, or any that may read the views.
        line: the line's id or name.

    Raises:
        NotFound: there is no such line, or it follows from no attribution.
    """
    line_id, name = _find(session, line)
    row = session.execute(
        text("SELECT image, attribution_id FROM audit.royalty_lines WHERE line_id = :id"), {"id": line_id}
    ).one()
    if row.attribution_id is None:
        raise NotFound(f"line {name} follows from no attribution: `royalty explain {name}` shows what from")
    return row.image, row.attribution_id


def _find(session: Session, line: str) -> tuple[int, str]:
    if line.isascii() and line.isdigit() and len(line) < 19:
        row = session.execute(
            text("SELECT line_id, line FROM audit.royalty_lines WHERE line_id = :id"), {"id": int(line)}
        ).first()
        if row is not None:
            return row[0], row[1]
    # The name contains the sale's id, which the database finds by index: any run of its parts may be it.
    parts = line.split("/")
    runs = ["/".join(parts[a:b]) for a in range(len(parts)) for b in range(a + 1, len(parts) + 1)]
    row = session.execute(
        text("SELECT line_id, line FROM audit.royalty_lines WHERE sale = ANY(:sales) AND line = :line"),
        {"sales": runs, "line": line},
    ).first()
    if row is None:
        raise NotFound(
            f"there is no royalty line {line}: give its id, or its name as the statement's CSV has it; for an image"
            " say --html FILE"
        )
    return row[0], row[1]
