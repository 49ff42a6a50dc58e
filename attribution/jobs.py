"""The queue of images to attribute: rows with state, lease and attempts. PostgreSQL is the truth.

A broker message is only a wake-up; losing it or delivering it twice changes nothing.
"""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from attribution.generation import Image
from attribution.results import MethodVersionRow
from database.base import Base, RecordedAt


class AttributionJob(Base):
    """Work to do: attribute one image by one method version."""

    __tablename__ = "attribution_job"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'leased', 'done', 'failed')", name="state_known"),
        CheckConstraint("(state = 'leased') = (leased_until IS NOT NULL)", name="lease_has_end"),
        CheckConstraint("attempts >= 0", name="attempts_not_negative"),
        # What a worker claims next: the index holds open work only, so it stays small however long the history.
        Index("attribution_job_open_idx", "next_attempt_at", "image_id",
              postgresql_where=text("state IN ('pending', 'leased')")),
        {"schema": "attribution"},
    )  # fmt: skip

    image_id: Mapped[int] = mapped_column(ForeignKey(Image.id), primary_key=True)
    method_id: Mapped[int] = mapped_column(ForeignKey(MethodVersionRow.id), primary_key=True)
    state: Mapped[str] = mapped_column(server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default="0")
    leased_until: Mapped[datetime | None]
    leased_by: Mapped[str | None]
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    last_error: Mapped[str | None]
    finished_at: Mapped[datetime | None]
    recorded_at: Mapped[RecordedAt]
