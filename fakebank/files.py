"""The bank by files: `pain.001` in; `pain.002`, `camt.054` and `camt.053` out. `python -m fakebank.files --help`.

It takes every file of one folder, lets days pass, and writes its answers into another. The payee's account decides what
becomes of a payment, as in the API; what concerns calls has no meaning here. It reads and writes XML in its own way, so
that who talks to it by files talks to somebody else. Killed anywhere and run again without
further days, it writes the same files again.
"""

import argparse
import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from fakebank.bank import Bank, Unreadable
from fakebank.courses import course_of

_OPENING = Decimal("1000000.00")
"""What a payer's account has before its first booking."""
_FEE = Decimal("0.25")
"""What the bank takes for a statement that has payments."""

_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="urn:iso:std:iso:20022:tech:xsd:{0}">'


def read_file(content: bytes) -> tuple[str, list[dict[str, str]]]:
    """The currency of a file and its payments, as `Bank.tell` takes them, with the file's id and the payer's account.

    Raises:
        Unreadable: no `pain.001`, or its counts and sums are not those of its payments.
    """
    try:
        root = ET.fromstring(content)  # noqa: S314  (a model bank reads what its owner gives it)
    except ET.ParseError as error:
        raise Unreadable(f"this is no XML: {error}") from None
    message, payer = root.findtext(".//{*}GrpHdr/{*}MsgId"), root.findtext(".//{*}DbtrAcct/{*}Id/{*}IBAN")
    payments, currencies = [], set()
    for transfer in root.iterfind(".//{*}CdtTrfTxInf"):
        amount = transfer.find("{*}Amt/{*}InstdAmt")
        name = transfer.findtext("{*}PmtId/{*}EndToEndId")
        iban = transfer.findtext("{*}CdtrAcct/{*}Id/{*}IBAN")
        if amount is None or not amount.text or not name or not iban or not message or not payer:
            raise Unreadable("a payment lacks its id, account or amount")
        currencies.add(amount.get("Ccy", ""))
        payments.append({"id": name, "iban": iban, "amount": amount.text, "file": message, "payer": payer})
    told = root.findtext(".//{*}GrpHdr/{*}NbOfTxs"), root.findtext(".//{*}GrpHdr/{*}CtrlSum")
    total = sum((Decimal(payment["amount"]) for payment in payments), Decimal(0))
    if len(currencies) != 1 or told[0] != str(len(payments)) or Decimal(told[1] or "-1") != total:
        raise Unreadable("this is no pain.001 of one currency whose count and sum are those of its payments")
    return currencies.pop(), payments


def answers(bank: Bank) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every file with which the bank tells what has happened since it last did.

    What they tell is not told again once the iterator has come to its end.
    """
    at = f"{bank.now():%Y-%m-%dT%H:%M:%S}"
    cursor = int(bank.kept("reported") or "0")
    events: list[dict[str, Any]] = []
    while True:
        page, following = bank.events(cursor)
        if not page:
            break
        events, cursor = events + page, following
    told = bank.contents([event["payment"] for event in events])
    events = [{**told[event["payment"]], **event} for event in events if "file" in told[event["payment"]]]
    statuses = [event for event in events if event["type"] in ("payment.accepted", "payment.rejected")]
    for file, of_file in groupby(sorted(statuses, key=lambda event: str(event["file"])), lambda e: e["file"]):
        if said := [event for event in of_file if not _keeps_silent(event)]:
            yield f"{file}-{cursor}.pain.002.xml", _status_report(f"S{cursor}-{file}"[:35], at, file, said)
    booked = [event for event in events if event["type"] in ("payment.paid", "payment.returned")]
    keep = {"reported": str(cursor)}
    by_account = sorted(booked, key=lambda event: (event["payer"], event["currency"]))
    for (payer, currency), group in groupby(by_account, lambda event: (event["payer"], event["currency"])):
        bookings = list(group)
        name = f"{currency}-{payer[-4:]}-{cursor}"
        for copy in range(max(course_of(event["iban"]).copies for event in bookings)):
            yield (
                f"{name}-{copy + 1}.camt.054.xml",
                _account_report(f"N{name}-{copy}", at, payer, bookings, None),
            )
        opening = Decimal(bank.kept(f"balance {payer} {currency}") or _OPENING)
        yield f"{name}.camt.053.xml", _account_report(f"K{name}", at, payer, bookings, opening)
        keep[f"balance {payer} {currency}"] = str(opening + sum(map(_signed, bookings)) - _FEE)
    bank.keep(keep)


def _keeps_silent(event: Mapping[str, Any]) -> bool:
    """Whether the payee's course is one of which the bank does not tell."""
    course = course_of(event["iban"])
    return bool(course.silent or course.mute_calls or course.mute_once_done or course.garbled)


def _signed(event: Mapping[str, Any]) -> Decimal:
    """What an event does to the payer's account."""
    return Decimal(event["amount"]) * (1 if event["type"] == "payment.returned" else -1)


def _status_report(message: str, at: str, file: str, said: Sequence[Mapping[str, Any]]) -> bytes:
    lines = [
        _HEAD.format("pain.002.001.10"),
        f"<CstmrPmtStsRpt><GrpHdr><MsgId>{message}</MsgId><CreDtTm>{at}</CreDtTm></GrpHdr>",
        f"<OrgnlGrpInfAndSts><OrgnlMsgId>{escape(file)}</OrgnlMsgId><OrgnlMsgNmId>pain.001.001.09</OrgnlMsgNmId>",
        f"<GrpSts>PART</GrpSts></OrgnlGrpInfAndSts><OrgnlPmtInfAndSts><OrgnlPmtInfId>{escape(file)}</OrgnlPmtInfId>",
    ]
    for event in said:
        refused = event["type"] == "payment.rejected"
        reason = f"<StsRsnInf><Rsn><Cd>{event['reason']}</Cd></Rsn></StsRsnInf>" if refused else ""
        lines.append(
            f"<TxInfAndSts><OrgnlEndToEndId>{escape(event['payment'])}</OrgnlEndToEndId>"
            f"<TxSts>{'RJCT' if refused else 'ACSP'}</TxSts>{reason}<OrgnlTxRef><Amt>"
            f'<InstdAmt Ccy="{event["currency"]}">{event["amount"]}</InstdAmt></Amt></OrgnlTxRef></TxInfAndSts>'
        )
    return "\n".join([*lines, "</OrgnlPmtInfAndSts></CstmrPmtStsRpt></Document>\n"]).encode()


def _account_report(
    message: str, at: str, payer: str, bookings: Sequence[Mapping[str, Any]], opening: Decimal | None
) -> bytes:
    """A statement with its balances and the bank's fee; without an opening balance a notification."""
    root, part, kind = (
        ("BkToCstmrDbtCdtNtfctn", "Ntfctn", "camt.054")
        if opening is None
        else ("BkToCstmrStmt", "Stmt", "camt.053")
    )
    currency, day = bookings[0]["currency"], at[:10]
    lines = [
        _HEAD.format(f"{kind}.001.08"),
        f"<{root}><GrpHdr><MsgId>{message}</MsgId><CreDtTm>{at}</CreDtTm></GrpHdr><{part}><Id>{message}</Id>",
        f"<Acct><Id><IBAN>{payer}</IBAN></Id><Ccy>{currency}</Ccy></Acct>",
    ]
    if opening is not None:
        closing = opening + sum(map(_signed, bookings)) - _FEE
        lines += [_balance("OPBD", opening, currency, day), _balance("CLBD", closing, currency, day)]
    lines += [_entry(event) for event in bookings]
    if opening is not None:
        lines.append(
            f'<Ntry><Amt Ccy="{currency}">{_FEE}</Amt><CdtDbtInd>DBIT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts>'
            f"<BookgDt><Dt>{day}</Dt></BookgDt><AcctSvcrRef>F-{message}</AcctSvcrRef>"
            "<BkTxCd><Domn><Cd>ACMT</Cd><Fmly><Cd>MDOP</Cd><SubFmlyCd>CHRG</SubFmlyCd></Fmly></Domn></BkTxCd></Ntry>"
        )
    return "\n".join([*lines, f"</{part}></{root}></Document>\n"]).encode()


def _balance(kind: str, amount: Decimal, currency: str, day: str) -> str:
    side = "DBIT" if amount < 0 else "CRDT"
    return (
        f'<Bal><Tp><CdOrPrtry><Cd>{kind}</Cd></CdOrPrtry></Tp><Amt Ccy="{currency}">{abs(amount)}</Amt>'
        f"<CdtDbtInd>{side}</CdtDbtInd><Dt><Dt>{day}</Dt></Dt></Bal>"
    )


def _entry(event: Mapping[str, Any]) -> str:
    """A booking of one payment, or of its return."""
    back = event["type"] == "payment.returned"
    reason = f"<RtrInf><Rsn><Cd>{event['reason']}</Cd></Rsn></RtrInf>" if back else ""
    amount = f'<Amt Ccy="{event["currency"]}">{event["amount"]}</Amt>'
    return (
        f"<Ntry>{amount}<CdtDbtInd>{'CRDT' if back else 'DBIT'}</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts>"
        f"<BookgDt><Dt>{event['at'][:10]}</Dt></BookgDt><AcctSvcrRef>{event['id']}</AcctSvcrRef><NtryDtls><TxDtls>"
        f"<Refs><EndToEndId>{escape(event['payment'])}</EndToEndId></Refs>{amount}{reason}</TxDtls></NtryDtls></Ntry>"
    )


def main() -> None:
    """Take, let days pass, answer."""
    parser = argparse.ArgumentParser(prog="python -m fakebank.files", description="A model bank by files.")
    parser.add_argument("--directory", type=Path, required=True, help="where it keeps its books")
    parser.add_argument("--inbox", type=Path, required=True, help="folder of the pain.001 files it is given")
    parser.add_argument("--outbox", type=Path, required=True, help="folder for its answers")
    parser.add_argument("--days", type=int, default=10, help="how many pass after it has taken them")
    parser.add_argument("--now", type=datetime.fromisoformat, default=None, help="its clock, when new")
    given = parser.parse_args()
    for folder in (given.directory, given.outbox):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    bank = Bank(given.directory / "fakebank.sqlite", (given.now or datetime.now(UTC)).astimezone(UTC))
    payments = written = 0
    for path in sorted(given.inbox.glob("*.pain.001.xml")):
        currency, told = read_file(path.read_bytes())
        bank.tell(currency, told, in_a_file=True)
        payments += len(told)
    bank.advance(given.days)
    for name, content in answers(bank):
        (given.outbox / name).write_bytes(content)
        written += 1
    bank.close()
    print(json.dumps({"payments": payments, "files": written}))  # noqa: T201


if __name__ == "__main__":
    main()
