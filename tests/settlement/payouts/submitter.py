"""`python -m tests.settlement.payouts.submitter BATCH`: submits a batch in a process that can be killed."""

import sys
from datetime import UTC, datetime

from database.engine import session
from database.errors import UserError
from database.roles import Role
from settlement.payouts.submission import submit


def told(done: int, total: int) -> None:
    print(done, total, flush=True)


if __name__ == "__main__":
    try:
        for line in submit(
            lambda: session(Role.PAYER), sys.argv[1], "ann", datetime(2026, 11, 4, 9, tzinfo=UTC), told
        ):
            print(line, flush=True)
    except UserError as error:
        sys.exit(error.message)
