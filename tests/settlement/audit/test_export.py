"""Exports: other people's tools accept them, find our balances in them, and every altered byte is found."""

import csv
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from cli.exports import _WRITERS, export_command
from database.engine import engine, session
from database.errors import Conflict, Invalid, NotFound, Unavailable
from database.roles import Role
from settlement.audit.account_names import ROOTS, account_name
from settlement.audit.export import (
    Books,
    FileEntry,
    Format,
    Span,
    export,
    span_of_days,
    span_of_period,
)
from settlement.audit.export_check import check_export
from settlement.audit.export_hledger import write_hledger
from settlement.ledger import Entry, Line, post, reverse
from tests.cli.test_commands import royalty
from tests.settlement.audit.test_views import ask
from tests.settlement.books import TRIAL_BALANCE

BEAN_CHECK = Path(sys.executable).with_name("bean-check")
HLEDGER = shutil.which("hledger")

needs_hledger = pytest.mark.skipif(HLEDGER is None, reason="hledger is not installed: .ci/install-tools")

NAMES = (
    "pay:colon",
    'pay "quote" \\back',
    "Zoë; 東京, ltd | x",
    "-",
    ":",
    "a  b ",
    "PAY-1",
    "Pay-1",
    "=1+1",
    "%41",
)
"""Owners of accounts as nobody should call them, and any may be called."""


@pytest.fixture(scope="module")
def hostile(books: str) -> str:
    """The example's books and a third month: names that tools trip over, two currencies, large amounts, a reversal."""
    day = datetime(2027, 1, 5, 23, 30, tzinfo=UTC)
    entries = [
        Entry(
            kind="x; y | z",
            key=f'sale:"{name}"\\; — {number}',
            booked_at=day,
            value_date=date(2027, 1, 4),
            lines=[
                Line(f"royalties_payable:{name}:JPY", "liability", -(10**18) - number, "JPY"),
                Line("we ird_Näme:JPY", "asset", 10**18 + number, "JPY"),
                Line("royalties_payable:pay-1:EUR", "liability", -1 - number, "EUR"),
                Line("equity_reserve:EUR", "equity", 1 + number, "EUR"),
            ],
            actor='ann "the; boss", 50%',
        )
        for number, name in enumerate(NAMES)
    ]
    with session(Role.ADMIN) as own:
        assert post(own, entries).posted == len(NAMES)
        reverse(own, entries[0].key, "reversal:1", booked_at=day, actor="ann")
    return books


def write(directory: Path, span: Callable[[Session], Span], *formats: Format) -> str:
    repeatable = engine(Role.AUDITOR).execution_options(isolation_level="REPEATABLE READ")
    with Session(repeatable) as own, own.begin():
        return export(own, directory, span(own), {name: _WRITERS[name] for name in formats or Format})


def period(period_id: str) -> Callable[[Session], Span]:
    return lambda own: span_of_period(own, period_id)


def everything(own: Session) -> Span:
    return span_of_days(own, None, None)


def balances(before: str) -> dict[str, int]:
    return {
        code: int(balance)
        for code, balance in ask(
            "SELECT account, sum(amount) FROM audit.postings WHERE booked_at < %s GROUP BY account", before
        )
    }


def names() -> dict[str, str]:
    return {account_name(kind, code): code for kind, code in ask("SELECT class, account FROM audit.accounts")}


def bean_check(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BEAN_CHECK, "--no-cache", path], capture_output=True, text=True, check=False)


def hledger(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert HLEDGER is not None
    return subprocess.run([HLEDGER, "-f", path, *arguments], capture_output=True, text=True, check=False)


def micros(text: str) -> int:
    assert re.fullmatch(r"-?[0-9]+\.[0-9]{6}", text), text
    return int(text.replace(".", ""))


SPANS = pytest.mark.parametrize(
    ("span", "until"),
    [
        (period("2026-10"), "2026-11-01+00"),
        (period("2026-11"), "2026-12-01+00"),
        (everything, "2027-01-06+00"),
        (lambda own: span_of_days(own, date(2026, 11, 6), date(2026, 11, 9)), "2026-11-10+00"),
    ],
    ids=["first period", "second period", "everything", "some days"],
)


@SPANS
def test_bean_check_finds_our_balances(
    hostile: str, tmp_path: Path, span: Callable[[Session], Span], until: str
) -> None:
    write(tmp_path / "out", span, Format.BEANCOUNT)
    file = tmp_path / "out" / "ledger.beancount"
    accepted = bean_check(file)
    assert (accepted.returncode, accepted.stdout, accepted.stderr) == (0, "", "")
    # Our balances, asserted anew and not by the export; and each wrong by a micro.
    ours = balances(until)
    named = {code: name for name, code in names().items()}
    assert len(ours) > 5
    for wrong in (0, 1):
        asserted = tmp_path / f"wrong-{wrong}.beancount"
        asserted.write_text(
            f'option "tolerance_multiplier" "0"\ninclude "{file}"\n'
            + "".join(
                f"{until[:10]} balance {named[code]} {(balance + wrong) // 10**6}.{(balance + wrong) % 10**6:06}"
                f" {code[-3:]}\n"
                for code, balance in ours.items()
                if balance + wrong >= 0
            )
            + "".join(
                f"{until[:10]} balance {named[code]} -{-(balance + wrong) // 10**6}.{-(balance + wrong) % 10**6:06}"
                f" {code[-3:]}\n"
                for code, balance in ours.items()
                if balance + wrong < 0
            )
        )
        found = bean_check(asserted)
        assert found.stderr.count("Balance failed") + found.stdout.count("Balance failed") == wrong * len(
            ours
        )


@needs_hledger
@SPANS
def test_hledger_finds_our_balances(
    hostile: str, tmp_path: Path, span: Callable[[Session], Span], until: str
) -> None:
    write(tmp_path / "out", span, Format.HLEDGER)
    file = tmp_path / "out" / "ledger.journal"
    checked = hledger(file, "check", "--strict", "ordereddates")
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    shown = hledger(file, "balance", "--flat", "--no-total", "--empty", "--output-format", "csv").stdout
    coded = names()
    found = {
        coded[row["account"]]: 0
        if row["balance"] == "0"
        else micros(row["balance"].removesuffix(f" {coded[row['account']][-3:]}"))
        for row in csv.DictReader(shown.splitlines())
    }
    assert found == balances(until)


@needs_hledger
def test_hledger_reads_our_texts(hostile: str, tmp_path: Path) -> None:
    write(tmp_path / "out", everything, Format.HLEDGER)
    shown = hledger(tmp_path / "out" / "ledger.journal", "print", "--output-format", "json").stdout
    read = {int(t["tcode"]): t for t in json.loads(shown) if t["tcode"]}
    assert len(read) == 20 + len(NAMES)
    for journal_id, kind, key, actor in ask("SELECT journal_id, kind, key, actor FROM audit.journals"):
        transaction = read[journal_id]
        payee, _, note = transaction["tdescription"].partition(" | ")
        assert (unquote(payee), unquote(note)) == (kind, key)
        assert unquote(dict(transaction["ttags"])["actor"]) == actor


@SPANS
def test_csv_rebuilds_the_trial_balance(
    hostile: str, tmp_path: Path, span: Callable[[Session], Span], until: str
) -> None:
    write(tmp_path / "out", span, Format.ADS)
    detail = list(csv.DictReader((tmp_path / "out" / "GL_Detail.csv").open(newline="")))
    listed = list(csv.DictReader((tmp_path / "out" / "Trial_Balance.csv").open(newline="")))
    rebuilt = Counter({row["GL_Account_Number"]: micros(row["Amount_Beginning"]) for row in listed})
    for row in detail:
        assert row["Amount_Currency"] == row["GL_Account_Number"][-3:]
        sign = {"D": 1, "C": -1}[row["Amount_Credit_Debit_Indicator"]]
        rebuilt[row["GL_Account_Number"]] += sign * micros(row["Amount"])
    assert dict(rebuilt) == balances(until)
    assert {row["GL_Account_Number"]: micros(row["Amount_Ending"]) for row in listed} == dict(rebuilt)
    charted = {
        row["GL_Account_Number"]
        for row in csv.DictReader((tmp_path / "out" / "Chart_Of_Accounts.csv").open())
    }
    assert charted == set(rebuilt)
    sources = {row["Source"] for row in csv.DictReader((tmp_path / "out" / "Source_Listing.csv").open())}
    assert sources == {row["Source"] for row in detail}
    users = {row["User_ID"] for row in csv.DictReader((tmp_path / "out" / "User_Listing.csv").open())}
    assert users == {row[name] for row in detail for name in ("Entered_By", "Approved_By")} - {""}


def test_fields_of_a_line(hostile: str, tmp_path: Path) -> None:
    write(tmp_path / "out", everything, Format.ADS)
    rows = list(csv.DictReader((tmp_path / "out" / "GL_Detail.csv").open(newline="")))
    paid = next(row for row in rows if row["JE_Header_Description"] == "statement:2026-10:pay-1:EUR")
    [(journal_id, recorded)] = ask(
        "SELECT journal_id, recorded_at FROM audit.journals WHERE key = 'statement:2026-10:pay-1:EUR'"
    )
    assert paid == {
        "Journal_ID": str(journal_id),
        "Entered_Date": recorded.astimezone(UTC).date().isoformat(),
        "Entered_Time": f"{recorded.astimezone(UTC):%H:%M:%S.%f}".rstrip("0").rstrip("."),
        "Journal_ID_Line_Number": "1",
        "JE_Line_Description": "value date 2026-10-31",
        "Source": "statement",
        "Business_Unit_Code": "",
        "Effective_Date": "2026-10-31",
        "Fiscal_Year": "2026",
        "Period": "M10",
        "GL_Account_Number": "royalty_expense:EUR",
        "Amount": "0.184931",
        "Amount_Credit_Debit_Indicator": "D",
        "Amount_Currency": "EUR",
        "JE_Header_Description": "statement:2026-10:pay-1:EUR",
        "Entered_By": "ann",
        "Approved_By": "bob",
        "Approved_Date": "",
        "Approved_Time": "",
        "Reversal_Indicator": "N",
        "Reversal_Journal_ID": "",
    }
    reversal = [row for row in rows if row["Reversal_Indicator"] == "Y"]
    assert len(reversal) == 4
    reversed_id = reversal[0]["Reversal_Journal_ID"]
    assert {row["JE_Header_Description"] for row in rows if row["Journal_ID"] == reversed_id} == {
        f'sale:"{NAMES[0]}"\\; — 0'
    }


def test_the_same_ledger_gives_the_same_bytes(hostile: str, tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, period("2026-11")) for name in ("one", "two"))
    assert first == second == hashlib.sha256((tmp_path / "one" / "manifest.json").read_bytes()).hexdigest()
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    assert len(list((tmp_path / "one").iterdir())) == 8


def test_the_manifest(hostile: str, tmp_path: Path) -> None:
    write(tmp_path / "out", period("2026-11"))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["period"], manifest["first_day"], manifest["last_day"]) == (
        "2026-11",
        "2026-11-01",
        "2026-11-30",
    )
    assert (manifest["journals"], manifest["lines"]) == (10, 26)
    assert manifest["totals"]["EUR"] == {"debits": "4.836000", "credits": "4.836000"}
    [(name, size, root)] = ask("SELECT name, log_size, log_root FROM audit.seals WHERE name = '2026-11'")
    seal = manifest["seal"]
    assert (seal["name"], seal["log_size"], seal["log_root"]) == (name, size, root)
    for file in manifest["files"]:
        content = (tmp_path / "out" / file["name"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["bytes"], file["sha256"])
        if file["name"].endswith(".csv"):
            assert file["rows"] == content.count(b"\n") - 1
        else:
            assert file["rows"] == 26
    write(tmp_path / "open", everything)
    assert json.loads((tmp_path / "open" / "manifest.json").read_text())["seal"] is None


def _alter(directory: Path, name: str, old: str, new: str) -> None:
    path = directory / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "old", "new", "fault"),
    [
        ("GL_Detail.csv", "0.180000", "0.180001", "GL_Detail.csv has another SHA-256"),
        ("ledger.beancount", "0.180000", "0.180001", "ledger.beancount has another SHA-256"),
        ("ledger.journal", "sale-5", "sale-6", "ledger.journal has another SHA-256"),
        ("Trial_Balance.csv", "13.566000", "13.566001", "receivable:EUR ends at 13.566000"),
        ("GL_Detail.csv", "0.180000", "0.180001", r"journal \d+ does not balance in EUR"),
        ("manifest.json", '"lines": 26', '"lines": 27', "GL_Detail.csv has 26 lines, the manifest says 27"),
        ("manifest.json", "4.836000", "4.836001", "EUR debits are 4.836000"),
    ],
)
def test_tampering_is_found(hostile: str, tmp_path: Path, name: str, old: str, new: str, fault: str) -> None:
    digest = write(tmp_path / "out", period("2026-11"))
    sound = check_export(tmp_path / "out")
    assert (sound.faults, sound.files, sound.manifest_sha256) == ((), 7, digest)
    _alter(tmp_path / "out", name, old, new)
    found = check_export(tmp_path / "out")
    assert any(re.match(fault, one) for one in found.faults), found.faults
    assert (found.manifest_sha256 == digest) == (name != "manifest.json")


def test_files_lost_and_added_are_found(hostile: str, tmp_path: Path) -> None:
    write(tmp_path / "out", period("2026-11"))
    (tmp_path / "out" / "ledger.journal").rename(tmp_path / "out" / "other.journal")
    assert check_export(tmp_path / "out").faults == (
        "ledger.journal is missing",
        "other.journal is not in the manifest",
    )
    (tmp_path / "out" / "manifest.json").write_text("[]")
    with pytest.raises(Invalid, match="not the manifest"):
        check_export(tmp_path / "out")
    (tmp_path / "out" / "manifest.json").unlink()
    with pytest.raises(NotFound, match=r"no manifest\.json"):
        check_export(tmp_path / "out")


def test_every_line_of_gl_detail_is_covered(hostile: str, tmp_path: Path) -> None:
    """A line removed with its manifest's digest made to fit is found all the same: the figures do not tie."""
    write(tmp_path / "out", period("2026-11"), Format.ADS)
    detail = tmp_path / "out" / "GL_Detail.csv"
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    lines = detail.read_text().splitlines(keepends=True)
    for gone in (1, len(lines) - 1):
        content = "".join(lines[:gone] + lines[gone + 1 :]).encode()
        detail.write_bytes(content)
        entry = next(file for file in manifest["files"] if file["name"] == detail.name)
        entry.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest))
        found = check_export(tmp_path / "out").faults
        assert any("does not balance" in one for one in found) and any("ends at" in one for one in found)


def test_only_a_new_directory_is_written(hostile: str, tmp_path: Path) -> None:
    write(tmp_path / "out", period("2026-11"), Format.HLEDGER)
    with pytest.raises(Conflict, match="not an empty directory"):
        write(tmp_path / "out", period("2026-11"), Format.HLEDGER)
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", period("2026-11"), Format.HLEDGER)
    write(tmp_path / "made" / "on the way", period("2026-11"), Format.HLEDGER)
    assert check_export(tmp_path / "made" / "on the way").faults == ()


def test_a_directory_appears_whole_or_not_at_all(hostile: str, tmp_path: Path) -> None:
    def fails(books: Books, directory: Path) -> list[FileEntry]:
        write_hledger(books, directory)
        raise OSError(28, "No space left on device")

    with pytest.raises(Unavailable, match="No space left"), session(Role.AUDITOR) as own:
        export(own, tmp_path / "out", span_of_period(own, "2026-11"), {Format.HLEDGER: fails})
    assert list(tmp_path.iterdir()) == []


def test_spans(hostile: str) -> None:
    with session(Role.AUDITOR) as own:
        whole = span_of_days(own, None, None)
        assert (whole.first, whole.last, whole.zone) == (date(2026, 10, 5), date(2027, 1, 5), "UTC")
        assert span_of_period(own, "2026-11").last == date(2026, 11, 30)
        with pytest.raises(NotFound, match="2025-01"):
            span_of_period(own, "2025-01")
        with pytest.raises(Invalid, match="--from 2026-12-01 is after --to 2026-11-30"):
            span_of_days(own, date(2026, 12, 1), date(2026, 11, 30))
        with pytest.raises(Invalid, match="too late"):
            span_of_days(own, None, date(9999, 12, 31))


def test_days_are_the_zone_s(hostile: str, tmp_path: Path) -> None:
    """What is booked at 23:30 UTC is booked the next day in Berlin, in every format."""
    start = datetime(2027, 1, 5, 23, tzinfo=UTC)
    span = Span(start, datetime(2027, 1, 6, 23, tzinfo=UTC), "Europe/Berlin")
    write(tmp_path / "out", lambda _: span)
    rows = list(csv.DictReader((tmp_path / "out" / "GL_Detail.csv").open(newline="")))
    assert {row["Effective_Date"] for row in rows} == {"2027-01-06"} and len(rows) == 4 * len(NAMES) + 4
    assert bean_check(tmp_path / "out" / "ledger.beancount").returncode == 0
    assert "2027-01-07 balance " in (tmp_path / "out" / "ledger.beancount").read_text()
    assert check_export(tmp_path / "out").faults == ()


def test_an_empty_span_and_an_empty_ledger(hostile: str, tmp_path: Path) -> None:
    write(tmp_path / "out", lambda own: span_of_days(own, date(2020, 1, 1), date(2020, 1, 2)))
    assert check_export(tmp_path / "out").faults == ()
    assert bean_check(tmp_path / "out" / "ledger.beancount").returncode == 0


def test_the_command(hostile: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = royalty("export", str(out), "--period", "2026-10", "--format", "ads")
    assert written.returncode == 0, written.stderr
    assert hashlib.sha256((out / "manifest.json").read_bytes()).hexdigest() in written.stdout
    assert (out / "GL_Detail.csv").exists() and not (out / "ledger.journal").exists()
    export_command(out, check=True)
    _alter(out, "GL_Detail.csv", "receivable", "Receivable")
    broken = royalty("export", str(out), "--check")
    assert broken.returncode == 1 and "another SHA-256" in broken.stdout


def test_the_command_s_spans(hostile: str, tmp_path: Path) -> None:
    day = datetime(2026, 10, 6)  # noqa: DTZ001  (as the command line gives it)
    with pytest.raises(Invalid, match="two spans"):
        export_command(tmp_path / "new", period_id="2026-10", first=day)
    export_command(tmp_path / "new", first=day, last=day.replace(day=10), formats=[Format.ADS, Format.ADS])
    manifest = json.loads((tmp_path / "new" / "manifest.json").read_text())
    assert (manifest["journals"], manifest["formats"]) == (2, ["ads"])


# What is between a code's first and last colon and before it may be any text without control characters.
CODES = st.from_regex(r"\A[^\x00-\x1f\x7f]*(:[^\x00-\x1f\x7f]*)?:[A-Z]{3}\Z")
CLASSES = st.sampled_from(sorted(ROOTS))


def code_of(name: str) -> str:
    """The way back, from the rule as the manifest tells it."""
    _, head, *owner, currency = name.split(":")
    head = _unescaped(head[1:]) if head[0] == "0" else "_".join(re.findall("[A-Z][a-z]*", head)).lower()
    parts = [_unescaped(one[1:]) if one[0] == "0" else one[0].lower() + _unescaped(one[1:]) for one in owner]
    return ":".join((head, *parts, currency))


def _unescaped(text: str) -> str:
    return re.sub(
        rb"-(-|[0-9a-f]{2})",
        lambda match: b"-" if match[1] == b"-" else bytes.fromhex(match[1].decode()),
        text.encode(),
    ).decode()


@settings(max_examples=200, deadline=None)
@given(account_class=CLASSES, code=CODES)
@example(account_class="asset", code="bank:EUR")
@example(account_class="asset", code=":EUR")
@example(account_class="asset", code="::EUR")
@example(account_class="asset", code="a:b:c:EUR")
@example(account_class="asset", code="royaltiesPayable:x:EUR")
@example(account_class="asset", code="RoyaltiesPayable:X:EUR")
@example(account_class="asset", code="_:Ünï-c0de---:EUR")
def test_names_of_accounts_lead_back(account_class: str, code: str) -> None:
    name = account_name(account_class, code)
    assert code_of(name) == code
    assert name.startswith(f"{ROOTS[account_class]}:")
    # beancount's grammar, in its ASCII part.
    assert all(re.fullmatch(r"[A-Z0-9][A-Za-z0-9-]*", part) for part in name.split(":"))


def test_names_of_accounts_are_readable() -> None:
    assert [
        account_name("liability", code)
        for code in ("royalties_payable:pay-1:EUR", "suspense_unclaimed:Zoë B.:EUR", "bank:EUR")
    ] == [
        "Liabilities:RoyaltiesPayable:Pay--1:EUR",
        "Liabilities:SuspenseUnclaimed:0Zo-c3-ab-20B-2e:EUR",
        "Liabilities:Bank:EUR",
    ]


def test_the_example_s_balances_are_exported(books: str, hostile: str, tmp_path: Path) -> None:
    write(tmp_path / "out", period("2026-11"), Format.ADS)
    rows: Iterator[dict[str, str]] = csv.DictReader((tmp_path / "out" / "Trial_Balance.csv").open())
    assert {
        row["GL_Account_Number"]: (micros(row["Amount_Beginning"]), micros(row["Amount_Ending"]))
        for row in rows
    } == {code: (figures[2], figures[5]) for code, figures in TRIAL_BALANCE.items()}
