"""Payees: who gets the money. Opaque here; names, addresses and bank details are personal data in `party`."""

from typing import Any

from sqlalchemy import CHAR, CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from database.base import Base, RecordedAt


class Payee(Base):
    """A payee by her opaque id."""

    __tablename__ = "payee"
    __table_args__ = (
        CheckConstraint("payee_id <> ''", name="payee_id_not_empty"),
        CheckConstraint(
            "kind IN ('person', 'estate', 'society', 'company', 'model_developer', 'fund')", name="kind_known"
        ),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_iso"),
        {"schema": "settlement"},
    )

    payee_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    currency: Mapped[str] = mapped_column(CHAR(3))
    """Payout currency."""
    actor: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class PartyVersion(Base):
    """Personal data of a payee (or of the platform itself): the newest version is in force. Erasable.

    `salt` makes the digest that statements carry worthless for guessing: SHA-256(salt || canonical JSON of details).
    """

    __tablename__ = "party_version"
    __table_args__ = ({"schema": "party"},)

    payee_id: Mapped[str] = mapped_column(ForeignKey(Payee.payee_id), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    salt: Mapped[bytes]
    details: Mapped[dict[str, Any]]
    """name, address {street, building, postcode, town, country}, email, iban, bic, language."""
    actor: Mapped[str]
    reason: Mapped[str]
    recorded_at: Mapped[RecordedAt]
