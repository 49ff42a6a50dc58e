"""What the bank takes for itself, posted once: charges in the booking of a payment, and bookings of their own.

Only statements (`camt.053`) are posted from: they have every booking once. A charge in a payment's booking is known by
the payment and what became of it, another by the bank's reference, or by its place in its statement if it has none.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, time

from sqlalchemy import text
from sqlalchemy.orm import Session

from settlement import posting
from settlement.ledger import Entry, post, sequence_journals


def post_charges(session: Session, message: int | None, batch_ids: Sequence[str], actor: str) -> Counter[str]:
    """Post what a message charges, and what was charged for payments of some batches that has not been posted.

    Args:
        session: as the role `payer`.
        message: whose charges with bookings of their own are dealt with; None: of none.
        batch_ids: batches whose payments' lines have just been applied.
        actor: who brings the message.

    Returns:
        How many lines of charges were recorded, or known. A charge of another amount or day than the one that is posted
        under its reference stays open.
    """
    now = datetime.now(UTC)
    entries: list[Entry] = []
    matches: list[tuple[int, str]] = []
    posted: dict[str, tuple[int, date]] = {}
    rows = session.execute(
        text(_CHARGES), {"message": message, "batches": list(batch_ids), "own": posting.BANK_CHARGE.kind}
    ).all()
    for row in rows:
        on = min(datetime.combine(row.booked_on, time(12), UTC), now) if row.booked_on else now
        said = (int(row.amount), on.date())
        if row.posted is not None:
            posted[row.booking] = (int(row.posted), row.posted_on)
        before = posted.setdefault(row.booking, said)
        if before is said and said[0]:  # of nothing there is no journal
            entries.append(
                posting.BANK_CHARGE.entry(
                    said[0], row.currency, {"booking": row.booking}, booked_at=on, actor=actor
                )
            )
        if row.own and before == said:
            matches.append((row.id, "recorded" if before is said else "known"))
    if entries:
        post(session, entries)
        sequence_journals(session)
    session.execute(
        text(
            "INSERT INTO settlement.bank_match (bank_entry_id, result, actor)"
            " SELECT entry, result, :actor FROM unnest(CAST(:entries AS bigint[]), CAST(:results AS text[]))"
            " AS m (entry, result)"
        ),
        {
            "entries": [entry for entry, _ in matches],
            "results": [result for _, result in matches],
            "actor": actor,
        },
    )
    return Counter(result for _, result in matches)


# What bookings took beyond the payments in them, where it is what they name as charges; and bookings that are charges.
_CHARGES = """
WITH line AS (
    SELECT e.*, s.statement_id, coalesce(p.batch_id, e.batch_id) AS batch, e.says = 'charge' AS own
    FROM settlement.bank_entry AS e
    JOIN settlement.bank_message AS m ON m.id = e.bank_message_id AND m.kind = 'camt.053'
    JOIN settlement.bank_statement AS s ON s.bank_message_id = e.bank_message_id AND s.number = e.statement
    LEFT JOIN settlement.payout_attempt AS t ON t.attempt_id = e.attempt_id
    LEFT JOIN settlement.payout AS p ON p.payout_id = t.payout_id
    WHERE e.says = 'charge' AND e.bank_message_id = CAST(:message AS bigint)
        OR e.says IN ('paid', 'returned') AND e.charges_micros > 0
            AND coalesce(p.batch_id, e.batch_id) = ANY(CAST(:batches AS text[]))
),
charging AS (
    SELECT bank_message_id, statement, entry FROM settlement.bank_entry
    WHERE bank_message_id IN (SELECT bank_message_id FROM line WHERE NOT own)
    GROUP BY bank_message_id, statement, entry
    HAVING sum(amount_micros) - min(entry_micros) = sum(charges_micros)
),
charge AS (
    -- Details of one booking without references of their own are one charge.
    SELECT id, own, currency, booked_on,
           -sum(amount_micros) OVER (PARTITION BY statement, entry, currency, bank_reference) AS amount,
           currency || ':' || coalesce(bank_reference, statement_id || '/' || entry) AS booking
    FROM line
    WHERE own AND problem IS NULL AND currency IS NOT NULL
        AND NOT EXISTS (SELECT FROM settlement.bank_match AS x WHERE x.bank_entry_id = line.id)
    UNION ALL
    SELECT id, own, currency, booked_on, charges_micros,
           coalesce(attempt_id, batch || '-file-' || file) || '-' || says
    FROM line
    WHERE NOT own AND currency IS NOT NULL
        AND EXISTS (SELECT FROM settlement.bank_match AS x
                    WHERE x.bank_entry_id = line.id AND x.result IN ('recorded', 'known'))
        AND (bank_message_id, statement, entry) IN (SELECT bank_message_id, statement, entry FROM charging)
)
SELECT c.*, b.amount AS posted, j.value_date AS posted_on
FROM charge AS c
LEFT JOIN ledger.journal AS j ON j.key = CAST(:own AS text) || ':' || c.booking
LEFT JOIN LATERAL (
    SELECT l.amount FROM ledger.posting AS l JOIN ledger.account AS a ON a.id = l.account_id
    WHERE l.journal_id = j.id AND starts_with(a.code, 'bank_charges:')
) AS b ON true
ORDER BY c.id
"""
