"""The ledger as an hledger journal: accounts and commodities declared, every balance asserted at the end."""

import re
from datetime import timedelta
from pathlib import Path

from settlement.audit.account_names import account_name
from settlement.audit.export import Books, FileEntry, Output
from settlement.money import to_decimal

NAME = "ledger.journal"

_PLAIN = re.compile(r"[!-$&-+\--:<-{}~]*")
"""Visible ASCII without `%`, `,`, `;` and `|`."""


def write_hledger(books: Books, directory: Path) -> list[FileEntry]:
    """Write `ledger.journal`: openings on the day before the span, balances as the last transaction of its last day.

    Texts are percent-encoded where hledger would read something else in them: `;` begins a comment, `,` ends a tag, `|`
    ends a payee, and blanks at the ends are dropped.
    """
    span = books.span
    names = {one.code: account_name(one.account_class, one.code) for one in books.accounts}
    with Output(directory.joinpath(NAME)) as output:
        for currency in sorted({one.currency for one in books.accounts}):
            output.write(f"commodity 1000.000000 {currency}\n".encode())
        for one in books.accounts:
            output.write(f"account {names[one.code]}  ; code:{_plain(one.code)}\n".encode())
        opened = [one for one in books.accounts if one.opening]
        if opened:
            output.write(f"\n{span.first - timedelta(days=1)} * opening balances\n".encode())
            for one in opened:
                output.write(f"    {names[one.code]}  {to_decimal(one.opening)} {one.currency}\n".encode())
        journal = None
        for line in books.postings():
            if line.journal_id != journal:
                journal = line.journal_id
                facts = (
                    ("actor", line.actor),
                    ("approved_by", line.approved_by),
                    ("created_by", line.created_by),
                    ("recorded_at", line.recorded_at),
                    ("value_date", line.value_date),
                    ("reverses", line.reverses),
                )
                tags = ", ".join(f"{name}:{_plain(fact)}" for name, fact in facts if fact is not None)
                output.write(
                    f"\n{line.date} * ({journal}) {_plain(line.kind)} | {_plain(line.key)}  ; {tags}\n".encode()
                )
            output.write(f"    {names[line.account]}  {line.amount} {line.currency}\n".encode())
            output.rows += 1
        if books.accounts:
            output.write(f"\n{span.last} * balances at the end of the day\n".encode())
            for one in books.accounts:
                closing = f"{to_decimal(one.closing)} {one.currency}"
                output.write(f"    {names[one.code]}  0.000000 {one.currency} == {closing}\n".encode())
    return [output.entry]


def _plain(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    return "".join(
        character if character.isprintable() and character not in "%;,| " else _percent(character)
        for character in text
    )


def _percent(character: str) -> str:
    return "".join(f"%{byte:02x}" for byte in character.encode())
