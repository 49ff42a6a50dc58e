"""Names of accounts for plain-text accounting tools: from a code that may hold any text, one name and no other code's.

`royalties_payable:pay-1:EUR`, a liability, becomes `Liabilities:RoyaltiesPayable:Pay--1:EUR`.
"""

import re

ROOTS = {
    "asset": "Assets",
    "liability": "Liabilities",
    "equity": "Equity",
    "income": "Income",
    "expense": "Expenses",
}
"""The top of every name, by class of account."""

RULE = (
    "A code is NAME:CURRENCY or NAME:OWNER:CURRENCY, cut at its first and last colon. The account's name is its class "
    "(Assets, Liabilities, Equity, Income, Expenses), then NAME, OWNER if there is one, and CURRENCY. NAME of "
    "lower-case words with underscores between them: the words capitalised and joined; any other NAME: 0, then its "
    "characters. "
    "OWNER beginning with a-z: that letter as a capital, then its other characters; any other OWNER: 0, then its "
    "characters. Characters: A-Z, a-z and 0-9 stand for themselves, -- is a hyphen, - and two hexadecimal digits are a "
    "byte of UTF-8."
)
"""How a name is made, for whoever wants to go back: no two codes have one name."""

_WORDS = re.compile(r"[a-z]+(?:_[a-z]+)*")
_OTHER = re.compile(r"[^A-Za-z0-9]")


def account_name(account_class: str, code: str) -> str:
    """The name of an account as beancount and hledger take it.

    Args:
        account_class: asset | liability | equity | income | expense
        code: ends in its currency, as the ledger enforces.
    """
    rest, _, currency = code.rpartition(":")
    name, colon, owner = rest.partition(":")
    parts = [
        ROOTS[account_class],
        "".join(word.capitalize() for word in name.split("_"))
        if _WORDS.fullmatch(name)
        else f"0{_escaped(name)}",
    ]
    if colon:
        lower = "a" <= owner[:1] <= "z"
        parts.append(owner[0].upper() + _escaped(owner[1:]) if lower else f"0{_escaped(owner)}")
    return ":".join((*parts, currency))


def _escaped(text: str) -> str:
    return _OTHER.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return "--" if character == "-" else "".join(f"-{byte:02x}" for byte in character.encode())
