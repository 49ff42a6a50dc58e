"""Sales to customers whom the sale itself pays: flagged by a view for somebody to look at, and settled like any other.

A platform says who bought by its own reference of a customer, and of a payee which customer she is. Only whether both
are the same is ever asked, so that hashes are kept and no references.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from database.base import Base, RecordedAt
from settlement.payees import Payee
from settlement.sales import Sale, customer_sha256


class SaleBuyer(Base):
    """Who bought, where the platform says so."""

    __tablename__ = "sale_buyer"
    __table_args__ = (
        CheckConstraint("octet_length(customer_sha256) = 32", name="customer_sha256_length"),
        Index(None, "customer_sha256"),
        {"schema": "settlement"},
    )

    sale_id: Mapped[int] = mapped_column(ForeignKey(Sale.id), primary_key=True, autoincrement=False)
    customer_sha256: Mapped[bytes]
    recorded_at: Mapped[RecordedAt]


class PayeeCustomer(Base):
    """Which customer a payee is; she may be several."""

    __tablename__ = "payee_customer"
    __table_args__ = (
        CheckConstraint("octet_length(customer_sha256) = 32", name="customer_sha256_length"),
        Index(None, "customer_sha256"),
        {"schema": "settlement"},
    )

    payee_id: Mapped[str] = mapped_column(ForeignKey(Payee.payee_id), primary_key=True)
    customer_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    actor: Mapped[str]
    reason: Mapped[str]
    recorded_at: Mapped[RecordedAt]


@dataclass(frozen=True, slots=True)
class OwnPurchase:
    """A sale whose customer is paid for the image."""

    sale: str
    image: str
    payee_id: str
    artist_id: str
    share_ppb: int
    """Of the artist, in the attribution."""
    currency: str
    price_micros: int
    royalties_micros: int
    """What the closed periods' lines of this sale gave the payee so far."""


def record_customers(session: Session, customers: Mapping[str, str], *, actor: str, reason: str) -> int:
    """Record which customer payees are, references by payee's id. Returns how many are new."""
    statement = text(
        "INSERT INTO settlement.payee_customer (payee_id, customer_sha256, actor, reason)"
        " VALUES (:payee_id, :customer, :actor, :reason) ON CONFLICT DO NOTHING RETURNING payee_id"
    )
    given = {"actor": actor, "reason": reason}
    return sum(
        len(
            session.execute(
                statement, {**given, "payee_id": payee_id, "customer": customer_sha256(reference)}
            ).all()
        )
        for payee_id, reference in sorted(customers.items())
    )


def own_purchases(session: Session) -> list[OwnPurchase]:
    """Sales whose customer is paid for the image, by sale; of a role that reads the audit views."""
    rows = session.execute(
        text(
            "SELECT sale, image, payee_id, artist_id, share_ppb, currency, price_micros, royalties_micros"
            " FROM audit.own_purchases ORDER BY sale, payee_id, artist_id"
        )
    )
    return [OwnPurchase(*row) for row in rows]
