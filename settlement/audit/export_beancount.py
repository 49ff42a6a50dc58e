"""The ledger as a beancount file: every account opened, every journal a transaction, every balance asserted exactly."""

from datetime import timedelta
from pathlib import Path

from settlement.audit.account_names import account_name
from settlement.audit.export import Books, FileEntry, Output
from settlement.money import to_decimal

NAME = "ledger.beancount"


def write_beancount(books: Books, directory: Path) -> list[FileEntry]:
    """Write `ledger.beancount`: openings on the day before the span, balances on the day after it."""
    span = books.span
    before, after = span.first - timedelta(days=1), span.last + timedelta(days=1)
    names = {one.code: account_name(one.account_class, one.code) for one in books.accounts}
    with Output(directory.joinpath(NAME)) as output:
        # Without a tolerance: what does not balance to the micro does not balance.
        output.write(b'option "title" "royalty ledger"\noption "tolerance_multiplier" "0"\n')
        output.write(
            "".join(
                f'option "operating_currency" "{currency}"\n'
                for currency in sorted({one.currency for one in books.accounts})
            ).encode()
        )
        for one in books.accounts:
            output.write(
                f'{before} open {names[one.code]} {one.currency}\n  code: "{_quoted(one.code)}"\n'.encode()
            )
        opened = [one for one in books.accounts if one.opening]
        if opened:
            output.write(f'\n{before} * "opening balances"\n'.encode())
            for one in opened:
                output.write(f"  {names[one.code]}  {to_decimal(one.opening)} {one.currency}\n".encode())
        journal = None
        for line in books.postings():
            if line.journal_id != journal:
                journal = line.journal_id
                facts = (
                    ("actor", line.actor),
                    ("approved_by", line.approved_by),
                    ("created_by", line.created_by),
                    ("recorded_at", line.recorded_at),
                )
                output.write(
                    (
                        f'\n{line.date} * "{_quoted(line.kind)}" "{_quoted(line.key)}"\n'
                        f"  journal: {journal}\n  value_date: {line.value_date}\n"
                        + "".join(
                            f'  {name}: "{_quoted(fact)}"\n' for name, fact in facts if fact is not None
                        )
                        + (f"  reverses: {line.reverses}\n" if line.reverses else "")
                    ).encode()
                )
            output.write(f"  {names[line.account]}  {line.amount} {line.currency}\n".encode())
            output.rows += 1
        output.write(b"\n")
        for one in books.accounts:
            output.write(
                f"{after} balance {names[one.code]}  {to_decimal(one.closing)} {one.currency}\n".encode()
            )
    return [output.entry]


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
