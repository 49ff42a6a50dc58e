"""Where payees bank: held beside their personal data, outside the ledger, encrypted at rest.

A version of a payee's personal data has one account or none. Its rows here are ciphertexts of that account, one for
each key that it was written under (`rekey` adds one, nothing is changed), with what may be shown of it and two keyed
digests, by which equal accounts are told without decrypting. Only who pays reads ciphertexts; the role `settlement`
writes them and cannot read them back. Rows go when the personal data go.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import rfc8785
from sqlalchemy import ARRAY, CheckConstraint, ForeignKeyConstraint, Text, any_, literal, select, text
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Mapped, Session, mapped_column

from database.base import Base, RecordedAt
from settlement.bank_keys import BankKey, KeyRing, key_ring


def mask(iban: str) -> str:
    """An IBAN that its holder recognises and nobody can use: country and the last four; less of a shorter number."""
    compact = iban.replace(" ", "")
    return f"{compact[:2]}** **** {compact[-4:]}" if len(compact) > 10 else f"**** {compact[-2:]}"


@dataclass(frozen=True, slots=True, repr=False)
class BankDetails:
    """An account: its IBAN, and its bank's BIC where known. Shows itself masked."""

    iban: str
    bic: str | None = None

    def __repr__(self) -> str:
        return f"BankDetails({mask(self.iban)})"

    @classmethod
    def read(cls, plain: bytes) -> Self:
        """The account in decrypted bytes."""
        iban, bic = json.loads(plain)
        return cls(iban, bic or None)

    def plain(self) -> bytes:
        """What is encrypted: IBAN and BIC, as canonical JSON."""
        return rfc8785.dumps([self.iban, self.bic or ""])


class BankAccountVersion(Base):
    """The account of one version of a payee's personal data, encrypted under one key. Erased with those data."""

    __tablename__ = "bank_account_version"
    __table_args__ = (
        ForeignKeyConstraint(
            ["payee_id", "version"],
            ["party.party_version.payee_id", "party.party_version.version"],
            ondelete="CASCADE",
        ),
        CheckConstraint(
            "octet_length(fingerprint) = 32 AND octet_length(content) = 32", name="digest_length"
        ),
        CheckConstraint("masked ~ '^(..[*]{2} )?[*]{4} .{0,4}$'", name="masked_form"),
        {"schema": "party"},
    )

    payee_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key_id: Mapped[str] = mapped_column(primary_key=True)
    """The key's name (`settlement.bank_keys.BankKey`)."""
    ciphertext: Mapped[bytes]
    """AES-256-GCM of `BankDetails.plain`, bound to payee and version."""
    masked: Mapped[str]
    """`DE** **** 3000`."""
    fingerprint: Mapped[bytes]
    """HMAC of the IBAN: the same for the same account under the same key, whoever's it is."""
    content: Mapped[bytes]
    """HMAC of everything that is encrypted, to tell whether anything changed."""
    actor: Mapped[str]
    reason: Mapped[str]
    recorded_at: Mapped[RecordedAt]


def encrypted(
    payee_id: str, version: int, account: BankDetails, actor: str, reason: str, key: BankKey | None = None
) -> BankAccountVersion:
    """The row of an account under a key (default: the current one), to be added."""
    key = key or key_ring().current
    return BankAccountVersion(
        payee_id=payee_id,
        version=version,
        key_id=key.key_id,
        ciphertext=key.encrypt(account.plain(), _bound(payee_id, version)),
        masked=mask(account.iban),
        fingerprint=key.digest("iban", account.iban.encode()),
        content=key.digest("account", account.plain()),
        actor=actor,
        reason=reason,
    )


def _bound(payee_id: str, version: int) -> bytes:
    return f"{payee_id}\t{version}".encode()


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an account without reading it: key and digest of each of its rows."""

    contents: Mapping[str, bytes]

    def is_account(self, account: BankDetails | None, ring: KeyRing) -> bool:
        """Whether it is this account. Raises `Unavailable` if it was written under keys that this process lacks."""
        if account is None or not self.contents:
            return account is None and not self.contents
        for key in ring.keys:
            if key.key_id in self.contents:
                return self.contents[key.key_id] == key.digest("account", account.plain())
        ring.key(next(iter(self.contents)))
        return False


def known_accounts(session: Session, versions: Mapping[str, int]) -> dict[str, Known]:
    """What is known of the accounts of these versions, by payee; payees without one have an empty entry."""
    rows = session.execute(
        select(
            BankAccountVersion.payee_id,
            BankAccountVersion.version,
            BankAccountVersion.key_id,
            BankAccountVersion.content,
        ).where(BankAccountVersion.payee_id == any_(literal(list(versions), ARRAY(Text))))
    )
    found: dict[str, dict[str, bytes]] = {payee_id: {} for payee_id in versions}
    for payee_id, version, key_id, content in rows:
        if versions[payee_id] == version:
            found[payee_id][key_id] = content
    return {payee_id: Known(contents) for payee_id, contents in found.items()}


@dataclass(frozen=True, slots=True)
class Sealed:
    """An account as it is stored, to be opened by who pays."""

    payee_id: str
    version: int
    key_id: str
    masked: str
    fingerprint: bytes
    ciphertext: bytes

    def open(self, ring: KeyRing) -> BankDetails:
        """The account itself.

        Raises:
            Unavailable: this process does not have the key.
            Invalid: the row was changed.
        """
        return unsealed(ring, self.payee_id, self.version, self.key_id, self.ciphertext)


def unsealed(ring: KeyRing, payee_id: str, version: int, key_id: str, ciphertext: bytes) -> BankDetails:
    """The account in a row of a version. Raises as `Sealed.open`."""
    return BankDetails.read(ring.key(key_id).decrypt(ciphertext, _bound(payee_id, version)))


def sealed_sql(payee_id: str, version: str) -> str:
    """SQL of the row that `sealed_accounts` chooses of a version: key_id and ciphertext; ``:keys`` are the ring's.

    Args:
        payee_id: SQL expression.
        version: SQL expression.
    """
    return (
        "SELECT b.key_id, b.ciphertext FROM party.bank_account_version AS b"  # noqa: S608  (our own text)
        f" WHERE b.payee_id = {payee_id} AND b.version = {version}"
        " ORDER BY array_position(CAST(:keys AS text[]), b.key_id), b.recorded_at DESC LIMIT 1"
    )


_SEALED = (
    BankAccountVersion.payee_id,
    BankAccountVersion.version,
    BankAccountVersion.key_id,
    BankAccountVersion.masked,
    BankAccountVersion.fingerprint,
    BankAccountVersion.ciphertext,
)


def sealed_accounts(session: Session, versions: Mapping[str, int]) -> dict[str, Sealed]:
    """The accounts of these versions, by payee, each under the current key where there is such a row; as `payer`."""
    chosen = (
        select(*_SEALED)
        .where(BankAccountVersion.payee_id == any_(literal(list(versions), ARRAY(Text))))
        .order_by(BankAccountVersion.recorded_at)
    )
    ring = key_ring()
    found: dict[str, Sealed] = {}
    for row in session.execute(chosen):
        sealed = Sealed(*row)
        if versions[sealed.payee_id] != sealed.version:
            continue
        before = found.get(sealed.payee_id)
        if before is None or _preferred(ring, sealed.key_id) <= _preferred(ring, before.key_id):
            found[sealed.payee_id] = sealed
    return found


def opened_account(session: Session, payee_id: str, version: int) -> BankDetails | None:
    """The account of one version, as `payer`; None if it has none. Raises as `Sealed.open`."""
    sealed = sealed_accounts(session, {payee_id: version}).get(payee_id)
    return None if sealed is None else sealed.open(key_ring())


def _preferred(ring: KeyRing, key_id: str) -> int:
    return next((place for place, key in enumerate(ring.keys) if key.key_id == key_id), len(ring.keys))


def rekey(session: Session, actor: str) -> int:
    """Add a row under the current key for every account that has none; earlier rows stay. Run again, it goes on.

    Args:
        session: as the role `payer`.
        actor: who changes the key.

    Returns:
        How many rows were added.

    Raises:
        Unavailable: an account is encrypted under a key that this process does not have.
        Invalid: a row was changed since it was written.
    """
    ring = key_ring()
    under_current = (
        select(BankAccountVersion.payee_id, BankAccountVersion.version)
        .where(BankAccountVersion.key_id == ring.current.key_id)
        .subquery()
    )
    rows = session.execute(
        select(*_SEALED)
        .ext(distinct_on(BankAccountVersion.payee_id, BankAccountVersion.version))
        .outerjoin(
            under_current,
            (under_current.c.payee_id == BankAccountVersion.payee_id)
            & (under_current.c.version == BankAccountVersion.version),
        )
        .where(under_current.c.payee_id.is_(None))
        .order_by(
            BankAccountVersion.payee_id, BankAccountVersion.version, BankAccountVersion.recorded_at.desc()
        )
    ).all()
    for row in rows:
        sealed = Sealed(*row)
        session.add(
            encrypted(sealed.payee_id, sealed.version, sealed.open(ring), actor, "another key", ring.current)
        )
    session.flush()
    return len(rows)


def accounts_changed(session: Session, days: int) -> dict[str, datetime]:
    """When payees whose account was changed within so many days got the one they have now; their first is no change.

    Going by fingerprints: the same account recorded again, with another name or under another key, is no change.
    """
    if not days:
        return {}
    rows = session.execute(
        text(
            "SELECT payee_id, since"
            " FROM settlement.accounts_changed(clock_timestamp() - make_interval(days => :days))"
        ),
        {"days": days},
    )
    return {row.payee_id: row.since for row in rows}


def shared_accounts(session: Session) -> dict[str, list[str]]:
    """Payees whose account is another payee's too, with the others' ids."""
    rows = session.execute(text("SELECT payee_id, others FROM settlement.shared_accounts()"))
    return {row.payee_id: row.others for row in rows}
