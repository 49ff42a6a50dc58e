"""A double-entry ledger inside PostgreSQL. Knows accounts, journals and postings, nothing of what they are about."""

from settlement.ledger.balances import (
    AccountLine,
    AccountStatement,
    Cursor,
    TrialBalanceRow,
    account_statement,
    balance,
    balances,
    trial_balance,
)
from settlement.ledger.entries import Entry, Line
from settlement.ledger.log import append, sequence_journals
from settlement.ledger.post import PostCounts, PostResult, post, post_from_query, reverse
from settlement.ledger.seals import keep_writers_out, seal, sealed_before
from settlement.ledger.transfers import post_transfers

__all__ = [
    "AccountLine",
    "AccountStatement",
    "Cursor",
    "Entry",
    "Line",
    "PostCounts",
    "PostResult",
    "TrialBalanceRow",
    "account_statement",
    "append",
    "balance",
    "balances",
    "keep_writers_out",
    "post",
    "post_from_query",
    "post_transfers",
    "reverse",
    "seal",
    "sealed_before",
    "sequence_journals",
    "trial_balance",
]
