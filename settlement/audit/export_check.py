"""An export against its manifest, without a database: nothing was altered, lost or added, and the figures tie."""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from database.errors import Invalid, NotFound
from settlement.audit.export import MANIFEST
from settlement.audit.export_ads import DETAIL, TRIAL_BALANCE
from settlement.money import to_decimal


@dataclass(frozen=True, slots=True)
class ExportCheck:
    """What was found."""

    files: int
    manifest_sha256: str
    """Compare it with the one that was printed when the export was made: the manifest cannot speak for itself."""
    faults: tuple[str, ...]


def check_export(directory: Path) -> ExportCheck:
    """Compare every file with the manifest, and rebuild the trial balance from GL_Detail where both are there.

    Raises:
        NotFound: there is no manifest.
        Invalid: it is not one.
    """
    path = directory.joinpath(MANIFEST)
    if not path.is_file():
        raise NotFound(f"{directory} has no {MANIFEST}: it is not a whole export")
    content = path.read_bytes()
    try:
        manifest = json.loads(content)
        files = {file["name"]: file for file in manifest["files"]}
        totals = manifest["totals"]
        lines = manifest["lines"]
    except (ValueError, KeyError, TypeError) as error:
        raise Invalid(f"{path} is not the manifest of an export ({error!r})") from error
    faults = [
        fault
        for name, file in sorted(files.items())
        for fault in _file_faults(directory.joinpath(name), name, file)
    ]
    there = {found.name for found in directory.iterdir()} - {MANIFEST}
    faults += [f"{name} is not in the manifest" for name in sorted(there - set(files))]
    if {DETAIL, TRIAL_BALANCE} <= set(files) & there:
        try:
            faults += _trial_balance_faults(directory, totals, lines)
        except (KeyError, ValueError) as error:
            faults.append(f"{DETAIL} or {TRIAL_BALANCE} cannot be read ({error!r})")
    return ExportCheck(len(files), hashlib.sha256(content).hexdigest(), tuple(faults))


def _file_faults(path: Path, name: str, file: dict[str, Any]) -> Iterator[str]:
    if Path(name).name != name or not path.is_file():
        yield f"{name} is missing"
        return
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if (path.stat().st_size, digest) != (file.get("bytes"), file.get("sha256")):
        yield f"{name} has another SHA-256 or size than the manifest says"


def _trial_balance_faults(directory: Path, totals: dict[str, dict[str, str]], lines: int) -> Iterator[str]:
    moved: Counter[str] = Counter()
    journals: Counter[tuple[str, str]] = Counter()
    sums: Counter[tuple[str, str]] = Counter()
    count = 0
    for row in _rows(directory.joinpath(DETAIL)):
        amount, currency = _micros(row["Amount"]), row["Amount_Currency"]
        debit = row["Amount_Credit_Debit_Indicator"] == "D"
        moved[row["GL_Account_Number"]] += amount if debit else -amount
        journals[row["Journal_ID"], currency] += amount if debit else -amount
        sums[currency, "debits" if debit else "credits"] += amount
        count += 1
    if count != lines:
        yield f"{DETAIL} has {count} lines, the manifest says {lines}"
    yield from (
        f"journal {journal} does not balance in {currency}"
        for (journal, currency), amount in sorted(journals.items())
        if amount
    )
    for currency, said in sorted(totals.items()):
        for side, text in sorted(said.items()):
            found = to_decimal(sums[currency, side])
            if found != text:
                yield f"{currency} {side} are {found}, the manifest says {text}"
    for row in _rows(directory.joinpath(TRIAL_BALANCE)):
        account = row["GL_Account_Number"]
        closing = _micros(row["Amount_Beginning"]) + moved.pop(account, 0)
        if closing != _micros(row["Amount_Ending"]):
            yield f"{account} ends at {to_decimal(closing)} by {DETAIL}, {row['Amount_Ending']} by {TRIAL_BALANCE}"
    yield from (f"{account} is not in {TRIAL_BALANCE}" for account in sorted(moved))


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as opened:
        yield from csv.DictReader(opened)


def _micros(text: str) -> int:
    """Micros of a decimal with six decimals, of any size: sums may exceed one amount's limit."""
    whole, _, decimals = text.partition(".")
    if len(decimals) != 6:
        raise ValueError(f"{text} is not an amount with six decimals")
    return int(whole + decimals)
