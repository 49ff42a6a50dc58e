"""A closed period with two artists' statements, for tests that read it."""

import hashlib
import json
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from settlement.posting import post_run
from tests.settlement.events import add_images, attribute, load_terms

PERIOD = "2026-10"

SHARES = {
    "img-1": {"C": 400_000_000, "art-1": 600_000_000},
    "img/2": {"C": 200_000_000, "art-1": 500_000_000, "art-2": 300_000_000},
    "img-3": {"C": 100_000_000, "art-2": 500_000_000, "art-3": 400_000_000},
}
"""Mara Vell is art-1, paid 70 : 30 to pay-1 and pay-2; Oskar Lindt is art-2, paid to pay-2; art-3 has no contract."""

SPLITS = {
    "art-1": {"pay-1": 700_000_000, "pay-2": 300_000_000},
    "art-2": {"pay-2": 10**9},
    "C": {"pay-dev": 10**9},
}


def settle(session: Session, sales_per_image: int = 1) -> None:
    """Log, attribute, sell and settle: 30 % of a base of 10 EUR for every sale. Needs a superuser's session."""
    load_terms(session)
    add_images(session, *SHARES)
    for image, shares in SHARES.items():
        attribute(session, image, shares)
    session.execute(
        text("""
            INSERT INTO settlement.period (period_id, starts_at, ends_at, cut_off_at, zone)
            VALUES (:period, '2026-10-01', '2026-11-01', '2026-11-01', 'UTC')"""),
        {"period": PERIOD},
    )
    for image, shares in SHARES.items():
        for number in range(1, sales_per_image + 1):
            _sell(session, image, f"sale-{image}-{number}", shares)
    session.flush()
    post_run(session, PERIOD, actor="maker")
    totals = session.execute(
        text(
            "SELECT payee_id, sum(amount_micros)::bigint FROM settlement.royalty_line"
            ' WHERE payee_id IS NOT NULL GROUP BY payee_id ORDER BY payee_id COLLATE "C"'
        )
    ).all()
    for number, (payee, total) in enumerate(totals, 1):
        _issue(session, number, payee, total)


def _sell(session: Session, image: str, sale: str, shares: dict[str, int]) -> None:
    sale_id = session.scalar(
        text("""
            INSERT INTO settlement.sale (external_id, content_sha256, image_id, sold_at, territory, currency,
                                         price_micros, tax_micros, actor)
            SELECT :sale, sha256('x'), id, :at, 'DE', 'EUR', 11900000, 1900000, 'test'
            FROM attribution.image WHERE external_id = :image RETURNING id"""),
        {"sale": sale, "image": image, "at": datetime(2026, 10, 5, 12, tzinfo=UTC)},
    )
    session.execute(
        text("""
            INSERT INTO settlement.sale_slice (sale_id, period_id, usage_period, rate_card_version_id, base_micros,
                                               slice_micros, currency)
            SELECT :sale, :period, :period, id, 10000000, 3000000, 'EUR' FROM settlement.rate_card_version"""),
        {"sale": sale_id, "period": PERIOD},
    )
    for player, share in shares.items():
        amount = 3_000_000 * share // 10**9
        for payee, split in SPLITS.get(player, {None: None}).items():
            session.execute(
                text("""
                    INSERT INTO settlement.royalty_line (period_id, kind, sale_id, player, destination, payee_id,
                        amount_micros, currency, attribution_id, share_ppb, contract_version_id, split_ppb,
                        distribution_key)
                    SELECT :period, 'royalty', :sale, :player, CASE WHEN CAST(:payee AS text) IS NULL THEN 'unclaimed'
                        ELSE 'payee' END, :payee, :amount, 'EUR', a.id, :share,
                        (SELECT id FROM settlement.contract_version WHERE artist_id = :player), :split, 'attribution'
                    FROM settlement.sale AS s JOIN attribution.attribution AS a ON a.image_id = s.image_id
                    WHERE s.id = :sale"""),
                {
                    "period": PERIOD,
                    "sale": sale_id,
                    "player": player,
                    "payee": payee,
                    "amount": amount if split is None else amount * split // 10**9,
                    "share": share,
                    "split": split,
                },
            )


def _issue(session: Session, number: int, payee: str, total: int) -> None:
    body = json.dumps({"statement": f"{PERIOD}/{payee}/EUR", "closing": total}, separators=(",", ":"))
    session.execute(
        text("""
            INSERT INTO settlement.statement (statement_id, number, period_id, payee_id, currency, opening, royalties,
                late, adjustments, refunds, reserves, recoupment, tax, claims, fx, payments, closing, payable, held,
                below_minimum, below_unit, body, sha256)
            VALUES (:id, :number, :period, :payee, 'EUR', 0, :total, 0, 0, 0, 0, 0, 0, 0, 0, 0, :total, :total, 0, 0, 0,
                    :body, :sha256)"""),
        {
            "id": f"{PERIOD}/{payee}/EUR",
            "number": number,
            "period": PERIOD,
            "payee": payee,
            "total": total,
            "body": body,
            "sha256": hashlib.sha256(body.encode()).digest(),
        },
    )
