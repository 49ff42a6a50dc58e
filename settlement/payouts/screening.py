"""Screening: whom a list names is not paid until a person has looked at it.

A finding opens a hold with the list entry's id as its reason. Whoever releases that hold clears the payee of this entry
as it stands, and of nothing else: another entry, or this one changed, is found again. Payees are screened when a batch
is made and again when it is submitted, each time against the list as it is then; which list it was stays with the
batch. What is compared is the whole name, whatever its case, accents and order of words, with initials and slips as far
as a threshold lets them (`name_score`), and the IBAN.
"""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import CheckConstraint, ForeignKey, Integer, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from attribution.prompt_words import split_words
from database.base import Base, RecordedAt
from database.errors import Invalid, Unavailable
from database.settings import get_settings
from settlement.bank_details import BankDetails
from settlement.payees import Payee
from settlement.payouts.holds import open_hold
from settlement.payouts.models import Hold, HoldRelease, PayoutBatch
from settlement.payouts.name_score import THRESHOLD, score
from settlement.payouts.sepa_text import latin


class ScreeningFinding(Base):
    """A payee whom an entry of a list names, and the hold that stops her payouts since. Erasable."""

    __tablename__ = "screening_finding"
    __table_args__ = (
        CheckConstraint("matched IN ('name', 'account')", name="matched_known"),
        {"schema": "party"},
    )

    payee_id: Mapped[str] = mapped_column(ForeignKey(Payee.payee_id), primary_key=True)
    entry_id: Mapped[str] = mapped_column(primary_key=True)
    entry_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    """Of the entry as it stands: a release clears of this one."""
    matched: Mapped[str] = mapped_column(primary_key=True)
    """name | account"""
    list_sha256: Mapped[bytes]
    hold_id: Mapped[int] = mapped_column(ForeignKey(Hold.id), index=True)
    actor: Mapped[str]
    recorded_at: Mapped[RecordedAt]


class BatchScreening(Base):
    """The list that a batch's payees were screened against; no row: against none."""

    __tablename__ = "screening"
    __table_args__ = (
        CheckConstraint("stage IN ('create', 'submit')", name="stage_known"),
        CheckConstraint("octet_length(list_sha256) = 32", name="list_sha256_length"),
        {"schema": "settlement"},
    )

    batch_id: Mapped[str] = mapped_column(ForeignKey(PayoutBatch.batch_id), primary_key=True)
    stage: Mapped[str] = mapped_column(primary_key=True)
    list_name: Mapped[str]
    list_sha256: Mapped[bytes]
    list_modified_at: Mapped[datetime]
    """When the file was last written: its age."""
    entries: Mapped[int] = mapped_column(Integer)
    payees: Mapped[int] = mapped_column(Integer)
    """How many were screened."""
    actor: Mapped[str]
    recorded_at: Mapped[RecordedAt]


@dataclass(frozen=True, slots=True)
class Screened:
    """Who is screened."""

    payee_id: str
    name: str
    iban: str | None = field(repr=False)

    @classmethod
    def of(cls, payee_id: str, details: Mapping[str, Any], account: BankDetails | None) -> "Screened":
        """A payee by her personal data and where she banks."""
        return cls(payee_id, details.get("name") or "", account.iban if account else None)


@dataclass(frozen=True, slots=True)
class Finding:
    """A payee whom an entry of a list names."""

    payee_id: str
    entry_id: str
    entry_sha256: bytes
    matched: str
    """name | account"""
    list_sha256: bytes
    score: int = 100
    """How alike the names are (`name_score.score`); an account is the same or is not."""

    @property
    def why(self) -> str:
        """What a hold says of it: never the name or account on the list."""
        alike = "" if self.score == 100 else f", {self.score} of 100 alike"
        return f"screening: list entry {self.entry_id} ({self.matched}{alike})"


@dataclass(frozen=True, slots=True)
class ListVersion:
    """A list as it was read."""

    name: str
    sha256: bytes
    modified_at: datetime
    entries: int


class Screening(Protocol):
    """Something that knows whom not to pay: a file here, a provider's service elsewhere."""

    @property
    def version(self) -> ListVersion | None:
        """What is screened against; None: nothing is."""

    def screen(self, parties: Sequence[Screened]) -> list[Finding]:
        """Whom it names. Raises `Unavailable` if it cannot tell."""


@dataclass(frozen=True, slots=True)
class NoScreening:
    """Where no list is configured: nobody is found, and a batch says that it was screened against none."""

    version: None = None

    def screen(self, parties: Sequence[Screened]) -> list[Finding]:
        """Nobody."""
        return []


@dataclass(frozen=True, slots=True)
class ListScreening:
    """A list in a file: CSV with a header, or JSON lines.

    Columns or keys: `id` (of the entry), `name`, `aliases` (in CSV separated by semicolons), `iban`, `country`. An
    entry has an id, and a name or an IBAN. The country is for the person who looks: an address elsewhere clears nobody.
    """

    version: ListVersion
    _names: Mapping[str, list[tuple[str, str, bytes]]] = field(repr=False)
    """Of each word the entries with it in a name: the name's key, the entry's id and digest."""
    _ibans: Mapping[str, list[tuple[str, bytes]]] = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> "ListScreening":
        """Read a list, whole or not at all.

        Raises:
            Unavailable: the file cannot be read.
            Invalid: an entry of it is none; nobody is paid by a list that is read in part.
        """
        try:
            content, modified = path.read_bytes(), path.stat().st_mtime_ns
        except OSError as error:
            raise Unavailable(
                f"payees cannot be screened: {path} cannot be read ({error.strerror}); mend SCREENING_LIST"
            ) from None
        return _read(path, content, modified)

    def screen(self, parties: Sequence[Screened]) -> list[Finding]:
        """Everybody whose name is alike enough to one on the list, with a word of it as it is, or whose account is."""
        found = []
        for party in parties:
            key = name_key(party.name)
            hits: dict[tuple[str, bytes, str], int] = {}
            for name, entry, digest in {hit for word in key.split() for hit in self._names.get(word, ())}:
                hit = (entry, digest, "name")
                hits[hit] = max(score(key, name), hits.get(hit, 0))
            if party.iban:
                for entry, digest in self._ibans.get(_compact(party.iban), ()):
                    hits[entry, digest, "account"] = 100
            found += [
                Finding(party.payee_id, entry, digest, matched, self.version.sha256, alike)
                for (entry, digest, matched), alike in sorted(hits.items())
                if alike >= THRESHOLD
            ]
        return found


@lru_cache(maxsize=65_536)
def name_key(name: str) -> str:
    """By what names are compared: words in small Latin letters without accents, in the order of the alphabet."""
    return " ".join(sorted(word.text for word in split_words(latin(name))))


def configured_screening() -> Screening:
    """The list of `SCREENING_LIST`, as it is now. Raises as `ListScreening.read`."""
    path = get_settings().screening_list
    return NoScreening() if path is None else ListScreening.read(path)


def open_findings(session: Session, findings: Iterable[Finding]) -> dict[str, Finding]:
    """Of each payee the first finding that nobody has cleared her of."""
    cleared = {
        (row.payee_id, row.entry_id, row.entry_sha256, row.matched)
        for row in session.scalars(
            select(ScreeningFinding).join(HoldRelease, HoldRelease.hold_id == ScreeningFinding.hold_id)
        )
    }
    left: dict[str, Finding] = {}
    for finding in findings:
        if (finding.payee_id, finding.entry_id, finding.entry_sha256, finding.matched) not in cleared:
            left.setdefault(finding.payee_id, finding)
    return left


def hold_findings(session: Session, findings: Iterable[Finding], actor: str) -> list[Finding]:
    """Open a hold for every finding that has none yet; returns those.

    Args:
        session: as the role `payer`.
        findings: what a screening found.
        actor: who had it made.
    """
    known = {
        (row.payee_id, row.entry_id, row.entry_sha256, row.matched)
        for row in session.scalars(select(ScreeningFinding))
    }
    new = [
        finding
        for finding in findings
        if (finding.payee_id, finding.entry_id, finding.entry_sha256, finding.matched) not in known
    ]
    for finding in new:
        session.add(
            ScreeningFinding(
                payee_id=finding.payee_id,
                entry_id=finding.entry_id,
                entry_sha256=finding.entry_sha256,
                matched=finding.matched,
                list_sha256=finding.list_sha256,
                hold_id=open_hold(session, finding.payee_id, finding.why, actor),
                actor=actor,
            )
        )
    session.flush()
    return new


def record_screening(
    session: Session, batch_id: str, stage: str, screening: Screening, payees: int, actor: str
) -> None:
    """Keep which list a batch was screened against; nothing where there is none."""
    version = screening.version
    if version is not None:
        session.add(
            BatchScreening(
                batch_id=batch_id,
                stage=stage,
                list_name=version.name,
                list_sha256=version.sha256,
                list_modified_at=version.modified_at,
                entries=version.entries,
                payees=payees,
                actor=actor,
            )
        )
        session.flush()


@lru_cache(maxsize=2)
def _read(path: Path, content: bytes, modified: int) -> ListScreening:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Invalid(f"{path} is not text in UTF-8: save it as UTF-8") from None
    names: dict[str, list[tuple[str, str, bytes]]] = {}
    ibans: dict[str, list[tuple[str, bytes]]] = {}
    count = 0
    for number, entry in _entries(path, text):
        count += 1
        entry_id = _field(entry, "id")
        iban, country = _compact(_field(entry, "iban")), _field(entry, "country").upper()
        listed = entry.get("aliases") or []
        aliases = listed.split(";") if isinstance(listed, str) else [str(alias) for alias in listed]
        keys = {name_key(name) for name in (_field(entry, "name"), *aliases)} - {""}
        if not entry_id or not (keys or iban):
            raise Invalid(f"{path}, entry {number}: an entry has an id, and a name or an iban")
        if country and not re.fullmatch("[A-Z]{2}", country):
            raise Invalid(f"{path}, entry {number}: write the country in two letters, as DE")
        canonical = json.dumps([entry_id, sorted(keys), iban, country]).encode()
        digest = hashlib.sha256(canonical).digest()
        for key in keys:
            for word in set(key.split()):
                names.setdefault(word, []).append((key, entry_id, digest))
        if iban:
            ibans.setdefault(iban, []).append((entry_id, digest))
    modified_at = datetime.fromtimestamp(modified // 1_000_000_000, UTC)
    version = ListVersion(path.name, hashlib.sha256(content).digest(), modified_at, count)
    return ListScreening(version, names, ibans)


def _entries(path: Path, text: str) -> Iterable[tuple[int, Mapping[str, Any]]]:
    if text.lstrip().startswith("{"):
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                try:
                    entry = json.loads(line)
                except ValueError:
                    entry = None
                if not isinstance(entry, dict):
                    raise Invalid(f"{path}, entry {number}: is no JSON object")
                yield number, entry
        return
    reader = csv.DictReader(io.StringIO(text))
    if not {"id", "name"} <= set(reader.fieldnames or ()):
        raise Invalid(f"{path}: a list in CSV begins with a header: id,name,aliases,iban,country")
    yield from enumerate(reader, start=1)


def _field(entry: Mapping[str, Any], name: str) -> str:
    return str(entry.get(name) or "").strip()


def _compact(iban: str) -> str:
    return "".join(iban.split()).upper()
