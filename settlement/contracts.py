"""Contracts: from when an artist's share goes to which payees, in which splits. Versions; nothing is overwritten."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from database.base import Base, Key, RecordedAt
from database.errors import Conflict
from settlement.payees import Payee
from settlement.versions import closed_until, require_open_start


class ContractVersion(Base):
    """An artist's terms from `valid_from` until the next version's start, by their status:

    - `active`: her shares go to the payees of the splits;
    - `ended`: nobody is known to be paid for her: her shares are unclaimed, as if there had never been a contract;
    - `opted_out`: she wants no money from here: her shares are unattributed;
    - `public_domain`: nobody has rights: her shares go where the rate card says.
    """

    __tablename__ = "contract_version"
    __table_args__ = (
        UniqueConstraint("artist_id", "valid_from"),
        CheckConstraint("status IN ('active', 'ended', 'opted_out', 'public_domain')", name="status_known"),
        {"schema": "settlement"},
    )

    id: Mapped[Key]
    contract_id: Mapped[str]
    artist_id: Mapped[str]
    valid_from: Mapped[datetime]
    status: Mapped[str]
    actor: Mapped[str]
    reason: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class ContractSplit(Base):
    """One payee's part of a contract version, in ppb; a version's parts sum to 10^9 (checked at commit)."""

    __tablename__ = "contract_split"
    __table_args__ = (
        CheckConstraint("share_ppb BETWEEN 1 AND 1000000000", name="share_in_range"),
        {"schema": "settlement"},
    )

    contract_version_id: Mapped[int] = mapped_column(ForeignKey(ContractVersion.id), primary_key=True)
    payee_id: Mapped[str] = mapped_column(ForeignKey(Payee.payee_id), primary_key=True)
    share_ppb: Mapped[int]


@dataclass(frozen=True, slots=True)
class Contract:
    """An artist's terms from a moment on: ``splits`` are payees' parts in ppb, empty unless she is paid by them."""

    contract_id: str
    artist_id: str
    valid_from: datetime
    splits: dict[str, int]
    status: Literal["active", "ended", "opted_out", "public_domain"] = "active"


def record_contracts(session: Session, given: Sequence[Contract], *, actor: str, reason: str) -> int:
    """Write the contract versions that are not known yet.

    Returns:
        Number of versions written.

    Raises:
        Conflict: an artist has another version from the same moment on, or one that follows another would begin in a
            closed period; or the contract is another artist's.
    """
    versions = {
        (row.artist_id, row.valid_from): row
        for row in session.scalars(
            select(ContractVersion).where(ContractVersion.artist_id.in_([c.artist_id for c in given]))
        )
    }
    splits: dict[int, dict[str, int]] = {row.id: {} for row in versions.values()}
    for split in session.scalars(select(ContractSplit).where(ContractSplit.contract_version_id.in_(splits))):
        splits[split.contract_version_id][split.payee_id] = split.share_ppb
    named = select(ContractVersion.contract_id, ContractVersion.artist_id).distinct()
    owners = {row.contract_id: row.artist_id for row in session.execute(named)}
    known = {artist_id for artist_id, _ in versions}
    closed = closed_until(session)
    new = []
    for contract in given:
        if owners.setdefault(contract.contract_id, contract.artist_id) != contract.artist_id:
            raise Conflict(
                f"contract {contract.contract_id} is of artist {owners[contract.contract_id]}; "
                f"give that of {contract.artist_id} another id"
            )
        before = versions.get((contract.artist_id, contract.valid_from))
        if before is None:
            if contract.artist_id in known:
                require_open_start(
                    f"contract {contract.contract_id} of {contract.artist_id}", contract.valid_from, closed
                )
            new.append(contract)
        elif (before.contract_id, before.status, splits[before.id]) != (
            contract.contract_id,
            contract.status,
            contract.splits,
        ):
            raise Conflict(
                f"contract {before.contract_id} of {before.artist_id} is recorded otherwise from "
                f"{before.valid_from.date()} on; history stays: give the change a new valid_from"
            )
    rows = [
        ContractVersion(
            contract_id=contract.contract_id,
            artist_id=contract.artist_id,
            valid_from=contract.valid_from,
            status=contract.status,
            actor=actor,
            reason=reason,
        )
        for contract in new
    ]
    session.add_all(rows)
    session.flush()
    session.add_all(
        ContractSplit(contract_version_id=row.id, payee_id=payee_id, share_ppb=share)
        for row, contract in zip(rows, new, strict=True)
        for payee_id, share in contract.splits.items()
    )
    session.flush()
    return len(new)
