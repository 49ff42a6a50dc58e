"""The general ledger as the AICPA's Audit Data Standard has it (July 2015): CSV files with the standard's field names.

`GL_Detail.csv` is written by the server, as fast as it reads; the others are small. Amounts in GL_Detail are positive
with an indicator, D or C; balances are signed, debits positive. A field that the standard has and the ledger has not is
there and empty.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from psycopg import sql

from settlement.audit.export import Books, FileEntry, Output
from settlement.money import to_decimal
from settlement.posting import MATRIX

DETAIL = "GL_Detail.csv"
TRIAL_BALANCE = "Trial_Balance.csv"

_TYPES = {
    "asset": "Assets",
    "liability": "Liabilities",
    "equity": "Equity",
    "income": "Revenue",
    "expense": "Expenses",
}

_DETAIL = """
    SELECT journal_id AS "Journal_ID", line AS "Journal_ID_Line_Number", key AS "JE_Header_Description",
           'value date ' || value_date AS "JE_Line_Description", kind AS "Source", NULL AS "Business_Unit_Code",
           booked AS "Effective_Date", left(booked, 4) AS "Fiscal_Year", 'M' || substr(booked, 6, 2) AS "Period",
           account AS "GL_Account_Number", abs(amount) * 0.000001 AS "Amount",
           CASE WHEN amount > 0 THEN 'D' ELSE 'C' END AS "Amount_Credit_Debit_Indicator", currency AS "Amount_Currency",
           actor AS "Entered_By", recorded_at::date AS "Entered_Date", recorded_at::time AS "Entered_Time",
           approved_by AS "Approved_By", NULL AS "Approved_Date", NULL AS "Approved_Time",
           CASE WHEN reverses_journal_id IS NULL THEN 'N' ELSE 'Y' END AS "Reversal_Indicator",
           reverses_journal_id AS "Reversal_Journal_ID"
    -- OFFSET 0: the day is written once and used three times.
    FROM (SELECT *, booked_at::date::text AS booked FROM audit.postings
          WHERE booked_at >= %(start)s AND booked_at < %(end)s OFFSET 0) AS p
    ORDER BY booked_at, journal_id, line
"""


def write_ads(books: Books, directory: Path) -> list[FileEntry]:
    """Write GL_Detail, Trial_Balance, Chart_Of_Accounts, Source_Listing and User_Listing."""
    return [
        _detail(books, directory),
        _table(
            directory.joinpath(TRIAL_BALANCE),
            ("GL_Account_Number", "Business_Unit_Code", "Fiscal_Year", "Period", "Balance_As_Of_Date",
             "Amount_Beginning", "Amount_Ending", "Amount_Currency"),
            ((one.code, "", books.span.last.year, f"M{books.span.last:%m}", books.span.last, to_decimal(one.opening),
              to_decimal(one.closing), one.currency) for one in books.accounts),
        ),
        _table(
            directory / "Chart_Of_Accounts.csv",
            ("GL_Account_Number", "GL_Account_Name", "Account_Type", "Account_Subtype", "FS_Caption",
             "Parent_GL_Account_Number"),
            ((one.code, one.code, _TYPES[one.account_class], one.code.partition(":")[0], "", "")
             for one in books.accounts),
        ),
        _table(
            directory / "Source_Listing.csv",
            ("Source", "Source_Description", "ERP_Subledger_Module", "System_Manual_Identifier", "Business_Unit_Code"),
            _sources(books),
        ),
        _table(
            directory / "User_Listing.csv",
            ("User_ID", "User_Active_Status", "User_Status_Modified_Date", "User_First_Name", "User_Last_Name",
             "User_Title", "User_Department", "User_Role_Responsibility"),
            _users(books),
        ),
    ]  # fmt: skip


def _detail(books: Books, directory: Path) -> FileEntry:
    query = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, HEADER)").format(books.bound(_DETAIL))
    with (
        Output(directory.joinpath(DETAIL)) as output,
        books.connection.cursor() as cursor,
        cursor.copy(query) as copy,
    ):
        output.rows = -1  # the header
        for row in copy:
            output.write(row)
            output.rows += 1
            books.advance(output.rows)
    return output.entry


def _table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> FileEntry:
    with Output(path) as output:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow(row)
            output.rows += 1
        output.write(text.getvalue().encode())
    return output.entry


def _sources(books: Books) -> list[tuple[str, str, str, str, str]]:
    """Kinds of journals in the span. All are made by the system: nobody can write an entry by hand."""
    events = {rule.kind: rule.event for rule in MATRIX} | {
        "reversal": "the exact reversal of another journal"
    }
    kinds = books.connection.execute(
        'SELECT DISTINCT kind COLLATE "C" FROM audit.record_journal'
        " WHERE booked_at >= %(start)s AND booked_at < %(end)s ORDER BY 1",
        books.span.parameters,
    ).fetchall()
    return [(kind, events.get(kind, ""), "", "System", "") for (kind,) in kinds]


def _users(books: Books) -> list[tuple[str, ...]]:
    """Everybody who entered or approved something in the span; active: can log in to the platform."""
    users = books.connection.execute(
        """
        SELECT DISTINCT a.name COLLATE "C", u.username IS NOT NULL, coalesce(array_to_string(u.scopes, ' '), '')
        FROM audit.record_journal AS j CROSS JOIN LATERAL (VALUES (j.actor), (j.approved_by)) AS a (name)
        LEFT JOIN audit.users AS u ON u.username = a.name
        WHERE j.booked_at >= %(start)s AND j.booked_at < %(end)s AND a.name IS NOT NULL ORDER BY 1
        """,
        books.span.parameters,
    ).fetchall()
    return [(name, "Active" if known else "", "", "", "", "", "", scopes) for name, known, scopes in users]
