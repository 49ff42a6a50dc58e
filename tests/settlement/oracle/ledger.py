"""Journals of the recomputed books and the balances that follow from them: debit positive, credit negative."""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

Account = tuple[str, str]
"""Name and currency."""


@dataclass(frozen=True, slots=True)
class Journal:
    """One journal: its key, its kind, when it is booked, and what it moves (nothing that is 0)."""

    key: str
    kind: str
    booked: datetime
    postings: dict[Account, int]


class Ledger:
    """Journals in the order of their posting."""

    def __init__(self) -> None:
        self.journals: list[Journal] = []
        self._keys: set[str] = set()
        self._balances: dict[Account, int] = defaultdict(int)
        self._moves: dict[Account, list[tuple[datetime, int, str]]] = defaultdict(list)

    def post(self, key: str, kind: str, booked: datetime, moves: Iterable[tuple[Account, int]]) -> None:
        """Post the sum of the moves per account, if anything is left of it."""
        sums: dict[Account, int] = defaultdict(int)
        for account, amount in moves:
            sums[account] += amount
        postings = {account: amount for account, amount in sums.items() if amount}
        if not postings:
            return
        per_currency: dict[str, int] = defaultdict(int)
        for (_, currency), amount in postings.items():
            per_currency[currency] += amount
        assert not any(per_currency.values()), f"{key} does not balance: {postings}"
        assert key not in self._keys, f"{key} is posted already"
        self._keys.add(key)
        self.journals.append(Journal(key, kind, booked, postings))
        for account, amount in postings.items():
            self._balances[account] += amount
            insort(self._moves[account], (booked, amount, kind))

    def now(self, account: Account) -> int:
        """The balance of everything posted."""
        return self._balances.get(account, 0)

    def before(self, account: Account, instant: datetime) -> int:
        """The balance of what is booked before an instant."""
        moves = self._moves.get(account, [])
        return sum(amount for _, amount, _ in moves[: bisect_left(moves, (instant,))])

    def moved(self, account: Account, kind: str, start: datetime, end: datetime) -> int:
        """What journals of a kind move in ``[start, end)``."""
        moves = self._moves.get(account, [])
        inside = moves[bisect_left(moves, (start,)) : bisect_left(moves, (end,))]
        return sum(amount for _, amount, of_kind in inside if of_kind == kind)

    def active(self, account: Account, start: datetime, end: datetime) -> bool:
        """Whether anything is booked in ``[start, end)``."""
        moves = self._moves.get(account, [])
        return bisect_left(moves, (start,)) != bisect_left(moves, (end,))

    def accounts(self) -> dict[Account, int]:
        """Every account's balance now, those at 0 included."""
        return dict(self._balances)
