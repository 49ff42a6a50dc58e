"""Payees: who gets the money. Opaque here; names, addresses and bank details are personal data in `party`."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    CHAR,
    CheckConstraint,
    ForeignKey,
    Index,
    Text,
    any_,
    case,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.orm import Mapped, Session, mapped_column

from database.base import Base, Key, RecordedAt
from database.errors import Conflict
from settlement.bank_details import BankDetails, encrypted, known_accounts
from settlement.bank_keys import key_ring
from settlement.party import party_digest


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


def _digest(context: DefaultExecutionContext) -> bytes:
    given = context.get_current_parameters()  # type: ignore[no-untyped-call]
    return bytes.fromhex(party_digest(given["salt"], given["details"]))


class PartyVersion(Base):
    """Personal data of a payee (or of the platform itself): the newest version is in force. Erasable.

    `salt` makes the digest that statements carry worthless for guessing: SHA-256(salt || canonical JSON of details).
    Where the payee banks is not among them: `settlement.bank_details`. Versions from before it was kept apart have a
    digest that covers the account as well.
    """

    __tablename__ = "party_version"
    __table_args__ = (
        CheckConstraint("octet_length(digest) = 32", name="digest_length"),
        CheckConstraint("NOT details ? 'iban'", name="account_apart"),
        {"schema": "party"},
    )

    payee_id: Mapped[str] = mapped_column(ForeignKey(Payee.payee_id), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    salt: Mapped[bytes]
    details: Mapped[dict[str, Any]]
    """name, address {street, building, postcode, town, country}, email, language, paper, tax_id; where known."""
    actor: Mapped[str]
    reason: Mapped[str]
    recorded_at: Mapped[RecordedAt]
    digest: Mapped[bytes] = mapped_column(default=_digest)
    """What statements carry: `settlement.party.party_digest` of these details."""


class PrivacyRequest(Base):
    """That somebody's data were erased or handed out. Append-only; names nobody but by an opaque id."""

    __tablename__ = "privacy_request"
    __table_args__ = (
        CheckConstraint("request IN ('erase', 'export')", name="request_known"),
        CheckConstraint("kind IN ('payee', 'customer')", name="kind_known"),
        CheckConstraint("(erased IS NOT NULL) = (request = 'erase')", name="erased_counted"),
        CheckConstraint("subject <> '' AND actor <> '' AND reason <> ''", name="said_why"),
        Index(
            "privacy_request_payee_erased_idx",
            "subject",
            unique=True,
            postgresql_where=text("request = 'erase' AND kind = 'payee'"),
        ),
        {"schema": "party"},
    )

    id: Mapped[Key]
    request: Mapped[str]
    """erase | export"""
    kind: Mapped[str]
    """payee | customer"""
    subject: Mapped[str]
    """Opaque id of the payee or customer."""
    erased: Mapped[int | None]
    """Rows of personal data, or prompts, that an erasure took away."""
    actor: Mapped[str]
    reason: Mapped[str]
    recorded_at: Mapped[RecordedAt]


@dataclass(frozen=True, slots=True)
class PayeeRecord:
    """A payee as she is recorded: ``details`` are the personal data that `PartyVersion` keeps, ``account`` is apart."""

    payee_id: str
    kind: str
    currency: str
    details: dict[str, Any]
    account: BankDetails | None = None


def record_payees(
    session: Session, given: Sequence[PayeeRecord], *, actor: str, reason: str
) -> tuple[int, int]:
    """Write payees that are new, and a new party version where personal data or account differ from those in force.

    Returns:
        Number of payees and of party versions written.

    Raises:
        Conflict: a known payee comes with another kind or currency, or was erased.
        Unavailable: an account is to be written or compared, and this process does not have the key.
    """
    known = {
        payee.payee_id: payee
        for payee in session.scalars(
            select(Payee).where(Payee.payee_id.in_([record.payee_id for record in given]))
        )
    }
    if erased := session.scalar(
        select(PrivacyRequest.subject).where(
            PrivacyRequest.request == "erase",
            PrivacyRequest.kind == "payee",
            PrivacyRequest.subject == any_(literal(list(known), ARRAY(Text))),
        )
    ):
        raise Conflict(
            f"the personal data of payee {erased} were erased: take the payee out of the file; give who comes back"
            " another id"
        )
    versions = parties_of(session, known)
    payees = parties = 0
    for record in given:
        before = known.get(record.payee_id)
        if before is None:
            session.add(
                Payee(payee_id=record.payee_id, kind=record.kind, currency=record.currency, actor=actor)
            )
            payees += 1
        elif (before.kind, before.currency) != (record.kind, record.currency):
            raise Conflict(
                f"payee {record.payee_id} is recorded as {before.kind}, paid in {before.currency}, for good; "
                "give the other one an id of its own"
            )
    session.flush()
    accounts = known_accounts(session, {payee_id: version for payee_id, (version, _) in versions.items()})
    rows = []
    for record in given:
        version, details = versions.get(record.payee_id, (0, None))
        account, before_it = record.account, accounts.get(record.payee_id)
        same = before_it is not None and (
            before_it.is_account(account, key_ring()) if before_it.contents or account else True
        )
        if details == record.details and same:
            continue
        session.add(
            PartyVersion(
                payee_id=record.payee_id,
                version=version + 1,
                salt=secrets.token_bytes(16),
                details=record.details,
                actor=actor,
                reason=reason,
            )
        )
        parties += 1
        if account is not None:
            rows.append(encrypted(record.payee_id, version + 1, account, actor, reason))
            if same and before_it is not None and key_ring().current.key_id not in before_it.contents:
                # Under another key than before: that it is the same account must be seen under this one too.
                rows.append(encrypted(record.payee_id, version, account, actor, reason))
    session.flush()
    session.add_all(rows)
    session.flush()
    return payees, parties


def parties_of(session: Session, payee_ids: Iterable[str]) -> dict[str, tuple[int, dict[str, Any]]]:
    """Version in force and personal data of each of these payees that has some (see `PartyVersion.details`)."""
    newest = (
        # Columns and not rows of the model: a payout run asks for a hundred thousand.
        select(PartyVersion.payee_id, PartyVersion.version, PartyVersion.details)
        # One parameter, however many payees: a statement takes 65,535.
        .where(PartyVersion.payee_id == any_(literal(list(payee_ids), ARRAY(Text))))
        .ext(distinct_on(PartyVersion.payee_id))
        .order_by(PartyVersion.payee_id, PartyVersion.version.desc())
    )
    return {payee_id: (version, details) for payee_id, version, details in session.execute(newest)}


def party_versions(session: Session, payee_ids: Iterable[str]) -> dict[str, int]:
    """Version in force of each of these payees' personal data, where there are any."""
    rows = session.execute(
        select(PartyVersion.payee_id, func.max(PartyVersion.version))
        .where(PartyVersion.payee_id == any_(literal(list(payee_ids), ARRAY(Text))))
        .group_by(PartyVersion.payee_id)
    )
    return {payee_id: version for payee_id, version in rows}  # noqa: C416  (a result is no mapping)


def party_digests(session: Session, before: datetime) -> dict[str, str]:
    """The digest (hex) that stands for each payee's personal data, in the version in force before a moment.

    A payee who was recorded only later is given by her first version.
    """
    earlier = PartyVersion.recorded_at < before
    chosen = (
        # The digest as it was recorded: the account that an earlier one covers is kept apart since.
        select(PartyVersion.payee_id, PartyVersion.digest)
        .ext(distinct_on(PartyVersion.payee_id))
        .order_by(
            PartyVersion.payee_id,
            earlier.desc(),
            case((earlier, -PartyVersion.version), else_=PartyVersion.version),
        )
    )
    return {payee_id: digest.hex() for payee_id, digest in session.execute(chosen)}
