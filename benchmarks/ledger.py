"""The ledger's speed with every guarantee on, beside the same tables by COPY alone and beside pgledger.

python -m benchmarks.ledger [--quick] [--pgledger DIR] [--json FILE]

Everything is measured in one run, on an embedded server of its own with stock settings; ratios are of figures of this
run, each the best of its rounds, which take turns. Of pgledger (https://github.com/pgr0ss/pgledger) DIR is a checkout.
"""

import os
import resource
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from time import perf_counter

import psycopg

from benchmarks.harness import Bench, run
from settlement.ledger import Entry, Line, post

_AT = datetime(2026, 10, 5, 12, tzinfo=UTC)
_PAYEES = 10_000
_MICROS = 1_000_000


def measure(bench: Bench) -> None:
    """Measure posting and verifying, in a data directory that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="royalty-benchmark-") as home:
        Path(home).chmod(0o755)  # as root the server runs as a user of its own
        os.environ["ROYALTY_HOME"] = home
        for name in ("DATABASE_URL", "BROKER_URL", "ROYALTY_MODEL", "DATABASE_NAME"):
            os.environ.pop(name, None)
        from database.engine import embedded_server
        from database.migrate import migrate

        try:
            migrate()
            measure_ledger(bench)
            if "pgledger" in bench.directories:
                _compare(bench, _pgledger(bench.directories["pgledger"], bench))
        finally:
            embedded_server().stop()


def entries(prefix: str, journals: int, lines: int) -> list[Entry]:
    """Journals of ``lines`` lines: what a platform owes, to payees in turn."""
    credits = lines - 1
    return [
        Entry(
            "benchmark",
            f"{prefix}:{number:08d}",
            _AT,
            _AT.date(),
            [
                Line("royalty_expense:EUR", "expense", credits * _MICROS, "EUR"),
                *(
                    Line(
                        f"royalties_payable:payee-{(number * credits + credit) % _PAYEES}:EUR",
                        "liability",
                        -_MICROS,
                        "EUR",
                    )
                    for credit in range(credits)
                ),
            ],
            "benchmark",
        )
        for number in range(journals)
    ]


def measure_ledger(bench: Bench) -> None:
    """Post in every shape, verify what was posted, and note the figures. The database is migrated and empty."""
    from database.engine import psycopg_connection, session
    from database.roles import Role
    from settlement.audit.verify import CHECKS, verify

    rounds = 1 if bench.quick else 3
    bulk = 2_000 if bench.quick else 50_000
    total = 4_000 if bench.quick else 200_000
    verified = 4_000 if bench.quick else 1_000_000
    names = iter(range(1_000_000))

    def seconds(work: list[Entry]) -> float:
        begun = perf_counter()
        with session(Role.SETTLEMENT) as opened:
            post(opened, work)
        return perf_counter() - begun

    with bench.stage("open the payees' accounts"), session(Role.AUDITOR) as opened:
        bench.note_server(opened)
        bench.machine["load"] = " ".join(f"{load:.1f}" for load in os.getloadavg())
    first = seconds(entries("accounts", 1, _PAYEES + 1))
    bench.add("first journal to 10,000 payees, accounts opened", first, "s")

    one = min(seconds(entries(f"one-{next(names)}", 1, _PAYEES + 1)) for _ in range(5))
    bench.add("one journal to 10,000 payees", one, "s", at_most=0.2)

    with bench.stage("two lines a journal, in turns with COPY alone"):
        posted, copied, copied_with_keys = [], [], []
        client = 0
        for number in range(rounds):
            work = entries(f"bulk-{number}", bulk, 2)
            before = _client_peak()
            posted.append(bulk / seconds(work))
            client = max(client, _client_peak() - before)
            copied.append(_raw_copy_rate(bulk, foreign_keys=False))
            copied_with_keys.append(_raw_copy_rate(bulk, foreign_keys=True))
    bench.add("two-line journals", max(posted), "journals/s", at_least=30_000)
    bench.add("COPY alone, keys and indexes", max(copied), "journals/s")
    bench.add("COPY alone, foreign keys too", max(copied_with_keys), "journals/s")
    bench.add("share of COPY alone, keys and indexes", max(posted) / max(copied), "", at_least=0.6)
    bench.add("share of COPY alone, foreign keys too", max(posted) / max(copied_with_keys), "", at_least=0.6)
    bench.add("client's memory, what posting adds", client / 2**20, "MiB")

    with bench.stage("from 2 to 10,000 lines a journal"):
        shapes = [2, 10, 100, 1_000, 10_000]
        rates = dict.fromkeys(shapes, 0.0)
        for _ in range(rounds):
            for lines in shapes:
                count = max(1, total // lines)
                work = entries(f"shape-{next(names)}", count, lines)
                rates[lines] = max(rates[lines], count * lines / seconds(work))
    for lines, rate in rates.items():
        bench.add(f"{lines:,} lines a journal", rate, "lines/s")
    bench.add("fastest by slowest", max(rates.values()) / min(rates.values()), "", at_most=2)

    with bench.stage("post what is verified"), session(Role.SETTLEMENT) as opened:
        there = 0
        while there < verified:
            post(opened, entries(f"verified-{there}", min(100_000, verified - there), 2))
            there += min(100_000, verified - there)
        server = _server_peak(psycopg_connection(opened).info.backend_pid)
    bench.add("server's memory, one backend", server / 2**20, "MiB")
    with bench.stage("analyse"), session(Role.ADMIN) as opened:
        opened.connection().exec_driver_sql("ANALYZE ledger.journal, ledger.posting, ledger.account")
        journals = int(
            opened.connection().exec_driver_sql("SELECT count(*) FROM ledger.journal").scalar_one()
        )
    for check in CHECKS:
        if check.name.startswith("journals"):
            with bench.stage(f"verify: {check.name}") as stage, session(Role.AUDITOR) as opened:
                if not verify(opened, [check]).ok:
                    raise RuntimeError(f"the books do not verify: {check.name}")
            bench.add(f"verify: {check.name}", stage.rate(journals), "journals/s", at_least=250_000)


def _client_peak() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _server_peak(pid: int) -> int:
    """The most memory that a server's process has had, in bytes, shared buffers that it touched included."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def _admin(database: str | None = None) -> "psycopg.Connection[tuple[object, ...]]":
    from database.engine import conninfo
    from database.roles import Role

    given = conninfo(Role.ADMIN)
    return psycopg.connect(psycopg.conninfo.make_conninfo(given, dbname=database) if database else given)


_COPIES = """
SET event_triggers = off;
DROP SCHEMA IF EXISTS benchmark CASCADE;
CREATE SCHEMA benchmark;
CREATE TABLE benchmark.account (LIKE ledger.account INCLUDING ALL);
CREATE TABLE benchmark.journal (LIKE ledger.journal INCLUDING ALL);
CREATE TABLE benchmark.posting (LIKE ledger.posting INCLUDING ALL);
ALTER TABLE benchmark.journal ADD FOREIGN KEY (reverses) REFERENCES benchmark.journal (id);
INSERT INTO benchmark.account OVERRIDING SYSTEM VALUE SELECT * FROM ledger.account;
ANALYZE benchmark.account
"""
_FOREIGN_KEYS = """
ALTER TABLE benchmark.account ADD UNIQUE (id, currency);
ALTER TABLE benchmark.journal ADD UNIQUE (id, lines, booked_at);
ALTER TABLE benchmark.posting
    ADD FOREIGN KEY (account_id, currency) REFERENCES benchmark.account (id, currency),
    ADD FOREIGN KEY (journal_id, lines, booked_at) REFERENCES benchmark.journal (id, lines, booked_at)
"""


def _raw_copy_rate(journals: int, *, foreign_keys: bool) -> float:
    """Two-line journals per second by COPY of a finished text into copies of the tables without any trigger of ours."""
    digest = sha256(b"benchmark").hexdigest()
    with _admin() as connection:
        connection.execute(_COPIES)
        if foreign_keys:
            connection.execute(_FOREIGN_KEYS)
        ids = [row[0] for row in connection.execute("SELECT id FROM benchmark.account ORDER BY code")]
        connection.commit()
        at = _AT.isoformat()
        headers = "".join(
            f"{number}\tbenchmark\tbulk:{number:08d}\t{at}\t{_AT:%Y-%m-%d}\t2\t\\\\x{digest}\tbenchmark\n"
            for number in range(1, journals + 1)
        ).encode()
        lines = "".join(
            f"{number}\t1\t2\t{at}\t{ids[-1]}\t{_MICROS}\tEUR\n"
            f"{number}\t2\t2\t{at}\t{ids[number % _PAYEES]}\t{-_MICROS}\tEUR\n"
            for number in range(1, journals + 1)
        ).encode()
        begun = perf_counter()
        for target, text in (
            ("journal (id, kind, key, booked_at, value_date, lines, content_sha256, actor)", headers),
            ("posting (journal_id, line, lines, booked_at, account_id, amount, currency)", lines),
        ):
            with connection.cursor().copy(f"COPY benchmark.{target} FROM STDIN".encode()) as copy:
                copy.write(text)
        connection.commit()
        rate = journals / (perf_counter() - begun)
        connection.execute("SET event_triggers = off; DROP SCHEMA benchmark CASCADE")
    return rate


def _pgledger(checkout: Path, bench: Bench) -> dict[str, float]:
    """pgledger's own SQL from a checkout, in a database of its own: seconds and journals per second by figure."""
    count = 1_000 if bench.quick else _PAYEES
    with _admin() as connection:
        connection.autocommit = True
        connection.execute("CREATE DATABASE pgledger")
    with _admin("pgledger") as connection:
        connection.autocommit = False
        for file in (
            "vendor/scoville-pgsql-ulid/ulid-to-uuid.sql",
            "vendor/scoville-pgsql-ulid/uuid-to-ulid.sql",
            "pgledger.sql",
        ):
            connection.execute((checkout / file).read_bytes())
        accounts = [
            str(row[0])
            for row in connection.execute(
                "SELECT (pgledger_create_account('account ' || n, 'EUR')).id FROM generate_series(0, %s) AS n",
                (count,),
            )
        ]
        connection.commit()

        def transfer(sources: list[str], targets: list[str]) -> float:
            begun = perf_counter()
            connection.execute(
                "SELECT count(*) FROM pgledger_create_transfers((SELECT array_agg(ROW(f, t, 1)::transfer_request)"
                " FROM unnest(%s::text[], %s::text[]) AS u (f, t)), event_at => now())",
                (sources, targets),
            )
            connection.commit()
            return perf_counter() - begun

        first, others = accounts[0], accounts[1:]
        with bench.stage("pgledger: one call to all accounts"):
            one = min(transfer([first] * count, others) for _ in range(1 if bench.quick else 3))
        rate = 0.0
        with bench.stage("pgledger: transfers in arrays"):
            for size in (100, 1_000, count):
                spread = [others[(7 * number + 1) % count] for number in range(size)]
                best = min(transfer(spread, spread[1:] + spread[:1]) for _ in range(1 if bench.quick else 3))
                rate = max(rate, size / best)
    bench.add(f"pgledger: one call to {count:,} accounts", one, "s")
    bench.add("pgledger: transfers in arrays, its best size", rate, "journals/s")
    return {"one": one * _PAYEES / count, "rate": rate}


def _compare(bench: Bench, other: dict[str, float]) -> None:
    ours: Callable[[str], float] = {figure.name: figure.value for figure in bench.figures}.__getitem__
    bench.add(
        "times pgledger, to 10,000 payees",
        other["one"] / ours("one journal to 10,000 payees"),
        "",
        at_least=20,
    )
    bench.add("times pgledger, two-line journals", ours("two-line journals") / other["rate"], "", at_least=8)


if __name__ == "__main__":
    help_line = "a checkout of pgledger, measured beside"
    sys.exit(run("ledger", measure, directories={"pgledger": help_line}))
