"""`docs/ledger-guarantees.md`, from the attack matrix: `python -m tests.settlement.ledger.attacks.page` writes it."""

# ruff: noqa: E501  (a page's text)

from pathlib import Path

from tests.settlement.ledger.attacks.matrix import ATTACKS, GUARANTEES
from tests.settlement.ledger.attacks.test_detection import DETECTED

PAGE = Path(__file__).resolve().parents[4] / "docs" / "ledger-guarantees.md"

_HEAD = """# What the ledger guarantees, and what enforces it

Generated from the attack matrix (`tests/settlement/ledger/attacks`); do not edit. Each object of the database below is
named by the attacks that it stops. The tests run every attack as the role that would try it; on tables of the same shape
without guards, where it succeeds; and once more without the object, where it must not be stopped in the same way.

`trigger` and `event trigger` mean that it is there, `always` that it also holds under `session_replication_role =
replica`; `no UPDATE on ... for ...` is a privilege that nobody granted.

## Refused
"""

_SUPERUSER = """
## What a superuser can do: prevented, or only found

In a normal session everything above holds for a superuser too, the fence around the schema included. Nothing inside a
database stops a superuser for good: `SET event_triggers = off`, `ALTER EVENT TRIGGER`, writing into the catalogue,
`REASSIGN OWNED` and roles, which no event trigger sees. What is left of that is found by `royalty verify`; what is changed
in rows is found by the log, against a checkpoint that left the database (`docs/proof-format.md`), and by the checks that
compare the books with themselves. A trigger that was switched off, used and switched on again leaves no trace in the
schema: the rows that were changed meanwhile are what is found. Migrations switch the fence off for their own session only.

| a superuser | is found by the check |
|---|---|
"""

_TAIL = """
Not prevented and not found: reading. A superuser, and whoever has the files or a backup, reads everything. Any role that
posts (`settlement`, `payer`) can hold the ledger's lock and so keep others waiting; `statement_timeout` and
`idle_in_transaction_session_timeout` are the operator's means against that. The tables' owner (no login has that role) can
write rows as `settlement` can, and lock tables; it cannot change or delete what is written.

What a login may write it may also write wrongly. A login that posts can post what did not happen, in whole journals: that
is what approvals, the tie-outs of `royalty verify` and the comparison with the bank are for. One that appends to the log can
log a record that is there with a digest that is not its own: `royalty verify` names the record for good. And `settlement`
can seal ahead of time, which stops posting until then. Every login can make temporary tables for itself.
"""


def page() -> str:
    """The page's text."""
    lines = [_HEAD]
    for number, guarantee in GUARANTEES.items():
        rows: dict[str, list[str]] = {}
        for attack in ATTACKS:
            if attack.guarantee == number:
                for defence in attack.by:
                    rows.setdefault(defence, []).append(attack.name)
        lines.append(f"### {number}. {guarantee}\n")
        if rows:
            lines.append("| enforced by | stops |\n|---|---|")
            lines += [f"| `{defence}` | {', '.join(names)} |" for defence, names in rows.items()]
        others = [attack.name for attack in ATTACKS if attack.guarantee == number and not attack.by]
        if others:
            lines.append("\nAlso tried, and stopped by the server's own rules: " + ", ".join(others) + ".")
        if number == 8:
            lines.append(
                "Row-level security, policy `own`, on every table with rows of one payee; views with `security_invoker`, or"
                " `security_barrier` and their own fence; no privilege on a table and no function that writes for `auditor`."
                " The tests (`test_access.py`) loop over the catalogue, so that a new table or view is covered, and drop"
                " each policy in turn."
            )
        lines.append("")
    return "\n".join(lines).rstrip() + "\n" + _SUPERUSER + "\n".join(
        f"| `{statement}` | {check} |" for statement, check, _ in DETECTED
    ) + "\n" + _TAIL  # fmt: skip


if __name__ == "__main__":
    PAGE.write_text(page())
