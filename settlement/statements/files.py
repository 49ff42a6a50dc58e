"""A statement's files: the body as issued with its proof (JSON), its lines and its sections (CSV), and its PDF.

The same statement, the same bytes; the proof gets its checkpoint once one covers the statement.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from database.errors import Unavailable
from settlement.party import Party
from settlement.payees import PartyVersion
from settlement.statements.body import parse
from settlement.statements.csv import detail_csv
from settlement.statements.detail import FIELDS, Line
from settlement.statements.models import Statement, find_statement
from settlement.statements.pdf import PdfInput, Renderer, render_file, start_renderer, write_whole
from settlement.statements.proof import StatementProofs, statement_file
from settlement.statements.sections import sections_csv
from settlement.statements.yearly import yearly_report

Format = Literal["json", "csv", "sections.csv", "pdf"]

FORMATS: tuple[Format, ...] = ("json", "csv", "sections.csv", "pdf")

MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "sections.csv": "text/csv",
    "pdf": "application/pdf",
}


def statement_files(
    session: Session,
    statement_id: str,
    formats: Iterable[Format] = FORMATS,
    renderer: Renderer | None = None,
) -> dict[Format, bytes]:
    """The bytes of a statement's files, by format.

    Args:
        session: of any role that may read the statement; an artist's own rows are enough.
        statement_id: `<period>/<payee>/<currency>`.
        formats: which ones.
        renderer: makes the PDF; give one if there are many to make.

    Raises:
        NotFound: there is no such statement, or the session's user may not see it.
    """
    statement = find_statement(session, statement_id)
    proofs = StatementProofs(session)
    return {format: _file(session, statement, format, renderer, proofs) for format in formats}


def statement_lines(session: Session, statement: Statement) -> Iterator[Line]:
    """A statement's lines by id in byte order, as its detail digest takes them."""
    query = text(
        f"""
        SELECT {", ".join(FIELDS)} FROM settlement.statement_line
        WHERE payee_id = :payee AND period = :period AND statement_id = :statement ORDER BY line COLLATE "C"
        """  # noqa: S608  (names of fields)
    )
    rows = session.execute(
        query.execution_options(yield_per=1000),
        {
            "payee": statement.payee_id,
            "period": statement.period_id,
            "statement": statement.statement_id,
        },
    )
    return (Line(*row) for row in rows)


def yearly_files(
    session: Session, payee_id: str, year: int, renderer: Renderer | None = None
) -> dict[Literal["json", "pdf"], bytes]:
    """The bytes of a payee's transparency report for a year, by format. Raises as `yearly_report`."""
    report = yearly_report(session, payee_id, year)
    document = parse(report)
    last = find_statement(session, document["statements"][-1]["statement"])
    zone = parse(last.body.encode())["header"]["period"]["zone"]
    platform = document["header"]["platform"]
    pdf = (renderer or Renderer()).yearly(
        report,
        number=last.number,
        issued=last.recorded_at.astimezone(ZoneInfo(zone)).date(),
        payee=_party(session, document["header"]["payee"]),
        platform=_letterhead(session, platform) or Party(platform["id"]),
    )
    return {"json": report, "pdf": pdf}


def file_name(statement: Statement, format: Format) -> str:
    """A statement's file name: `2026-10_pay-1_EUR.pdf`."""
    return f"{statement.statement_id.replace('/', '_')}.{format}"


def write_statement_files(
    session: Session,
    statements: Sequence[Statement],
    directory: Path,
    formats: Sequence[Format] = FORMATS,
    processes: int = 1,
) -> Iterator[Path]:
    """Write statements' files into a directory, which is made if it is missing; yields each path once it is written.

    A file that is there already is replaced whole, never half.

    Args:
        session: of a role that may read the statements.
        statements: whose files.
        directory: where to.
        formats: which ones.
        processes: how many render PDFs at a time; few statements are rendered here, whatever is asked for.

    Raises:
        Unavailable: the directory cannot be written.
    """
    renderer = Renderer()
    proofs = StatementProofs(session)
    here = processes == 1 or "pdf" not in formats or len(statements) < _WORTH_PROCESSES
    waiting: deque[Future[Path]] = deque()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Spawned: a fork of a process with threads and connections may hang.
        with ProcessPoolExecutor(processes, get_context("spawn"), start_renderer) as pool:
            for statement in statements:
                for format in formats:
                    path = directory.joinpath(file_name(statement, format))
                    if format == "pdf" and not here:
                        waiting.append(pool.submit(render_file, pdf_input(session, statement), path))
                    else:
                        write_whole(path, _file(session, statement, format, renderer, proofs))
                        yield path
                while len(waiting) > _AHEAD * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    except OSError as error:
        raise Unavailable(
            f"{directory} cannot be written ({error.strerror}): free some space or name another directory"
        ) from error


_WORTH_PROCESSES = 100
"""Statements from which it pays to start processes: each takes a second or two."""

_AHEAD = 8
"""Statements read ahead for each process."""


def pdf_input(session: Session, statement: Statement) -> PdfInput:
    """What a statement's PDF follows from, read with the rights of the session's user."""
    header = parse(statement.body.encode())["header"]
    return PdfInput(
        statement.body.encode(),
        statement.number,
        statement.recorded_at.astimezone(ZoneInfo(header["period"]["zone"])).date(),
        _party(session, header["payee"]),
        _letterhead(session, header["platform"]) or Party(header["platform"]["id"]),
    )


def _file(
    session: Session,
    statement: Statement,
    format: Format,
    renderer: Renderer | None,
    proofs: StatementProofs,
) -> bytes:
    match format:
        case "json":
            return statement_file(statement.body.encode(), proofs.of(statement.statement_id))
        case "csv":
            return b"".join(detail_csv(statement_lines(session, statement)))
        case "sections.csv":
            return sections_csv(statement.body.encode())
        case "pdf":
            return pdf_input(session, statement).render(renderer or Renderer())


def _party(session: Session, reference: dict[str, str]) -> Party | None:
    """The party as it was when the statement was issued, found by the digest in the body; None once it is erased."""
    details = session.scalar(
        select(PartyVersion.details).where(
            PartyVersion.payee_id == reference["id"],
            PartyVersion.digest == bytes.fromhex(reference["party_digest"]),
        )
    )
    return None if details is None else Party.of(details)


def _letterhead(session: Session, reference: dict[str, str]) -> Party | None:
    """The platform as it headed the statement; who may read statements may read that much of it."""
    details = session.scalar(
        text(
            "SELECT details FROM settlement.letterhead WHERE payee_id = :id AND digest = decode(:digest, 'hex')"
        ),
        {"id": reference["id"], "digest": reference["party_digest"]},
    )
    return None if details is None else Party.of(details)
