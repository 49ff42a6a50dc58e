"""A large payout batch to files, the bank's answers back, and random histories: python -m benchmarks.payouts [--quick].

From an approved batch to whole files on the disk (the figure with a target): the second check of the content, the
reservation of every payment in the ledger, the files, and the record of the hand-over. Then a status report and a
statement of the batch, each with a line for every payment. Then histories of payouts by a provider's API against the
model bank, in which everything dies and gets lost that can: after each its ledger is ours, or the benchmark fails.
"""

import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from random import Random
from resource import RUSAGE_SELF, getrusage
from time import perf_counter, process_time

import psycopg
import structlog
from psycopg.sql import SQL, Identifier
from schwifty import IBAN
from sqlalchemy import text

from benchmarks.harness import Bench, run
from benchmarks.payout_simulation import CURRENCIES, add_payees, random_run
from database.engine import database_url, embedded_server, engine, session
from database.migrate import migrate
from database.roles import Role
from database.settings import get_settings
from settlement import posting
from settlement.bank_details import BankDetails, encrypted
from settlement.bank_keys import key_ring
from settlement.catalogue_file import load_catalogue
from settlement.ledger import post_from_query, sequence_journals
from settlement.party import party_digest
from settlement.payouts.bank_messages.intake import take_file
from settlement.payouts.models import batch_state
from settlement.payouts.rail import FileRail
from settlement.payouts.run import approve_batch, create_batch, reserve
from settlement.periods.approval import approve, calculate, submit
from settlement.periods.calendar import cut_off, open_period
from settlement.periods.close import close

_HISTORIES = 500
"""Histories in one database: a run reads payees' balances from all of its postings."""
_IN_A_RUN = 25
"""Histories that share batches, calls and deaths."""
_AT = datetime(2026, 11, 3, 12, tzinfo=UTC)
_CATALOGUE = """
platform:
  id: platform
  name: Lumen Pictures GmbH
  address: {street: Torstrasse, building: "1", postcode: "10119", town: Berlin, country: DE}
  iban: DE89370400440532013000
  bic: COBADEFFXXX
  currency: EUR
  valid_from: 2026-01-01
  zone: UTC
  default_rate_card: standard
  model_developer: pay-dev
  minimum_payout: {EUR: "1.00"}
  dispute: {contact: royalties@example.com, days: 365}
payees:
  - {id: pay-dev, kind: model_developer, currency: EUR, name: Model Makers, iban: DE75512108001245126199}
rate_cards:
  - {id: standard, valid_from: 2026-01-01, model: per_image, rate: "30"}
"""


@contextmanager
def _scratch() -> Iterator[None]:
    """A database of this benchmark's own, on a server of its own."""
    directory = Path(tempfile.mkdtemp(prefix="royalty-bench-payouts-"))
    directory.chmod(0o755)
    os.environ["ROYALTY_HOME"] = str(directory)
    get_settings.cache_clear()
    try:
        migrate()
        yield
    finally:
        embedded_server().stop()
        shutil.rmtree(directory, ignore_errors=True)


def _close_october() -> None:
    """Terms, and a period that is closed without a sale."""
    with session(Role.SETTLEMENT) as opened:
        load_catalogue(opened, _CATALOGUE, actor="bench", reason="bench")
    with session(Role.ADMIN) as opened:
        open_period(opened, "2026-10", now=_AT)
        cut_off(opened, "2026-10", now=_AT)
        calculate(opened, "2026-10", actor="ann")
        draft = submit(opened, "2026-10")
        approve(opened, "2026-10", checker="bob", content_sha256=draft.sha256)
        close(opened, "2026-10", actor="ann")


def _owe(payees: int) -> None:
    """A closed period, and so many payees with bank details who are owed a little over 12 EUR each."""
    _close_october()
    people = []
    for number in range(1, payees + 1):
        details = {
            "name": f"Zoë Ångström {number}",
            "address": {"town": "Köln", "country": "DE", "street": "Ring", "building": "1"},
        }
        people.append((f"payee-{number}", details))
    with session(Role.ADMIN) as opened:
        opened.execute(
            text(
                "INSERT INTO settlement.payee (payee_id, kind, currency, actor)"
                " SELECT payee, 'person', 'EUR', 'bench' FROM unnest(CAST(:payees AS text[])) AS payee"
            ),
            {"payees": [payee for payee, _ in people]},
        )
        opened.execute(
            text(
                "INSERT INTO party.party_version (payee_id, version, salt, details, digest, actor, reason)"
                " SELECT payee, 1, 'salt', details, decode(digest, 'hex'), 'bench', 'bench'"
                " FROM unnest(CAST(:payees AS text[]), CAST(:details AS jsonb[]), CAST(:digests AS text[]))"
                " AS p (payee, details, digest)"
            ),
            {
                "payees": [payee for payee, _ in people],
                "details": [json.dumps(details) for _, details in people],
                "digests": [party_digest(b"salt", details) for _, details in people],
            },
        )
        key = key_ring().current
        accounts = [
            encrypted(
                payee,
                1,
                BankDetails(str(IBAN.generate("DE", "37040044", f"{number:010}"))),
                "bench",
                "bench",
                key,
            )
            for number, (payee, _) in enumerate(people, start=1)
        ]
        opened.bulk_save_objects(accounts)
        post_from_query(
            opened,
            f"""
            SELECT 'statement:2026-10:payee-' || n || ':EUR', '{posting.STATEMENT.kind}', %(at)s::timestamptz,
                   %(at)s::date, 'bench', NULL, true, l.*
            FROM generate_series(1, %(payees)s) AS n CROSS JOIN LATERAL (VALUES
                ('{posting.EXPENSE.code("EUR")}', '{posting.EXPENSE.account_class}', 'EUR', 12000000::bigint + n),
                ('{posting.PAYABLE.name}:payee-' || n || ':EUR', '{posting.PAYABLE.account_class}', 'EUR',
                 -12000000::bigint - n)) AS l
            """,  # noqa: S608  (made of the matrix)
            {"at": _AT, "payees": payees},
        )
        sequence_journals(opened)  # as the close does that issues the statements


def measure(bench: Bench) -> None:
    """Measure on a scratch database."""
    payees = 5_000 if bench.quick else 100_000
    with _scratch():
        _owe(payees)
        began = perf_counter()
        with session(Role.PAYER) as opened:
            batch_id = create_batch(opened, "EUR", date(2026, 11, 4), "ann").batch_id
        bench.add(f"create a batch of {payees} payouts", perf_counter() - began, "s")
        with session(Role.APPROVER) as opened:
            approve_batch(opened, batch_id, "bob")
        began = perf_counter()
        with session(Role.PAYER) as opened:
            reserve(opened, batch_id, "ann", _AT)
        bench.add("of which reserved", perf_counter() - began, "s")
        handing, cpu = perf_counter(), process_time()
        paths = FileRail(get_settings().royalty_home / "payouts").hand_over(
            lambda: session(Role.PAYER), batch_id, "ann", _AT
        )
        bench.add("of which files and hand-over", perf_counter() - handing, "s")
        bench.add("CPU of this process for the files", process_time() - cpu, "s")
        bench.add(
            f"submit {payees} payouts to a pain.001 file",
            perf_counter() - began,
            "s",
            at_most=None if bench.quick else 20,
        )
        bench.add("file", sum(Path(path).stat().st_size for path in paths) / 1e6, "MB")
        for name, content in (
            ("status report", _status(batch_id, payees)),
            ("statement", _statement(batch_id, payees)),
        ):
            path = get_settings().royalty_home / "bank.xml"
            path.write_bytes(content)
            began = perf_counter()
            with path.open("rb") as file, session(Role.PAYER) as opened:
                taken = take_file(opened, file, path.name, "ann")
            if sum(taken.outcomes.values()) != payees:
                raise RuntimeError(f"the {name} moved {taken.outcomes} of {payees} payouts")
            bench.add(f"import a {name} with {payees} lines", perf_counter() - began, "s")
        with session(Role.PAYER) as opened:
            if batch_state(opened, batch_id) != "settled":
                raise RuntimeError("the batch is not settled")
        bench.add("memory of this process at most", getrusage(RUSAGE_SELF).ru_maxrss / 1024, "MB")
        _histories(bench, 20 if bench.quick else 10_000)


def _histories(bench: Bench, count: int) -> None:
    # Calls that get no answer are what it is about: thousands of warnings.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    payments, seconds, runs = 0, 0.0, 0
    for first in range(0, count, _HISTORIES):
        last = min(first + _HISTORIES, count)
        _use_new_database(f"histories_{first}")
        _close_october()
        with session(Role.ADMIN) as opened:
            add_payees(opened, _IN_A_RUN)
        with (
            tempfile.TemporaryDirectory() as banks,
            bench.stage(f"histories {first:,} to {last:,}") as stage,
        ):
            for number, currency in zip(range(first, last, _IN_A_RUN), CURRENCIES, strict=False):
                drawn = Random(number)
                payments += random_run(currency, Path(banks), drawn, min(_IN_A_RUN, last - number))
                runs += 1
        seconds += stage.seconds
    bench.add("histories after which the bank's ledger was ours", count, "")
    bench.add("runs that they shared", runs, "")
    bench.add("payments in them", payments, "")
    bench.add("histories per second", count / seconds, "1/s")


def _use_new_database(name: str) -> None:
    """Go on in another database, which does not wait for its disk: what is killed here are processes, not machines."""
    for role in Role:
        engine(role).dispose()
    engine.cache_clear()
    database_url.cache_clear()
    with psycopg.connect(
        host=str(embedded_server().start()), user="postgres", dbname="postgres", autocommit=True
    ) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        connection.execute(SQL("ALTER DATABASE {} SET synchronous_commit = off").format(Identifier(name)))
    os.environ["DATABASE_NAME"] = name
    get_settings.cache_clear()
    migrate()


def _status(batch_id: str, payees: int) -> bytes:
    rows = "".join(
        f"<TxInfAndSts><OrgnlEndToEndId>{batch_id}-{n}-1</OrgnlEndToEndId><TxSts>ACSP</TxSts></TxInfAndSts>\n"
        for n in range(1, payees + 1)
    )
    return (
        '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.10"><CstmrPmtStsRpt><GrpHdr><MsgId>S</MsgId>'
        f"</GrpHdr><OrgnlPmtInfAndSts><OrgnlPmtInfId>{batch_id}</OrgnlPmtInfId>{rows}</OrgnlPmtInfAndSts>"
        "</CstmrPmtStsRpt></Document>"
    ).encode()


def _statement(batch_id: str, payees: int) -> bytes:
    with session(Role.PAYER) as opened:
        amounts = opened.execute(
            text("SELECT attempt_id, amount_micros / 10000 FROM settlement.payout_attempt")
        ).all()
    rows = "".join(
        f"<TxDtls><Refs><AcctSvcrRef>R{attempt}</AcctSvcrRef><EndToEndId>{attempt}</EndToEndId></Refs>"
        f'<Amt Ccy="EUR">{cents // 100}.{cents % 100:02}</Amt></TxDtls>\n'
        for attempt, cents in amounts
    )
    total = sum(cents for _, cents in amounts)
    return (
        '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt><GrpHdr><MsgId>C</MsgId>'
        f'</GrpHdr><Stmt><Id>1</Id><Ntry><Amt Ccy="EUR">{total // 100}.{total % 100:02}</Amt>'
        "<CdtDbtInd>DBIT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>2026-11-04</Dt></BookgDt>"
        f"<NtryDtls><Btch><PmtInfId>{batch_id}</PmtInfId><NbOfTxs>{payees}</NbOfTxs></Btch>{rows}</NtryDtls>"
        "</Ntry></Stmt></BkToCstmrStmt></Document>"
    ).encode()


if __name__ == "__main__":
    sys.exit(run("payouts", measure))
