"""ISO 20022 status and reason codes: what each means for a payout, and in words.

Sources: the external code sets ExternalPaymentGroupStatus1Code, ExternalPaymentTransactionStatus1Code,
ExternalStatusReason1Code and ExternalReturnReason1Code of iso20022.org; verification of payee after EPC288-23 and the
guides of German and Dutch banks. Codes only are kept: a bank's free text may name people.
"""

from enum import StrEnum


class Says(StrEnum):
    """What a line of a bank's message says of an attempt, or of a file's attempts."""

    NOTED = "noted"
    """Nothing that a payout's state or the ledger hears of."""
    UNKNOWN = "unknown"
    """The bank will not say: it has seen the message before, and what became of that one is to be found out."""
    ACCEPTED = "accepted"
    """It will be executed: a report, no proof."""
    REJECTED = "rejected"
    PAID = "paid"
    """Booked on the platform's account."""
    RETURNED = "returned"
    """Booked back."""
    MISMATCH = "mismatch"
    """The name is not the account holder's (verification of payee)."""
    CHARGE = "charge"
    """The bank took something for itself, or gave it back."""
    UNCLEAR = "unclear"
    """For a person to look at."""


STATUS: dict[str, tuple[Says, str]] = {
    "RCVD": (Says.NOTED, "received"),
    "PDNG": (Says.NOTED, "pending"),
    "PART": (Says.NOTED, "partly accepted: each payment has its own status"),
    "PATC": (Says.NOTED, "waits for a further signature"),
    "ACTC": (Says.ACCEPTED, "technically in order"),
    "ACFW": (Says.NOTED, "in order, and waits for a confirmation: give it at the bank"),
    "ACIS": (Says.ACCEPTED, "accepted, and a cheque issued"),
    "CPUC": (Says.ACCEPTED, "picked up in cash by the payee; the statement will prove it"),
    "PRES": (Says.NOTED, "presented to the payee's bank"),
    "ACCP": (Says.ACCEPTED, "accepted for the customer"),
    "ACFC": (Says.ACCEPTED, "accepted, funds checked"),
    "ACSP": (Says.ACCEPTED, "accepted for execution"),
    "ACWC": (Says.ACCEPTED, "accepted with a change, for example of the date"),
    "ACWP": (Says.ACCEPTED, "accepted, not yet on the payee's account"),
    "ACPD": (Says.ACCEPTED, "given to the clearing"),
    "ACSC": (Says.ACCEPTED, "settled on the platform's account; the statement will prove it"),
    "ACCC": (Says.ACCEPTED, "on the payee's account; the statement will prove it"),
    "RJCT": (Says.REJECTED, "rejected"),
    "CANC": (Says.REJECTED, "cancelled before execution"),
    "BLCK": (Says.UNCLEAR, "blocked: neither paid nor given back"),
    "RCVC": (Says.NOTED, "payee verified: name and account match"),
    "RVCM": (Says.NOTED, "payees verified: some names do not match; each payment has its own status"),
    "RCVM": (Says.NOTED, "payees verified: some names do not match; each payment has its own status"),
    "RVNC": (Says.NOTED, "payees not verified yet"),
    "RVMC": (Says.NOTED, "payee verified: the name matches nearly"),
    "RVNM": (Says.MISMATCH, "payee verified: the name does not match the account"),
    "RVNA": (Says.NOTED, "payee cannot be verified"),
}
"""Status codes of `pain.002`, of the group, the payment information and the transaction."""

VERIFIED = frozenset({"RCVC", "RVMC", "RVNM", "RVNA"})
"""Statuses of a transaction that say how its payee's name and account go together (verification of payee)."""

DUPLICATES = frozenset({"AM05", "DU01", "DU02", "DU03", "DU04", "DU05", "DUPL"})
"""Reasons of a rejection that say that the bank has the payment already: no money may be given back for them."""

CHARGES = frozenset({"CHRG", "FEES", "COMM", "COME", "COMI", "COMT"})
"""Sub-families of ISO's bank transaction codes that are charges, fees and commissions of the bank."""

GERMAN_CHARGE = "808"
"""The business transaction code (GVC) of charges in the German banks' own codes, as in `NCHG+808+931`."""

DESTINATION = frozenset(
    "AC01 AC03 AC04 AC06 AC07 AC14 AC15 AC17 AG03 BE01 BE04 BE06 BE23 CNOR MD07 RC01 RC04 RC07 RR03".split()
)
"""Reasons that lie in the payee's account or bank: the next payment would fail as well until the details are mended."""

REASON: dict[str, str] = {
    "AC01": "the account number is wrong",
    "AC02": "the debtor's account number is wrong",
    "AC03": "the payee's account number is wrong",
    "AC04": "the account is closed",
    "AC06": "the account is blocked",
    "AC07": "the payee's account is closed",
    "AC14": "the payee's account is of a kind that cannot be paid",
    "AC15": "the account's details have changed",
    "AC17": "the account is in liquidation",
    "AG01": "the account does not allow this kind of payment",
    "AG03": "the payee's bank does not take this kind of payment",
    "AM01": "the amount is zero",
    "AM02": "the amount is not allowed",
    "AM03": "the currency is not taken",
    "AM04": "the account has not enough money",
    "AM05": "a duplicate",
    "AM09": "the amount is not as agreed",
    "AM10": "the control sum does not match",
    "AM14": "above the agreed limit",
    "AM23": "above the amount that can be settled",
    "BE01": "name and account do not match",
    "BE04": "the payee's address is missing or wrong",
    "BE06": "the payee is not known",
    "BE16": "the debtor is identified wrongly",
    "CNOR": "the payee's bank is not registered",
    "CUST": "asked for by the customer",
    "CUTA": "cancelled after an enquiry",
    "DS0H": "the signer may not sign for this account",
    "DT01": "the execution date is wrong",
    "DU01": "a message of this id was received before",
    "DU02": "a payment information of this id was received before",
    "DU03": "the transaction was received before",
    "DU04": "an EndToEndId of this kind was received before",
    "DU05": "an instruction of this id was received before",
    "DUPL": "a duplicate",
    "ED05": "the settlement failed",
    "FF01": "the file's format is wrong",
    "FOCR": "taken back after a cancellation request",
    "MD06": "the payee asked for it to be taken back",
    "MD07": "the account holder has died",
    "MS02": "no reason given by the payee",
    "MS03": "no reason given by the bank",
    "NARR": "see the bank's text",
    "NOAS": "the payee did not answer",
    "RC01": "the bank's BIC is wrong",
    "RC04": "the payee's bank is identified wrongly",
    "RC07": "the payee's BIC is wrong",
    "RR01": "the payer's account or id is missing (rules)",
    "RR02": "the payer's name or address is missing (rules)",
    "RR03": "the payee's name or address is missing (rules)",
    "RR04": "rules of supervision",
    "SL01": "the bank's own service",
    "TD03": "the file is not grouped as the bank wants it",
    "TM01": "after the bank's cut-off",
    "UPAY": "not due",
}
"""Reason codes of rejections and returns, in words."""


def reason_text(code: str | None) -> str:
    """A reason code for people: `AC04 (the account is closed)`; empty where none was given."""
    if not code:
        return ""
    return f"{code} ({REASON[code]})" if code in REASON else code
