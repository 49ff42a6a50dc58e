"""Rails: the ways on which payments go to a bank, and how the bank's answers come back.

A rail is told of a batch whose money is reserved: its attempts are committed, and each is named to the bank by its id,
so that telling it twice asks for one payment. What the bank answers, at once or days later, becomes `Outcome`s, which
`record_outcomes` takes the same way from every rail: twice, late, or out of order. A rail that cannot tell whether the
bank has heard of an attempt reports it as `unknown`, and asks before it says anything else.
"""

import hashlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from sqlalchemy.orm import Session

from settlement.payouts import run

Transactions = Callable[[], AbstractContextManager[Session]]
"""Opens a transaction as the role `payer`, committed when it is left."""


class Rail(Protocol):
    """One way to a bank."""

    def hand_over(self, transactions: Transactions, batch_id: str, actor: str, at: datetime) -> list[str]:
        """Tell the bank of a reserved batch, and record that it has been told. Killed anywhere, it is run again.

        Returns:
            Where to find what the bank was told: for people.
        """


@dataclass(frozen=True, slots=True)
class FileRail:
    """Files that somebody uploads: `pain.001` out; the bank's answers come in as files too (`bank_messages`)."""

    directory: Path

    def hand_over(self, transactions: Transactions, batch_id: str, actor: str, at: datetime) -> list[str]:
        """Write the batch's files, each whole or not at all, and record their digests."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)  # names and IBANs in full
        with transactions() as session:
            files = run.bank_files(session, batch_id)
        paths, digests = [], {}
        for file in files:
            path = self.directory.joinpath(file.name)
            with transactions() as session:
                digests[file.number] = _write(path, session, batch_id, file.number)
            paths.append(str(path))
        with transactions() as session:
            run.handed_over(session, batch_id, digests, actor, at)
        return paths


def _write(path: Path, session: Session, batch_id: str, number: int) -> bytes:
    """Write one file beside its place and move it there once it is whole and on the disk; returns its SHA-256."""
    unfinished, digest = path.with_name(f".{path.name}.part"), hashlib.sha256()
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as handle:
        for chunk in run.file_chunks(session, batch_id, number):
            digest.update(chunk)
            handle.write(chunk)
        handle.flush()
        os.fsync(handle.fileno())
    unfinished.replace(path)
    return digest.digest()
