"""Remittances: withheld tax that the platform has paid to the authority of a territory.

What is withheld for a territory is a liability in the ledger; a remittance pays some of it, never more than there is.
Its journal is the record: append-only, with the authority's reference as its key and whoever entered it as its actor.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, select, text
from sqlalchemy.orm import Session

from database.errors import Invalid, Refused
from settlement.ledger import balance, post
from settlement.ledger.models import Journal
from settlement.money import check_currency, floor_to_minor, format_money, to_decimal
from settlement.posting import TAX_REMITTED, TAX_WITHHELD

REFERENCE = "^[A-Za-z0-9][A-Za-z0-9 ./_-]{0,63}$"
"""The form of a remittance's reference."""


@dataclass(frozen=True, slots=True)
class TaxDue:
    """What was withheld for one territory in one currency, in micros, and what became of it."""

    territory: str
    currency: str
    withheld: int
    given_back: int
    """To payees, with refunds of what had been taxed."""
    remitted: int
    due: int
    """Below zero: more was given back after the remittance than was withheld since; the authority owes it."""


def tax_due(session: Session) -> list[TaxDue]:
    """What is withheld and not remitted, by territory and currency; session of a role that reads audit views."""
    rows = session.execute(
        text(
            "SELECT territory, currency, withheld, given_back, remitted, due FROM audit.tax_due"
            ' ORDER BY territory COLLATE "C", currency'
        )
    )
    return [TaxDue(territory, currency, *map(int, amounts)) for territory, currency, *amounts in rows]


def remit_tax(
    session: Session,
    reference: str,
    territory: str,
    currency: str,
    amount_micros: int,
    *,
    paid_at: datetime,
    actor: str,
) -> bool:
    """Post that withheld tax was paid to a territory's authority. Posted already: nothing happens, and False.

    Args:
        session: role `settlement`.
        reference: the authority's or the bank's; permanent, one for each remittance.
        territory: whose authority, two letters as in ISO 3166.
        currency: of the account that the tax is held in.
        amount_micros: above zero, in whole minor units; at most what was withheld by then and is not remitted yet.
        paid_at: when the bank paid it.
        actor: the authenticated person who says so.

    Raises:
        Invalid: the reference or the territory has not its form, or the amount is none that a bank pays.
        Refused: so much is not due.
        Conflict: the reference stands for another remittance.
    """
    if not re.fullmatch(REFERENCE, reference):
        raise Invalid(
            f"{reference!r} is not a reference: write up to 64 letters, digits, blanks and . / _ -, "
            "beginning with a letter or digit"
        )
    if not re.fullmatch("[A-Z]{2}", territory):
        raise Invalid(
            f"{territory!r} is not a territory: write two capital letters as in ISO 3166, for example US"
        )
    check_currency(currency)
    if amount_micros <= 0 or floor_to_minor(amount_micros, currency) != amount_micros:
        raise Invalid(
            f"{to_decimal(amount_micros)} {currency} cannot be remitted: write an amount above zero that a bank can pay"
        )
    names = {"remittance": reference, "territory": territory}
    entry = TAX_REMITTED.entry(amount_micros, currency, names, booked_at=paid_at, actor=actor)
    # Two at once would each be right alone.
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('settlement.tax_remittance', 0))"))
    if not session.scalar(select(exists().where(Journal.key == entry.key))):
        account = TAX_WITHHELD.code(currency, territory)
        # The smaller of what was held then and what is left now: what was paid since is paid.
        due = min(-balance(session, account, paid_at), -balance(session, account))
        if amount_micros > due:
            raise Refused(
                f"{format_money(amount_micros, currency)} is more than {territory} is due: "
                f"{format_money(max(due, 0), currency)} of tax is withheld and not remitted; see `royalty tax due`"
            )
    return post(session, [entry]).posted == 1
