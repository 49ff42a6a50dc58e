"""Sealing: everything booked before an instant is final, and fixed in the log."""

from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import or_, select, text
from sqlalchemy.orm import Session

from database.engine import psycopg_connection
from database.errors import Conflict
from settlement.ledger import log
from settlement.ledger.models import Seal
from settlement.ledger.records import rows_root


def keep_writers_out(session: Session) -> None:
    """Wait for every transaction that is posting now, and keep others from posting until this one ends.

    Before anything is appended to the log: who pays posts first and appends then.
    """
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('ledger.seal', 0))"))


def seal(session: Session, name: str, sealed_before: datetime, actor: str) -> None:
    """Seal everything booked before ``sealed_before``; the same seal again changes nothing.

    Waits for every transaction that is posting now: it commits before the seal or is refused after it. Every journal is
    in the log then; the seal names the log's head, gets its closing balances (trigger), and becomes a leaf itself.

    Raises:
        Conflict: the name stands for another instant, or the instant for another name, or a later one is sealed.
    """
    session.flush()
    if _is_sealed(session, name, sealed_before):
        return
    keep_writers_out(session)
    last = session.scalar(text("SELECT max(sealed_before) FROM ledger.seal"))
    if last is not None and sealed_before < last:
        raise Conflict(
            f"{name} cannot be sealed before {sealed_before.isoformat()}: {last.isoformat()} is sealed already"
        )
    log.sequence_journals(session)
    session.execute(
        text(
            "INSERT INTO ledger.seal (name, sealed_before, actor, log_size, log_root)"
            " VALUES (:name, :sealed_before, :actor, :size, :root) ON CONFLICT DO NOTHING"
        ),
        {
            "name": name,
            "sealed_before": sealed_before,
            "actor": actor,
            "size": log.size(session),
            "root": log.root(session),
        },
    )
    if _is_sealed(session, name, sealed_before):
        log_seal(session, name)


def log_seal(session: Session, name: str) -> None:
    """Append a seal to the log, unless it is there."""
    log.append(session, [("seal", name, seal_root(psycopg_connection(session), name))])


def seal_root(connection: psycopg.Connection[Any], name: str) -> bytes:
    """Root over a seal's rows: the seal's own, then its closing balances, each with the code that its account has."""
    return rows_root(connection, seal_queries(name))


def seal_queries(name: str) -> tuple[str, str]:
    """SELECTs of key and columns of a seal's rows."""
    literal = sql.quote(name)
    head = "key, name, sealed_before, actor, recorded_at, log_size, log_root"
    balance = "key, seal, account_id, opening, debits, credits, closing, code, class, currency"
    return (
        f"SELECT {head} FROM audit.record_seal WHERE seal = {literal}",  # noqa: S608
        f"SELECT {balance} FROM audit.record_closing_balance WHERE seal = {literal}"  # noqa: S608
        ' ORDER BY code COLLATE "C", account_id',
    )


def _is_sealed(session: Session, name: str, sealed_before: datetime) -> bool:
    known = session.scalars(
        select(Seal).where(or_(Seal.name == name, Seal.sealed_before == sealed_before))
    ).all()
    if not known:
        return False
    if [(row.name, row.sealed_before) for row in known] != [(name, sealed_before)]:
        there = ", ".join(f"{row.name} before {row.sealed_before.isoformat()}" for row in known)
        raise Conflict(
            f"{name} cannot be sealed before {sealed_before.isoformat()}: sealed already is {there}"
        )
    return True


def sealed_before(session: Session) -> datetime | None:
    """The instant before which everything is sealed; None if nothing is."""
    found: datetime | None = session.scalar(text("SELECT max(sealed_before) FROM ledger.seal"))
    return found
