"""The attack matrix: who tries what, what must come of it, and which object of the database sees to that.

`docs/ledger-guarantees.md` is generated from this table. The tests run each attack, and then once for each object that
an attack names, without that object: what came of it before must not come of it then.
"""

# ruff: noqa: E501  (a table: SQL stays in one piece)

from collections.abc import Iterator
from dataclasses import dataclass

from settlement.posting import MATRIX

GUARANTEES = {
    1: "Every journal balances in each currency, has two lines or more and exactly those that it declares.",
    2: "No line joins a committed journal.",
    3: "Nothing that is written changes, and neither does the schema, for any login and for the tables' owner.",
    4: "One journal for one key; a journal is reversed once.",
    5: "A sealed period takes no journal, and a seal no other balances.",
    6: "Amounts are whole numbers that fit, and never zero.",
    7: "Every login does its own work only; who wrote what, and when, is the database's to say.",
    8: "An artist reads her own rows, an auditor the views, and neither writes.",
}

APPEND_ONLY = ("account", "journal", "posting", "seal", "closing_balance", "log_leaf", "log_node", "checkpoint",
               "schema_change")  # fmt: skip
"""The ledger's tables, all of them."""

FENCE = "event trigger ddl_fence"
DROP_FENCE = "event trigger drop_fence"


@dataclass(frozen=True, slots=True)
class Attack:
    """One attempt, in one transaction that ends with every deferred check."""

    name: str
    guarantee: int
    role: str
    """A login role; `owner` of the tables; `superuser`; `replica`, a superuser with session_replication_role = replica."""
    sql: str
    outcome: str
    """The constraint that refuses it; or the error's class; or `nothing`: it runs, and finds or changes no row."""
    by: tuple[str, ...] = ()
    """What sees to that. Without one of these the outcome is another."""
    plain: bool = False
    """Whether it succeeds on tables of the same shape without guards."""
    isolation: str = "READ COMMITTED"
    meanwhile: str | None = None
    """What somebody else has done in a transaction that is still open."""


def journal(key: str, *lines: tuple[int, int, str], declared: int | None = None, at: str = "2026-12-05 12:00+00",
            line_at: str | None = None, header: tuple[tuple[str, str], ...] = (), currency: str = "a.currency") -> str:  # fmt: skip
    """SQL of a journal in one statement: lines are (number, amount, account)."""
    columns = {"kind": "'test'", "key": f"'{key}'", "booked_at": f"'{at}'", "value_date": "'2026-12-05'",
               "lines": str(len(lines) if declared is None else declared), "content_sha256": "sha256('x')",
               "actor": "'mallory'"} | dict(header)  # fmt: skip
    overriding = "OVERRIDING SYSTEM VALUE " if "id" in columns else ""
    head = f"INSERT INTO ledger.journal ({', '.join(columns)}) {overriding}VALUES ({', '.join(columns.values())})"
    if not lines:
        return head
    values = ", ".join(f"({number}, '{amount}'::bigint, '{account}')" for number, amount, account in lines)
    return (
        f"WITH j AS ({head} RETURNING id) INSERT INTO ledger.posting (journal_id, line, lines, booked_at, account_id, amount,"
        f" currency) SELECT j.id, v.line, {columns['lines']}, '{line_at or at}', a.id, v.amount, {currency}"
        f" FROM j, (VALUES {values}) AS v (line, amount, account) JOIN ledger.account AS a ON a.code = v.account"
    )


def line(journal_key: str, number: int, lines: int, amount: int = 7, account: str = "bank:EUR") -> str:
    """SQL of one more line of a journal that is there."""
    return (
        "INSERT INTO ledger.posting (journal_id, line, lines, booked_at, account_id, amount, currency)"
        f" SELECT j.id, {number}, {lines}, j.booked_at, a.id, {amount}, a.currency FROM ledger.journal AS j, ledger.account"
        f" AS a WHERE j.key = '{journal_key}' AND a.code = '{account}'"
    )


def _pair(first: int = 5, second: int = -5) -> tuple[tuple[int, int, str], tuple[int, int, str]]:
    return (1, first, "bank:EUR"), (2, second, "receivable:EUR")


USD = "INSERT INTO ledger.account (code, class, currency) VALUES ('bank:USD', 'asset', 'USD');"
ACCOUNT = "INSERT INTO ledger.account (code, class, currency) VALUES ({})"
LEAF = "INSERT INTO ledger.log_leaf (index, kind, reference, sha256) VALUES ({})"
NODE = "INSERT INTO ledger.log_node (level, position, hash) VALUES ({})"
SEAL = "INSERT INTO ledger.seal (name, sealed_before, actor) VALUES ({})"
CHECKPOINT = "INSERT INTO ledger.checkpoint (size, origin, root, note, actor) VALUES ({}, 'mallory')"
BALANCE = (
    "INSERT INTO ledger.closing_balance (seal, account_id, opening, debits, credits, closing) VALUES ({})"
)
CHANGE = (
    "INSERT INTO ledger.schema_change (number, revision_from, revision_to, server, format, before_sha256, after_sha256,"
    " unrecorded, manifest, actor) VALUES ({}, 'a', 'b', '18', 1, {}, {}, '{{}}', 'x', 'mallory')"
)
MOST = 2**63 - 1
ON_POSTING = "trigger posting_checked on ledger.posting"
ON_JOURNAL = "trigger journal_balances on guard.unchecked"
NOTED = "trigger journal_noted on ledger.journal"


def _c(name: str) -> tuple[str]:
    """A constraint of the ledger's, by its own name, which begins with its table's."""
    table = next(t for t in sorted(APPEND_ONLY, key=len, reverse=True) if name.startswith(t))
    return (f"constraint {name} on ledger.{table}",)


def _checked(guarantee: int, role: str, constraint: str, sql: str, name: str | None = None) -> Attack:
    """An attack that one constraint refuses, by the constraint's own name."""
    plain = (role in ("settlement", "payer") and "account (" in sql) or "INTO ledger.journal" in sql
    return Attack(
        name or constraint.replace("_", "-"), guarantee, role, sql, constraint, _c(constraint), plain
    )


def _journals() -> Iterator[Attack]:
    both = ("settlement", "payer", "superuser", "replica")
    for role in both:
        always = "always " if role == "replica" else "trigger "
        on_posting, *on_journal = (
            always + of.removeprefix("trigger ") for of in (ON_POSTING, ON_JOURNAL, NOTED)
        )
        yield Attack(
            f"unbalanced-by-{role}",
            1,
            role,
            journal("k", *_pair(5, -4)),
            "journal_balances",
            (on_posting,),
            True,
        )
        yield Attack(
            f"no-lines-by-{role}",
            1,
            role,
            journal("k", declared=2),
            "journal_lines_complete",
            tuple(on_journal),
            True,
        )
        yield Attack(f"missing-line-by-{role}", 1, role, journal("k", *_pair(), declared=3), "journal_lines_complete",
                     tuple(on_journal), True)  # fmt: skip
        yield Attack(f"late-line-by-{role}", 2, role, line("sale:sale-1", 4, 4),
                     "posting_journal_id_lines_booked_at_fkey", (on_posting,), True)  # fmt: skip
        yield Attack(f"line-of-no-journal-by-{role}", 1, role,
                     line("sale:sale-1", 1, 2).replace("j.id", "j.id + 1000000"),
                     "posting_journal_id_lines_booked_at_fkey", (on_posting,), True)  # fmt: skip
        yield Attack(f"sealed-period-by-{role}", 5, role, journal("k", *_pair(), at="2026-11-05 12:00+00"),
                     "journal_not_in_sealed_period", (f"{always}journal_not_sealed on ledger.journal",), True)  # fmt: skip
    yield Attack("unbalanced-in-parts", 1, "settlement",
                 journal("k", (1, 5, "bank:EUR"), declared=2) + ";" + line("k", 2, 2, -4), "journal_balances",
                 (ON_POSTING,), True)  # fmt: skip
    yield Attack("balanced-over-currencies", 1, "settlement",
                 USD + journal("k", (1, 5, "bank:EUR"), (2, -5, "bank:USD")), "journal_balances", (ON_POSTING,), True)  # fmt: skip
    yield Attack("sum-beyond-bigint", 6, "settlement", journal("k", *((n, MOST, "bank:EUR") for n in range(1, 5))),
                 "journal_balances", (ON_POSTING,), True)  # fmt: skip
    yield Attack("check-spent-early", 2, "settlement",
                 journal("k", *_pair()) + "; SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED; "
                 + line("k", 3, 2), "posting_line_in_journal", _c("posting_line_in_journal"), True)  # fmt: skip
    yield Attack("check-spent-early-slot-taken", 2, "settlement",
                 journal("k", *_pair()) + "; SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED; "
                 + line("k", 2, 2), "posting_pkey", _c("posting_pkey"), True)  # fmt: skip
    yield Attack("check-spent-on-header", 1, "settlement",
                 "SET CONSTRAINTS ALL IMMEDIATE; " + journal("k", declared=2), "journal_lines_complete", (ON_JOURNAL,), True)  # fmt: skip
    yield Attack("line-twice", 1, "settlement", journal("k", (1, 5, "bank:EUR"), (1, -5, "receivable:EUR")),
                 "posting_pkey", _c("posting_pkey"), True)  # fmt: skip
    yield Attack("line-zero", 1, "settlement", journal("k", (0, 5, "bank:EUR"), (1, -5, "receivable:EUR")),
                 "posting_line_in_journal", _c("posting_line_in_journal"), True)  # fmt: skip
    yield Attack("declares-nothing", 1, "settlement", journal("k", declared=0), "journal_two_lines_or_more",
                 _c("journal_two_lines_or_more"), True)  # fmt: skip
    yield Attack("another-accounts-currency", 1, "settlement", USD + journal("k", *_pair(), currency="'USD'"),
                 "posting_account_id_currency_fkey", (ON_POSTING,), True)  # fmt: skip
    yield Attack("lines-booked-elsewhere", 1, "settlement", journal("k", *_pair(), line_at="2026-12-06 12:00+00"),
                 "posting_journal_id_lines_booked_at_fkey", (ON_POSTING,), True)  # fmt: skip
    yield Attack("second-header-of-lines", 1, "settlement", journal("k", declared=3, header=(("id", "1"),)),
                 "journal_pkey", _c("journal_pkey"), True)  # fmt: skip
    yield Attack("id-in-the-way", 7, "settlement", journal("k", *_pair(), header=(("id", "1000000"),)),
                 "journal_id_given", (NOTED,), True)  # fmt: skip
    yield Attack("same-key", 4, "settlement", journal("sale:sale-1", *_pair()), "journal_key_key", _c("journal_key_key"),
                 True)  # fmt: skip
    yield Attack("reversed-twice", 4, "settlement",
                 journal("k", *_pair(), header=(("reverses", "1"),)) + ";" + journal("l", *_pair(), header=(("reverses", "1"),)),
                 "journal_reverses_key", ("index ledger.journal_reverses_key",), True)  # fmt: skip
    yield Attack("reverses-nothing", 4, "settlement", journal("k", *_pair(), header=(("reverses", "1000000"),)),
                 "journal_reverses_fkey", _c("journal_reverses_fkey"), True)  # fmt: skip
    yield Attack("reverses-itself", 4, "settlement",
                 "SELECT nextval('ledger.journal_id_seq');" + journal("k", *_pair(), header=(
                     ("id", "currval('ledger.journal_id_seq')"), ("reverses", "currval('ledger.journal_id_seq')"))),
                 "journal_reverses_another", _c("journal_reverses_another"))  # fmt: skip
    for role in ("settlement", "payer", "replica"):
        mode = "always " if role == "replica" else "trigger "
        yield Attack(f"reverses-suspense-by-{role}", 4, role,
                     journal("k", (1, -900_000, "royalty_expense:EUR"), (2, 900_000, "suspense_pending:EUR"), header=(
                         ("reverses", "(SELECT id FROM ledger.journal WHERE key = 'run:2026-10:pending:EUR')"),)),
                     "reversed_by_its_rule", (f"{mode}reversed_by_its_rule on ledger.journal",), True)  # fmt: skip
    for name, change in {"journal_key_not_empty": ("key", "''"), "journal_key_loggable": ("key", "repeat('k', 1001)"),
                         "journal_without_control_characters": ("key", r"E'a\tb'"),
                         "journal_content_sha256_length": ("content_sha256", "'x'"),
                         "journal_dates_in_range": ("booked_at", "'infinity'")}.items():  # fmt: skip
        at = "infinity" if change[0] == "booked_at" else "2026-12-05 12:00+00"
        yield _checked(1, "settlement", name, journal("k", *_pair(), header=(change,), at=at))
    yield Attack("zero-amount", 6, "settlement", journal("k", *_pair(), (3, 0, "bank:EUR")), "posting_amount_not_zero",
                 _c("posting_amount_not_zero"), True)  # fmt: skip
    yield Attack("amount-without-reversal", 6, "settlement",
                 journal("k", *_pair(-MOST - 1, MOST), (3, 1, "bank:EUR")), "posting_amount_reversible",
                 _c("posting_amount_reversible"), True)  # fmt: skip
    for value, error in {"'NaN'::numeric": "FeatureNotSupported", "'Infinity'::numeric": "FeatureNotSupported",
                         "9223372036854775808": "NumericValueOutOfRange"}.items():  # fmt: skip
        yield Attack(f"amount-{value.strip(chr(39)).split(chr(39))[0]}", 6, "settlement",
                     line("sale:sale-1", 4, 4).replace(" 7,", f" {value},"), error)  # fmt: skip
    yield Attack("old-snapshot", 5, "settlement", journal("k", *_pair()), "journal_sees_every_seal",
                 ("trigger journal_locks_seal on ledger.journal",), isolation="REPEATABLE READ")  # fmt: skip
    yield Attack("shadowed-by-temporary-tables", 1, "settlement",
                 "CREATE TEMP TABLE posting (journal_id bigint, line integer, lines integer, amount bigint, currency text);"
                 "CREATE TEMP TABLE journal (id bigint, lines integer); CREATE TEMP TABLE seal (sealed_before timestamptz);"
                 "SET search_path = pg_temp, ledger;" + journal("k", *_pair(5, -4)), "journal_balances", (ON_POSTING,))  # fmt: skip
    yield Attack("inheriting-temporary-table", 1, "owner", "CREATE TEMP TABLE more () INHERITS (ledger.posting)",
                 "ddl_fence", (FENCE,), True)  # fmt: skip
    for statement, name in {"DO UPDATE SET amount = 1": "upsert", "DO NOTHING": "upsert-nothing"}.items():
        yield Attack(f"{name}-of-a-line", 3, "settlement",
                     f"{line('sale:sale-1', 1, 3)} ON CONFLICT (journal_id, line) {statement}",
                     "InsufficientPrivilege" if name == "upsert" else "nothing", plain=False)  # fmt: skip


def _accounts() -> Iterator[Attack]:
    for constraint, values in {
        "account_code_key": "'bank:EUR', 'asset', 'EUR'",
        "account_class_known": "'x:EUR', 'other', 'EUR'",
        "account_currency_iso": "'x:eur', 'asset', 'eur'",
        "account_code_ends_in_currency": "'x:USD', 'asset', 'EUR'",
        "account_code_without_control_characters": r"E'x\ty:EUR', 'asset', 'EUR'",
        "account_code_loggable": "repeat('x', 1000) || ':EUR', 'asset', 'EUR'",
    }.items():
        yield _checked(1, "settlement", constraint, ACCOUNT.format(values))
    # From the matrix itself: an account that is new there must be new in the guard too.
    for known in {
        account.name: account for rule in MATRIX for account in (*rule.debit, *rule.credit)
    }.values():
        code = known.code("XXX", "x" if known.owner else None)
        other = "asset" if known.account_class != "asset" else "income"
        yield Attack(f"{known.name.replace('_', '-')}-of-another-class", 7, "payer",
                     ACCOUNT.format(f"'{code}', '{other}', 'XXX'"), "account_class_of_its_name",
                     ("trigger account_class_of_its_name on ledger.account",), True)  # fmt: skip
    yield Attack("second-account-of-one-id", 1, "superuser",
                 "INSERT INTO ledger.account (id, code, class, currency) OVERRIDING SYSTEM VALUE"
                 " VALUES (1, 'x:USD', 'asset', 'USD')", "account_pkey", _c("account_pkey"))  # fmt: skip


def _seals_and_log() -> Iterator[Attack]:
    later = "'x', '2027-01-01+00', 'mallory'"
    yield Attack("seal-before-the-last", 5, "settlement", SEAL.format("'x', '2026-11-15+00', 'mallory'"),
                 "seals_follow_each_other", ("trigger seals_follow_each_other on ledger.seal",), True)  # fmt: skip
    yield _checked(5, "settlement", "seal_sealed_before_key", SEAL.format("'x', '2026-12-01+00', 'mallory'"))
    yield _checked(5, "settlement", "seal_pkey", SEAL.format("'2026-10', '2027-01-01+00', 'mallory'"))
    for constraint, size, root in (("seal_head_whole", "0", "NULL"), ("seal_log_root_length", "2", "'x'"),
                                   ("seal_log_size_not_negative", "-1", "sha256('')")):  # fmt: skip
        yield Attack(constraint.replace("_", "-"), 5, "settlement",
                     f"INSERT INTO ledger.seal (name, sealed_before, actor, log_size, log_root) VALUES ({later}, {size}, {root})",
                     constraint, _c(constraint))  # fmt: skip
    yield _checked(5, "settlement", "seal_in_range", SEAL.format("'x', 'infinity', 'mallory'"))
    yield _checked(5, "settlement", "seal_name_loggable", SEAL.format(r"E'x\ny', '2027-01-01+00', 'mallory'"))
    yield Attack("seal-of-another-root", 5, "settlement",
                 "INSERT INTO ledger.seal (name, sealed_before, actor, log_size, log_root)"
                 f" VALUES ({later}, {{leaf}}, sha256('x'))", "seal_names_the_head",
                 ("trigger seals_follow_each_other on ledger.seal",))  # fmt: skip
    yield Attack("seal-beside-a-writer", 5, "settlement", "SET lock_timeout = '50ms';" + SEAL.format(later),
                 "LockNotAvailable", ("trigger seal_locks on ledger.seal",),
                 meanwhile="SELECT pg_advisory_xact_lock_shared(hashtextextended('ledger.seal', 0))")  # fmt: skip
    yield Attack("seal-by-payer", 5, "payer", SEAL.format(later), "InsufficientPrivilege",
                 ("no INSERT on ledger.seal for payer",), True)  # fmt: skip
    yield Attack("balance-of-a-seal", 5, "settlement", BALANCE.format("'2026-11', 1, 0, 0, 0, 0"),
                 "InsufficientPrivilege", ("no INSERT on ledger.closing_balance for settlement",), True)  # fmt: skip
    yield Attack("balances-written-by-hand", 5, "settlement",
                 "SELECT guard.write_closing_balances(s) FROM ledger.seal AS s", "InsufficientPrivilege",
                 ("no EXECUTE on function guard.write_closing_balances(ledger.seal) for settlement",))  # fmt: skip
    joins = (
        USD
        + "INSERT INTO ledger.closing_balance SELECT '2026-11', id, 0, 0, 0, 0 FROM ledger.account WHERE code = 'bank:USD'"
    )
    for role, how in (("superuser", "trigger"), ("replica", "always")):
        yield Attack(f"balance-joins-a-seal-by-{role}", 5, role, joins, "closing_balances_written_once",
                     (f"{how} closing_balances_whole on ledger.closing_balance",))  # fmt: skip
    yield _checked(5, "superuser", "closing_balance_adds_up", BALANCE.format("'2026-11', 1, 0, 0, 0, 1"))
    yield _checked(5, "superuser", "closing_balance_sides", BALANCE.format("'2026-11', 1, 2, -1, 0, 1"))
    yield _checked(5, "superuser", "closing_balance_pkey", BALANCE.format("'2026-11', 1, 0, 0, 0, 0"))
    yield Attack("log-with-a-gap", 5, "settlement", LEAF.format("10000, 'journal', 'x', sha256('x')"), "log_is_dense",
                 ("trigger log_is_dense on ledger.log_leaf",), True)  # fmt: skip
    yield Attack("log-with-a-gap-by-replica", 5, "replica", LEAF.format("10000, 'journal', 'x', sha256('x')"),
                 "log_is_dense", ("always log_is_dense on ledger.log_leaf",), True)  # fmt: skip
    yield Attack("log-from-an-old-snapshot", 5, "settlement", LEAF.format("{leaf}, 'journal', 'x', sha256('x')"),
                 "log_sees_its_end", ("trigger log_locks on ledger.log_leaf",), isolation="REPEATABLE READ")  # fmt: skip
    yield Attack("log-beside-a-writer", 5, "payer",
                 "SET lock_timeout = '50ms';" + LEAF.format("{leaf}, 'journal', 'x', sha256('x')"), "LockNotAvailable",
                 ("trigger log_locks on ledger.log_leaf",),
                 meanwhile="SELECT pg_advisory_xact_lock(hashtextextended('ledger.log', 0))")  # fmt: skip
    for constraint, values in {
        "log_leaf_index_not_negative": "-1, 'journal', 'x', sha256('x')",
        "log_leaf_without_control_characters": r"{leaf}, 'journal', E'x\ty', sha256('x')",
        "log_leaf_sha256_length": "{leaf}, 'journal', 'x', 'x'",
    }.items():
        yield Attack(
            constraint.replace("_", "-"), 5, "settlement", LEAF.format(values), constraint, _c(constraint)
        )
    leaves = "INSERT INTO ledger.log_leaf (index, kind, reference, sha256) SELECT {leaf} + v.n, 'x', v.r, sha256('x')"
    yield Attack("log-record-twice", 5, "settlement", leaves + " FROM (VALUES (0, 'x'), (1, 'x')) AS v (n, r)",
                 "log_leaf_kind_reference_key", _c("log_leaf_kind_reference_key"), True)  # fmt: skip
    yield Attack("log-place-twice", 5, "settlement", leaves + " FROM (VALUES (0, 'x'), (0, 'y')) AS v (n, r)",
                 "log_leaf_pkey", _c("log_leaf_pkey"), True)  # fmt: skip
    yield Attack("log-says-when", 7, "settlement",
                 "INSERT INTO ledger.log_leaf (index, kind, reference, sha256, recorded_at)"
                 " VALUES ({leaf}, 'journal', 'x', sha256('x'), '2020-01-01')", "InsufficientPrivilege",
                 ("no INSERT (recorded_at) on ledger.log_leaf for settlement",), True)  # fmt: skip
    # One leaf for what is yet to come would stop a close, or pass for it, for good.
    for kind, reference in {"journal": "sale:sale-77", "account": "x:EUR", "statement": "x", "seal": "2026-12",
                            "table": "2026-12/settlement.sale", "checkpoint": "999999", "schema_change": "999999"}.items():  # fmt: skip
        yield Attack(f"log-of-a-{kind.replace('_', '-')}-to-come", 5, "settlement",
                     LEAF.format(f"{{leaf}}, '{kind}', '{reference}', sha256('x')"), "log_of_records",
                     ("trigger log_of_records on ledger.log_leaf",), True)  # fmt: skip
    yield Attack("log-of-a-journal-to-come-by-replica", 5, "replica",
                 LEAF.format("{leaf}, 'journal', 'sale:sale-77', sha256('x')"), "log_of_records",
                 ("always log_of_records on ledger.log_leaf",))  # fmt: skip
    yield Attack("log-of-a-seal-by-payer", 7, "payer", LEAF.format("{leaf}, 'seal', '2026-12', sha256('x')"),
                 "InsufficientPrivilege", ("check of policy payer_all on ledger.log_leaf",))  # fmt: skip
    for role in ("settlement", "payer"):
        yield Attack(f"node-by-{role}", 5, role, NODE.format("0, 10000, sha256('x')"), "InsufficientPrivilege",
                     (f"no INSERT on ledger.log_node for {role}",), True)  # fmt: skip
    yield _checked(5, "superuser", "log_node_level_kept", NODE.format("3, 0, sha256('x')"))
    yield _checked(5, "superuser", "log_node_hash_length", NODE.format("0, 10000, 'x'"))
    yield _checked(5, "superuser", "log_node_pkey", NODE.format("0, 0, sha256('x')"))
    note = "E'o\\n1\\n' || encode(sha256('x'), 'base64') || E'\\n'"
    good = f"1, 'o', sha256('x'), {note}"
    for constraint, values in {
        "checkpoint_size_not_negative": good.replace("1, 'o'", "-1, 'o'").replace("\\n1\\n", "\\n-1\\n"),
        "checkpoint_root_length": "1, 'o', 'x', E'o\\n1\\n' || encode('x', 'base64') || E'\\n'",
        "checkpoint_says_its_head": good.replace("1, 'o'", "2, 'o'"),
        "checkpoint_pkey": f"{good}, 'mallory'), ({good}",
    }.items():
        yield _checked(5, "settlement", constraint, CHECKPOINT.format(values))
    for name, values in {"checkpoint-of-another-root": good, "checkpoint-beyond-the-log": good.replace("1, 'o'", "99999, 'o'")
                         .replace("\\n1\\n", "\\n99999\\n")}.items():  # fmt: skip
        yield Attack(name, 5, "settlement", CHECKPOINT.format(values), "checkpoint_of_the_log",
                     ("trigger checkpoint_of_the_log on ledger.checkpoint",), True)  # fmt: skip
    yield Attack("checkpoints-of-two-names", 5, "settlement",
                 "INSERT INTO ledger.checkpoint (size, origin, root, note, actor) SELECT size, origin, root, origin || E'\\n'"
                 " || size || E'\\n' || encode(root, 'base64') || E'\\n', 'mallory' FROM (VALUES (0, 'o', sha256('')),"
                 " (1, 'p', (SELECT hash FROM ledger.log_node WHERE level = 0 AND position = 0))) AS v (size, origin, root)",
                 "checkpoint_of_the_log", ("trigger checkpoint_of_the_log on ledger.checkpoint",), True)  # fmt: skip
    yield Attack("checkpoint-by-payer", 7, "payer", CHECKPOINT.format(good), "InsufficientPrivilege",
                 ("no INSERT on ledger.checkpoint for payer",), True)  # fmt: skip
    hashes = "sha256('x'), sha256('x')"
    for constraint, number, two in (("schema_change_number_positive", "0", hashes),
                                    ("schema_change_before_sha256_length", "1000", "'x', sha256('x')"),
                                    ("schema_change_after_is_manifest", "1000", "sha256('x'), sha256('y')"),
                                    ("schema_change_pkey", "1", hashes)):  # fmt: skip
        yield _checked(3, "superuser", constraint, CHANGE.format(number, *two.split(", ")))
    yield Attack("schema-change-by-settlement", 3, "settlement", CHANGE.format("1000", *hashes.split(", ")),
                 "InsufficientPrivilege", ("no INSERT on ledger.schema_change for settlement",), True)  # fmt: skip


def _changes() -> Iterator[Attack]:
    """Guarantee 3, rows: each table, by whom privileges stop and by whom triggers do."""
    columns = {"account": "class", "journal": "actor", "posting": "amount", "seal": "actor", "closing_balance": "closing",
             "log_leaf": "kind", "log_node": "hash", "checkpoint": "actor", "schema_change": "actor"}  # fmt: skip
    for table in APPEND_ONLY:
        column = columns[table]
        for verb, sql in {
            "UPDATE": f"UPDATE ledger.{table} SET {column} = NULL WHERE false",
            "DELETE": f"DELETE FROM ledger.{table} WHERE false",
            "TRUNCATE": f"TRUNCATE ledger.{table} CASCADE",
        }.items():
            name = f"{verb.lower()}-{table.replace('_', '-')}"
            # It would take other tables with it, which have defences of their own.
            cascades = verb == "TRUNCATE" and table in ("account", "journal", "seal")
            for role in ("settlement", "payer", "portal", "attribution", "approver", "identity", "auditor"):
                if verb == "UPDATE" or role in ("settlement", "payer"):
                    needs = f"no {verb} on ledger.{table} for {role}"
                    yield Attack(f"{name}-by-{role}", 3, role, sql,
                                 "InsufficientPrivilege",
                                 (needs,) if role in ("settlement", "payer") and not cascades else (),
                                 verb != "TRUNCATE")  # fmt: skip
            for role, how in (("owner", "trigger"), ("replica", "always")):
                yield Attack(f"{name}-by-{role}", 3, role, sql, "RestrictViolation",
                             () if cascades else (f"{how} append_only on ledger.{table}",), verb != "TRUNCATE")  # fmt: skip
    yield Attack("merge-by-owner", 3, "owner",
                 "MERGE INTO ledger.posting AS p USING ledger.journal AS j ON j.id = p.journal_id WHEN MATCHED THEN DELETE",
                 "RestrictViolation", ("trigger append_only on ledger.posting",), True)  # fmt: skip
    yield Attack("upsert-by-owner", 3, "owner",
                 ACCOUNT.format("'bank:EUR', 'asset', 'EUR'") + " ON CONFLICT (code) DO UPDATE SET class = 'income'",
                 "RestrictViolation", ("trigger append_only on ledger.account",))  # fmt: skip
    yield Attack("lock-rows", 3, "settlement", "SELECT FROM ledger.journal FOR UPDATE", "InsufficientPrivilege",
                 ("no UPDATE on ledger.journal for settlement",), True)  # fmt: skip
    yield Attack("lock-table", 7, "settlement", "LOCK TABLE ledger.journal IN ACCESS EXCLUSIVE MODE",
                 "InsufficientPrivilege", ("no MAINTAIN on ledger.journal for settlement",), True)  # fmt: skip
    yield Attack("copy-over-a-policy", 3, "payer", "CREATE TEMP TABLE copied AS SELECT * FROM ledger.posting;"
                 "UPDATE ledger.posting AS p SET amount = c.amount FROM copied AS c", "InsufficientPrivilege",
                 ("no UPDATE on ledger.posting for payer",), True)  # fmt: skip


def _schema() -> Iterator[Attack]:
    """Guarantee 3, schema: what the owner of the tables may not do any more; nor a superuser, the fence being up."""
    owner = {
        "disable-trigger": "ALTER TABLE ledger.posting DISABLE TRIGGER append_only",
        "disable-user-triggers": "ALTER TABLE ledger.posting DISABLE TRIGGER USER",
        "disable-always": "ALTER TABLE ledger.posting ENABLE TRIGGER append_only",
        "rewrite-every-row": "ALTER TABLE access.\"user\" ALTER password_hash TYPE text USING 'mine'",
        "add-column": "ALTER TABLE ledger.posting ADD note text",
        "rename-table": "ALTER TABLE ledger.posting RENAME TO old",
        "rename-column": "ALTER TABLE ledger.posting RENAME amount TO old",
        "set-unlogged": "ALTER TABLE ledger.checkpoint SET UNLOGGED",
        "no-row-level-security": "ALTER TABLE settlement.statement DISABLE ROW LEVEL SECURITY",
        "rule": "CREATE RULE quiet AS ON INSERT TO ledger.posting DO INSTEAD NOTHING",
        "create-policy": "CREATE POLICY all_rows ON settlement.statement USING (true)",
        "alter-policy": "ALTER POLICY own ON settlement.statement USING (true)",
        "create-trigger": "CREATE TRIGGER x BEFORE INSERT ON ledger.posting EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "create-index": "CREATE INDEX ON ledger.posting (amount)",
        "inherit": "CREATE TEMP TABLE more (LIKE ledger.posting INCLUDING CONSTRAINTS); ALTER TABLE more INHERIT ledger.posting",
        "grant": "GRANT UPDATE ON ledger.posting TO settlement",
        "grant-column": "GRANT UPDATE (amount) ON ledger.posting TO settlement",
        "revoke": "REVOKE SELECT ON ledger.posting FROM royalty_guard",
        "default-privileges": "ALTER DEFAULT PRIVILEGES IN SCHEMA ledger GRANT ALL ON TABLES TO portal",
        "comment": "COMMENT ON TABLE ledger.posting IS 'nothing to see'",
        "restart-identity": "ALTER TABLE ledger.journal ALTER id RESTART WITH 1",
        "hidden-in-temp-function": "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN"
        " EXECUTE 'ALTER TABLE ledger.posting DISABLE TRIGGER append_only'; END $$; SELECT pg_temp.f()",
    }  # fmt: skip
    drops = {
        "drop-not-null": "ALTER TABLE ledger.posting ALTER amount DROP NOT NULL",
        "drop-constraint": "ALTER TABLE ledger.posting DROP CONSTRAINT posting_amount_not_zero",
        "drop-trigger": "DROP TRIGGER append_only ON ledger.posting",
        "drop-table": "DROP TABLE ledger.posting CASCADE",
        "drop-policy": "DROP POLICY own ON settlement.statement",
        "drop-view": "DROP VIEW settlement.statement_line CASCADE",
        "drop-column": "ALTER TABLE ledger.seal DROP COLUMN actor CASCADE",
    }
    plain = {"disable-trigger", "disable-user-triggers", "disable-always", "drop-trigger", "drop-view", "drop-policy",
             "alter-policy", "drop-constraint", "no-row-level-security", "create-policy", "default-privileges",
             "hidden-in-temp-function", "rewrite-every-row"}  # fmt: skip
    for name, sql in owner.items():
        yield Attack(f"{name}-by-owner", 3, "owner", sql, "ddl_fence", (FENCE,), name not in plain)
    for name, sql in drops.items():
        # What drops something is refused for that, before it is refused for what it is.
        yield Attack(f"{name}-by-owner", 3, "owner", sql, "drop_fence", (DROP_FENCE,), name not in plain)
    for role in ("superuser", "replica"):
        mode = "always " if role == "replica" else "event trigger "
        fence, drop = ((f"{mode}{name}",) for name in ("ddl_fence", "drop_fence"))
        for name, sql in {
            "disable-all-triggers": "ALTER TABLE ledger.posting DISABLE TRIGGER ALL",
            "replace-guard": "CREATE OR REPLACE FUNCTION guard.refuse_change() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN RETURN NEW; END'",
            "unpin-guard": "ALTER FUNCTION guard.check_journal() RESET search_path",
            "guard-to-owner": "ALTER FUNCTION guard.check_journal() OWNER TO royalty_owner",
            "table-to-settlement": "ALTER TABLE ledger.posting OWNER TO settlement",
            "schema-to-settlement": "ALTER SCHEMA ledger OWNER TO settlement",
            "view-elsewhere": "CREATE VIEW public.payees AS SELECT * FROM party.party_version",
            "table-to-the-broker": "ALTER TABLE ledger.checkpoint SET SCHEMA pgmq",
            "table-in-public": "CREATE TABLE public.more () INHERITS (ledger.posting)",
            "schema": "CREATE SCHEMA evil",
            "function-of-the-server": "CREATE FUNCTION pg_catalog.sum(bigint, bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 0'",
            "cast": "CREATE CAST (bigint AS text) WITH INOUT AS IMPLICIT",
            "version": "ALTER TABLE public.alembic_version ADD x integer",
            "reference-from-the-broker": "CREATE TABLE pgmq.x (id bigint REFERENCES ledger.account ON DELETE CASCADE)",
            "grant-on-function": "GRANT EXECUTE ON FUNCTION guard.write_closing_balances TO portal",
            "publication": "CREATE PUBLICATION everything FOR ALL TABLES",
        }.items():  # fmt: skip
            yield Attack(f"{name}-by-{role}", 3, role, sql, "ddl_fence", fence)
        yield Attack(
            f"drop-index-by-{role}", 3, role, "DROP INDEX ledger.journal_reverses_key", "drop_fence", drop
        )
        # With these the fence itself would go, before it could refuse anything.
        for name, sql in {"drop-guard": "DROP FUNCTION guard.check_journal() CASCADE",
                          "drop-fence": "DROP FUNCTION guard.refuse_drop() CASCADE",
                          "drop-schema": "DROP SCHEMA guard CASCADE", "drop-owned": "DROP OWNED BY royalty_guard CASCADE",
                          "drop-language": "DROP EXTENSION plpgsql CASCADE"}.items():  # fmt: skip
            yield Attack(f"{name}-by-{role}", 3, role, sql, "start_fence", (f"{mode}start_fence",))
    yield Attack("guard-changed-by-owner", 3, "owner", "ALTER FUNCTION guard.check_postings() RESET search_path",
                 "InsufficientPrivilege", ("owner of guard.check_postings()",))  # fmt: skip
    yield Attack("rewrite-every-line-by-owner", 3, "owner",
                 "ALTER TABLE ledger.posting ALTER amount TYPE bigint USING (amount + 1)", "FeatureNotSupported", (), True)  # fmt: skip
    yield Attack("fence-off-by-owner", 3, "owner", "SET event_triggers = off", "InsufficientPrivilege")
    yield Attack(
        "fence-disabled-by-owner",
        3,
        "owner",
        "ALTER EVENT TRIGGER ddl_fence DISABLE",
        "InsufficientPrivilege",
    )
    yield Attack(
        "replica-by-owner", 3, "owner", "SET session_replication_role = replica", "InsufficientPrivilege"
    )
    yield Attack("operators-that-lie-to-check-postings", 1, "lying operators", journal("k", *_pair(5, -4)),
                 "journal_balances", ("search_path of guard.check_postings()",))  # fmt: skip
    yield Attack("operators-that-lie-to-check-journal", 1, "lying operators", journal("k", declared=2),
                 "journal_lines_complete", ("search_path of guard.check_journal()",))  # fmt: skip


def _powers() -> Iterator[Attack]:
    """Guarantee 7: what a login may not become, call or say."""
    for role in ("settlement", "payer", "portal", "attribution", "approver", "identity", "auditor"):
        for other in ("royalty_owner", "royalty_guard", "audit_owner"):
            yield Attack(f"{role}-becomes-{other.replace('_', '-')}", 7, role, f"SET ROLE {other}",
                         "InsufficientPrivilege", (f"{role} is no member of {other}",))  # fmt: skip
        for name, sql in {
            "superuser": f"ALTER ROLE {role} SUPERUSER",
            "bypassrls": f"ALTER ROLE {role} BYPASSRLS",
            "another-user": "SET SESSION AUTHORIZATION postgres",
            "a-program": "COPY (SELECT 1) TO PROGRAM 'true'",
            "a-file": "COPY (SELECT 1) TO '/tmp/x'",
            "a-file-read": "SELECT pg_read_file('postgresql.conf')",
            "a-large-object-from-file": "SELECT lo_import('/etc/hostname')",
            "a-large-object": "SELECT lo_create(0)",
            "a-large-object-whole": "SELECT lo_from_bytea(0, 'x')",
            "a-record-in-the-servers-log": "SELECT pg_logical_emit_message(true, 'x', 'y')",
            "replica-mode": "SET session_replication_role = replica",
            "no-event-triggers": "SET event_triggers = off",
            "a-schema": "CREATE SCHEMA mine",
            "a-table-in-public": "CREATE TABLE public.mine (x integer)",
            "a-function-in-public": "CREATE FUNCTION public.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
            "a-table-in-the-ledger": "CREATE TABLE ledger.mine (x integer)",
            "an-extension": "CREATE EXTENSION IF NOT EXISTS dblink",
            "a-procedure-of-the-guard": "CALL guard.make_append_only('settlement.run_draft')",
            "a-prepared-transaction": "PREPARE TRANSACTION 'held'",
            "a-password-hash": "SELECT rolpassword FROM pg_authid",
            "a-setval": "SELECT setval('ledger.journal_id_seq', 1)",
        }.items():
            expected = {"an-extension": ("FeatureNotSupported", "InsufficientPrivilege", "UndefinedFile"),
                        "a-prepared-transaction": ("ObjectNotInPrerequisiteState",)}.get(name, ("InsufficientPrivilege",))  # fmt: skip
            yield Attack(f"{role}-takes-{name}", 7, role, sql, " or ".join(expected))
    for prefix in sorted({rule.key.split(":")[0] for rule in MATRIX} - {"attempt", "bank_charge"}):
        yield Attack(f"key-of-a-{prefix}-taken-by-payer", 7, "payer", journal(f"{prefix}:x:y", *_pair()),
                     "journal_key_of_its_writer", ("trigger journal_key_of_its_writer on ledger.journal",), True)  # fmt: skip
    yield Attack("author-of-a-journal", 7, "settlement", journal("k", *_pair(), header=(("created_by", "'ann'"),)),
                 "InsufficientPrivilege", ("no INSERT (created_by) on ledger.journal for settlement",), True)  # fmt: skip
    yield Attack("time-of-a-journal", 7, "payer", journal("k", *_pair(), header=(("recorded_at", "'2020-01-01'"),)),
                 "InsufficientPrivilege", ("no INSERT (recorded_at) on ledger.journal for payer",), True)  # fmt: skip
    approval = ("INSERT INTO settlement.approval (kind, subject, content_sha256, maker, checker)"
                " VALUES ('period', '2026-12', sha256('x'), 'ann', '{}')")  # fmt: skip
    for role in ("settlement", "payer"):
        yield Attack(f"approval-by-{role}", 7, role, approval.format("bob"), "InsufficientPrivilege",
                     (f"no INSERT on settlement.approval for {role}",))  # fmt: skip
    yield Attack("approves-her-own", 7, "approver", approval.format("ann"), "approval_maker_is_not_checker",
                 ("constraint approval_maker_is_not_checker on settlement.approval",))  # fmt: skip
    yield Attack("approves-what-is-not-there", 7, "approver", approval.format("bob"), "approval_of_draft_in_review",
                 ("trigger approval_applies on settlement.approval",))  # fmt: skip
    yield Attack("approval-backdated", 7, "approver",
                 approval.format("bob").replace("checker)", "checker, recorded_at)").replace("'bob')", "'bob', '2020-01-01')"),
                 "InsufficientPrivilege", ("no INSERT (recorded_at) on settlement.approval for approver",))  # fmt: skip
    yield Attack("cut-off-by-payer", 7, "payer", "SELECT settlement.now_without_writers()", "InsufficientPrivilege",
                 ("no EXECUTE on function settlement.now_without_writers() for payer",))  # fmt: skip
    for role in ("portal", "auditor", "identity"):
        yield Attack(f"{role}-stops-posting", 7, role,
                     "SELECT pg_advisory_xact_lock(hashtextextended('ledger.seal', 0))",
                     "InsufficientPrivilege", (f"no EXECUTE on function pg_advisory_xact_lock(bigint) for {role}",))  # fmt: skip
    refund = ("INSERT INTO settlement.refund (external_id, content_sha256, sale_id, kind, refunded_at, amount_micros, actor)"
              " SELECT 'x', sha256('x'), id, 'refund', now(), price_micros + {}, 'mallory' FROM settlement.sale"
              " WHERE external_id = 'sale-1'")  # fmt: skip
    yield Attack("refund-beyond-price", 6, "settlement", refund.format(1), "refunds_within_price",
                 ("trigger refund_within_price on settlement.refund",))  # fmt: skip
    period = ("INSERT INTO settlement.period (period_id, starts_at, ends_at, zone, state) VALUES"
              " ('2026-13', '2026-11-15+00', '2026-12-15+00', 'UTC', 'open')")  # fmt: skip
    yield Attack("periods-overlap", 5, "settlement", period, "periods_do_not_overlap",
                 ("trigger period_state on settlement.period",))  # fmt: skip
    for table, sql in (("refund", refund.format(0)), ("period", period), ("statement", "INSERT INTO settlement.statement"
                       " OVERRIDING SYSTEM VALUE SELECT (s).* FROM settlement.statement AS s WHERE false")):  # fmt: skip
        yield Attack(f"{table}-from-an-old-snapshot", 5, "settlement", sql, "written_in_turn",
                     (f"trigger in_turn on settlement.{table}",), isolation="REPEATABLE READ")  # fmt: skip
        yield Attack(f"{table}-beside-a-writer", 5, "settlement", "SET lock_timeout = '50ms';" + sql, "LockNotAvailable",
                     (f"trigger in_turn on settlement.{table}",) if table != "refund" else (),
                     meanwhile=f"SELECT pg_advisory_xact_lock(hashtextextended('settlement.{table}', 0))")  # fmt: skip


ATTACKS: tuple[Attack, ...] = (
    *_journals(),
    *_accounts(),
    *_seals_and_log(),
    *_changes(),
    *_schema(),
    *_powers(),
)
