"""A closed period with its statements, made by the services that make it in earnest."""

from datetime import UTC, datetime

from attribution.ingest import Status
from database.engine import session
from database.roles import Role
from settlement.periods.approval import approve, calculate, submit
from settlement.periods.calendar import cut_off, database_now
from settlement.periods.close import close
from settlement.sales import parse_sale, record_sales
from tests.settlement.events import add_images, attribute, load_terms

PERIOD = "2026-10"

SHARES = {
    "img-1": {"C": 400_000_000, "art-1": 600_000_000},
    "img/2": {"C": 200_000_000, "art-1": 500_000_000, "art-2": 300_000_000},
    "img-3": {"C": 100_000_000, "art-2": 500_000_000, "art-3": 400_000_000},
}
"""Mara Vell is art-1, paid 70 : 30 to pay-1 and pay-2; Oskar Lindt is art-2, paid to pay-2; art-3 has no contract."""

AFTER = datetime(2026, 11, 2, tzinfo=UTC)


def sell(sales_per_image: int = 1) -> None:
    """Terms, images, attributions and sales of 10 EUR net each, of which 30 % are royalties."""
    with session(Role.ADMIN) as opened:
        load_terms(opened)
        add_images(opened, *SHARES)
        for image, shares in SHARES.items():
            attribute(opened, image, shares)
    rows = [
        {
            "external_id": f"sale-{image}-{number}",
            "image": image,
            "sold_at": "2026-10-05T12:00:00Z",
            "territory": "DE",
            "currency": "EUR",
            "price": "11.90",
            "tax": "1.90",
        }
        for image in SHARES
        for number in range(1, sales_per_image + 1)
    ]
    with session(Role.SETTLEMENT) as opened:
        outcomes = record_sales(opened, [parse_sale(row) for row in rows], actor="platform")
    assert {outcome.status for outcome in outcomes} == {Status.RECORDED}


def cut() -> None:
    """Cut the period off, whatever the clock of the machine says."""
    with session(Role.SETTLEMENT) as opened:
        cut_off(opened, PERIOD, now=max(AFTER, database_now(opened)))


def settle(sales_per_image: int = 1) -> None:
    """Sell, calculate, have it approved, and close."""
    sell(sales_per_image)
    cut()
    with session(Role.SETTLEMENT) as opened:
        calculate(opened, PERIOD, actor="maker")
        draft = submit(opened, PERIOD)
    with session(Role.APPROVER) as opened:
        approve(opened, PERIOD, checker="checker", content_sha256=draft.sha256)
    with session(Role.SETTLEMENT) as opened:
        close(opened, PERIOD, actor="maker")
