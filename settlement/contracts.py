"""Contracts: from when an artist's share goes to which payees, in which splits. Versions; nothing is overwritten."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from database.base import Base, Key, RecordedAt
from settlement.payees import Payee


class ContractVersion(Base):
    """An artist's terms from `valid_from` until the next version's start. An end is a version with status `ended`."""

    __tablename__ = "contract_version"
    __table_args__ = (
        UniqueConstraint("artist_id", "valid_from"),
        CheckConstraint("status IN ('active', 'ended')", name="status_known"),
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
