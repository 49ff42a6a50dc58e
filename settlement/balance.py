"""What part of a payee's balance can be paid now, and why the rest cannot. Integer micros, no I/O."""

from typing import NamedTuple

from settlement.money import Micros, floor_to_minor


class OfWhich(NamedTuple):
    """A balance in four parts, in micros; they add up to the balance, or to 0 for a balance below zero."""

    payable: Micros
    held: Micros
    below_minimum: Micros
    below_unit: Micros


def of_which(balance: int, minimum: int, currency: str, *, held: bool) -> OfWhich:
    """Divide a balance into what a payout would pay and what stays, with the reason.

    Args:
        balance: the payee's ledger balance in micros; at or below zero nothing can be paid.
        minimum: the least balance that is paid out, in micros.
        currency: its minor unit is the smallest amount paid; the rest stays in the balance.
        held: whether any hold on the payee is open: then nothing is paid.
    """
    if balance <= 0:
        return OfWhich(0, 0, 0, 0)
    if held:
        return OfWhich(0, balance, 0, 0)
    if balance < minimum:
        return OfWhich(0, 0, balance, 0)
    payable = floor_to_minor(balance, currency)
    return OfWhich(payable, 0, 0, balance - payable)
