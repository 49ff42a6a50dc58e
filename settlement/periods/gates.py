"""Gates: what is looked at before a period is approved, and what a checker must say to let it through.

A gate that *must hold* (nothing is lost or made, openings are the ledger's) lets nobody pass: there is a fault to find
first. The others find what is allowed but seldom meant (a payee who owes, money that waits, accounts that were changed
just before they are paid); the checker accepts each by name, with a reason, together with the approval. The database
refuses an approval without them (`guard.check_period`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from database.engine import psycopg_connection
from database.errors import Conflict
from settlement.bank_details import accounts_changed, shared_accounts
from settlement.money import PPB, from_decimal, to_decimal
from settlement.periods.calendar import database_now, last_instant
from settlement.periods.models import Period
from settlement.posting import PAYABLE

FINDINGS_SHOWN = 20
"""How many findings of one gate are kept with the draft, the largest first; all are counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a gate found. ``amount`` in micros of ``currency``."""

    subject: str
    """The payee, sale or currency that it is about."""
    currency: str | None
    amount: int | None
    note: str


@dataclass(frozen=True, slots=True)
class Gate:
    """What one gate found in a calculation."""

    name: str
    must_hold: bool
    """Whether nobody may accept what it found."""
    found: int
    findings: tuple[Finding, ...]
    """The first `FINDINGS_SHOWN`, the largest amount first."""

    @property
    def passed(self) -> bool:
        """Whether it found nothing."""
        return self.found == 0

    def sentence(self, period_id: str) -> str:
        """What it found, for a message."""
        first = self.findings[0]
        return f"the gate {self.name} found {self.found} in period {period_id}, first {first.subject}: {first.note}"

    def document(self) -> dict[str, Any]:
        """As JSON: counts are numbers, amounts decimal strings."""
        return {
            "must_hold": self.must_hold,
            "found": self.found,
            "findings": [
                {
                    "subject": finding.subject,
                    "currency": finding.currency,
                    "amount": None if finding.amount is None else to_decimal(finding.amount),
                    "note": finding.note,
                }
                for finding in self.findings
            ],
        }

    @classmethod
    def read(cls, name: str, document: Mapping[str, Any]) -> "Gate":
        """The gate that `document` wrote."""
        return cls(
            name,
            document["must_hold"],
            document["found"],
            tuple(
                Finding(
                    subject=found["subject"],
                    currency=found["currency"],
                    amount=None if found["amount"] is None else from_decimal(found["amount"]),
                    note=found["note"],
                )
                for found in document["findings"]
            ),
        )


def look(session: Session, period: Period) -> tuple[Gate, ...]:
    """Every gate, on the calculation in the temporary tables (`calculation.calculate_lines`)."""
    days = max((database_now(session) - period.starts_at).days, 0) + 1
    values = {
        "starts_at": period.starts_at,
        "last_instant": last_instant(period),
        "changed": list(accounts_changed(session, days)),
        "shared": list(shared_accounts(session)),
    }
    connection = psycopg_connection(session)
    gates = []
    for name, (must_hold, query) in _GATES.items():
        rows = connection.execute(
            f"SELECT subject, currency, amount, note, count(*) OVER () FROM ({query}) AS found"  # noqa: S608
            f" ORDER BY abs(amount) DESC NULLS LAST, subject, currency LIMIT {FINDINGS_SHOWN}",
            values,
        ).fetchall()
        gates.append(
            Gate(
                name,
                must_hold,
                int(str(rows[0][4])) if rows else 0,
                tuple(_finding(*row[:4]) for row in rows),
            )
        )
    return tuple(gates)


def require_sound(period_id: str, gates: tuple[Gate, ...]) -> None:
    """Refuse to go on with a calculation that loses or makes money.

    Raises:
        Conflict: a gate that must hold found something.
    """
    for gate in gates:
        if gate.must_hold and not gate.passed:
            raise Conflict(f"{gate.sentence(period_id)}; `royalty verify` finds the cause")


def _finding(subject: Any, currency: Any, amount: Any, note: Any) -> Finding:
    """From a row: sums of BIGINT are NUMERIC."""
    return Finding(subject, currency, None if amount is None else int(amount), note)


# Each query gives subject, currency, amount in micros and note; see `look` for the values.
_GATES: dict[str, tuple[bool, str]] = {
    # A slice's lines add up to it, and what the lines give payees is what their columns hold.
    "conservation": (
        True,
        """
        SELECT max(sale) AS subject, max(currency) AS currency, sum(amount) AS amount,
               'its lines do not add up to its slice' AS note
        FROM (SELECT sale_id, sale, currency, slice AS amount FROM pg_temp.run_sale
              UNION ALL
              SELECT sale_id, sale, currency, -amount FROM pg_temp.run_line
              WHERE kind IN ('royalty', 'pending', 'unattributed')) AS moved
        GROUP BY sale_id HAVING sum(amount) <> 0
        UNION ALL
        SELECT payee_id, currency, sum(amount), 'her lines are not what her statement says'
        FROM (SELECT payee_id, currency, royalties + late + refunds AS amount FROM pg_temp.run_column
              UNION ALL
              SELECT payee_id, currency, -amount FROM pg_temp.run_line
              WHERE payee_id IS NOT NULL AND kind <> 'adjustment') AS moved
        GROUP BY payee_id, currency HAVING sum(amount) <> 0
        """,
    ),
    # What a statement opens with is what the ledger held when the last period was sealed.
    "continuity": (
        True,
        f"""
        SELECT payee_id AS subject, currency, sum(amount) AS amount,
               'her opening is not the balance that the last period was sealed with' AS note
        FROM (SELECT payee_id, currency, opening AS amount FROM pg_temp.run_column
              UNION ALL
              SELECT {PAYABLE.owner_sql("a.code")} COLLATE "C", a.currency, b.closing
              FROM ledger.closing_balance AS b JOIN ledger.account AS a ON a.id = b.account_id
              WHERE starts_with(a.code, '{PAYABLE.name}:') AND b.seal = (
                  SELECT p.period_id FROM settlement.period AS p
                  WHERE p.state = 'closed' AND p.ends_at <= %(starts_at)s ORDER BY p.ends_at DESC LIMIT 1)) AS held
        GROUP BY payee_id, currency HAVING sum(amount) <> 0
        """,  # noqa: S608  (made of the matrix)
    ),
    "negative_balances": (
        False,
        """
        SELECT payee_id AS subject, currency, closing AS amount, 'would owe the platform' AS note
        FROM pg_temp.run_column WHERE closing < 0
        """,
    ),
    "pending_share": (
        False,
        f"""
        SELECT p.currency AS subject, p.currency, p.pending AS amount,
               round(p.pending * 100 / p.slices, 1) || ' per cent of royalties wait for an attribution; the limit is '
                   || round(l.pending_limit_ppb * 100.0 / {PPB}, 1) AS note
        FROM (SELECT currency, sum(slice) AS slices, sum(pending) AS pending
              FROM (SELECT currency, slice, 0 AS pending FROM pg_temp.run_sale
                    UNION ALL
                    SELECT currency, 0, amount FROM pg_temp.run_line WHERE kind = 'pending') AS moved
              GROUP BY currency HAVING sum(slice) > 0) AS p
        CROSS JOIN (SELECT pending_limit_ppb FROM settlement.platform_version WHERE valid_from <= %(last_instant)s
                    ORDER BY valid_from DESC LIMIT 1) AS l
        WHERE p.pending * {PPB} > p.slices * l.pending_limit_ppb
        """,  # noqa: S608  (made of constants)
    ),
    "new_bank_details": (
        False,
        """
        SELECT payee_id AS subject, currency, closing AS amount,
               'her account was changed since the period began: has she said so on a known way?' AS note
        FROM pg_temp.run_column WHERE closing > 0 AND payee_id = ANY(%(changed)s)
        """,
    ),
    "shared_accounts": (
        False,
        """
        SELECT payee_id AS subject, currency, closing AS amount,
               'her account is another payee''s too: are they one?' AS note
        FROM pg_temp.run_column WHERE closing > 0 AND payee_id = ANY(%(shared)s)
        """,
    ),
}
GATES = tuple(_GATES)
"""The names of all gates."""
