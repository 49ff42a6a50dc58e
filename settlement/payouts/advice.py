"""Remittance advice: what one payment settles, for its payee, as a PDF and as the plain text of a mail.

A payment pays a balance, not a statement: the advice leads from the last statement's closing balance over what was
posted since to the amount that is paid, and says what stays. The account is masked. The same payout gives the same
bytes: no clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import typst
from sqlalchemy import text
from sqlalchemy.orm import Session

from database.errors import Conflict
from settlement.money import format_money
from settlement.party import Party
from settlement.payees import PartyVersion
from settlement.payouts.models import find_batch

if TYPE_CHECKING:  # typst names its types in its stubs only
    from typst import PDFStandard

_TEMPLATE = Path(__file__).with_name("advice.typ")
_ARCHIVAL: list[PDFStandard] = ["ua-1", "a-3a"]


@dataclass(frozen=True, slots=True)
class SettledStatement:
    """A statement that the payment settles: everything since the payment before."""

    statement_id: str
    number: int
    period_id: str
    change: int
    """By what it changed the balance, payments aside, in micros."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One payment, as its payee is told of it; amounts in micros."""

    payout_id: str
    attempt_id: str
    state: str
    currency: str
    execution_date: date
    payee: Party | None
    """None if her data have been erased."""
    platform: Party
    account: str | None
    """Masked."""
    statements: tuple[SettledStatement, ...]
    brought_forward: int
    """What was owed before the first of the statements, less what was paid of it; all of it where there is none."""
    other: int
    """What was posted besides and belongs to no statement yet."""
    balance: int
    """What was owed when the run was made: brought forward + statements + other."""
    amount: int

    @property
    def stays(self) -> int:
        """What stays in the balance."""
        return self.balance - self.amount

    def rows(self) -> list[tuple[str, int]]:
        """What a reader adds up, from what was brought forward to the balance."""
        rows = [("Brought forward", self.brought_forward)] if self.brought_forward else []
        rows += [(f"Statement No. {s.number}, {s.period_id}", s.change) for s in self.statements]
        return rows + ([("Since the last statement", self.other)] if self.other else [])

    def text(self) -> str:
        """The plain text of a mail."""
        name = self.payee.name if self.payee else "(erased)"
        rows = [
            *self.rows(),
            ("Balance", self.balance),
            ("Paid", self.amount),
            ("Stays in your balance", self.stays),
        ]
        width = max(len(title) for title, _ in rows)
        money = [format_money(amount, self.currency) for _, amount in rows]
        right = max(map(len, money))
        table = "\n".join(
            f"  {title:<{width}}  {amount:>{right}}" for (title, _), amount in zip(rows, money, strict=True)
        )
        contact = f"\nQuestions: {self.platform.email}\n" if self.platform.email else ""
        return (
            f"Subject: Payment advice {self.attempt_id}\n\n"
            f"Dear {name},\n\n{_SENTENCE[self.state].format(amount=format_money(self.amount, self.currency))}\n\n"
            f"{table}\n\n"
            f"  Account       {self.account or '(erased)'}\n"
            f"  Execution     {self.execution_date.isoformat()}\n"
            f"  EndToEndId    {self.attempt_id}\n"
            f"{contact}\n{self.platform.name}\n"
        )


_SENTENCE = {
    state: words
    for states, words in (
        (("submitted", "accepted", "unknown"), "we have told our bank to pay you {amount} in royalties."),
        (("paid",), "our bank has paid you {amount} in royalties."),
        (("rejected",), "our bank could not pay you {amount}: please check your bank details with us."),
        (("returned",), "the {amount} that we paid you came back: please check your bank details with us."),
    )
    for state in states
}


def advices(session: Session, batch_id: str) -> Iterator[Advice]:
    """The advices of a batch that was handed over, by payee.

    Args:
        session: of a role that reads payouts, statements and parties: `settlement`.
        batch_id: the batch.

    Raises:
        NotFound: there is no such batch.
        Conflict: the bank has not been told of it.
    """
    batch = find_batch(session, batch_id)
    rows = session.execute(text(_PAYOUTS), {"batch": batch_id}).all()
    if not rows:
        raise Conflict(f"batch {batch_id} is not handed over: nobody is paid by it yet")
    statements: dict[str, list[SettledStatement]] = {}
    forward: dict[str, int] = {}
    for payee_id, opening, payments, *statement in session.execute(
        text(_STATEMENTS), {"batch": batch_id, "currency": batch.currency}
    ):
        statements.setdefault(payee_id, []).append(SettledStatement(*statement))
        # What was paid meanwhile came out of what was there before.
        forward[payee_id] = forward.get(payee_id, opening) + payments
    debtor = session.get(PartyVersion, (batch.debtor_id, batch.debtor_version))
    platform = Party.of(debtor.details) if debtor is not None else Party("(erased)")
    for row in rows:
        settled = tuple(statements.get(row.payee_id, ()))
        brought = forward.get(row.payee_id, row.balance_micros)
        yield Advice(
            payout_id=row.payout_id,
            attempt_id=row.attempt_id,
            state=row.state,
            currency=batch.currency,
            execution_date=batch.execution_date,
            payee=Party.of(row.details) if row.details else None,
            platform=platform,
            account=row.account,
            statements=settled,
            brought_forward=brought,
            other=row.balance_micros - brought - sum(statement.change for statement in settled),
            balance=row.balance_micros,
            amount=row.amount_micros,
        )


class AdviceRenderer:
    """Renders advices as A4 PDFs, one after the other."""

    def __init__(self) -> None:
        fonts = typst.Fonts(include_system_fonts=False)
        self._compiler = typst.Compiler(
            _TEMPLATE, _TEMPLATE.parent, font_paths=fonts, ignore_system_fonts=True
        )

    def pdf(self, advice: Advice) -> bytes:
        """The advice's file; the same bytes every time."""

        def printed(party: Party | None) -> dict[str, object]:
            lines = party.address.lines() if party and party.address else []
            return {"name": party.name if party else "(erased)", "address": lines}

        document = {
            "sentence": _SENTENCE[advice.state].format(amount=format_money(advice.amount, advice.currency)),
            "payee": printed(advice.payee),
            "platform": printed(advice.platform),
            "contact": advice.platform.email,
            "rows": [[title, format_money(amount, advice.currency)] for title, amount in advice.rows()],
            "totals": [
                ["Balance", format_money(advice.balance, advice.currency)],
                ["Paid", format_money(advice.amount, advice.currency)],
                ["Stays in your balance", format_money(advice.stays, advice.currency)],
            ],
            "payment": [
                ["Account", advice.account or "(erased)"],
                ["Execution", advice.execution_date.isoformat()],
                ["EndToEndId", advice.attempt_id],
                ["Payout", advice.payout_id],
            ],
            "date": advice.execution_date.isoformat(),
        }
        inputs = {"advice": json.dumps(document)}
        try:
            return self._compile(inputs, _ARCHIVAL)
        except typst.TypstError as error:
            # Letters that the fonts lack show as boxes, which PDF/A and PDF/UA forbid.
            if "could not be displayed" not in error.message:
                raise
            return self._compile(inputs, [])

    def _compile(self, inputs: dict[str, str], standards: list[PDFStandard]) -> bytes:
        file = self._compiler.compile(format="pdf", sys_inputs=inputs, pdf_standards=standards)
        if not isinstance(file, bytes):
            raise TypeError(f"typst returned {type(file)} for a PDF")
        return file


_PAYOUTS = """
SELECT p.payout_id, p.payee_id, t.attempt_id, p.balance_micros, t.amount_micros, e.state, v.details,
       (SELECT min(a.masked) FROM party.bank_account_version AS a
        WHERE a.payee_id = p.payee_id AND a.version = p.party_version) AS account
FROM settlement.payout AS p
JOIN settlement.payout_attempt AS t ON t.payout_id = p.payout_id
JOIN LATERAL (SELECT state FROM settlement.payout_event AS e WHERE e.payout_id = p.payout_id
              ORDER BY e.number DESC LIMIT 1) AS e ON e.state <> 'reserved'
LEFT JOIN party.party_version AS v ON v.payee_id = p.payee_id AND v.version = p.party_version
WHERE p.batch_id = :batch ORDER BY p.payee_id COLLATE "C"
"""
# Statements that were issued before the batch was made, and after the payee's payout before that was handed over.
_STATEMENTS = """
SELECT s.payee_id, s.opening, s.payments, s.statement_id, s.number, s.period_id, s.closing - s.opening - s.payments
FROM settlement.payout AS p
JOIN settlement.payout_batch AS b ON b.batch_id = p.batch_id
JOIN settlement.statement AS s ON s.payee_id = p.payee_id AND s.currency = :currency AND s.recorded_at < b.recorded_at
WHERE p.batch_id = :batch AND p.amount_micros > 0
  AND s.recorded_at > coalesce((
    SELECT max(c.recorded_at) FROM settlement.payout AS q
    JOIN settlement.payout_attempt AS u ON u.payout_id = q.payout_id
    JOIN settlement.payout_batch AS c ON c.batch_id = q.batch_id
    WHERE q.payee_id = p.payee_id AND q.currency = p.currency AND c.recorded_at < b.recorded_at), '-infinity')
ORDER BY s.payee_id, s.number
"""
