"""In whatever order a bank's messages come, and however often: the same books, clearing at zero, nobody paid twice."""

from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from itertools import count, islice, product
from string import ascii_uppercase

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from sqlalchemy import text

from database.engine import session
from database.roles import Role
from settlement.ledger import post
from settlement.payouts.bank_messages.intake import open_lines, take_file
from settlement.payouts.holds import open_holds, release_hold
from tests.settlement.payouts.desk import approve, attempts, create, debts, submit

PAYEES = ("pay-1", "pay-2", "pay-3", "pay-4", "pay-5")
CENT = 10_000
EXAMPLES = 30
CURRENCIES = ["".join(letters) for letters in islice(product("R", ascii_uppercase, ascii_uppercase), 400)]
_currencies = iter(CURRENCIES)
_ids = count(1)

# What becomes of a payment at the bank, by what its messages say: (message kind, what it says) in the order of time.
FATES = {
    "paid": [("status", "ACSP"), ("camt.054", "DBIT"), ("camt.053", "DBIT")],
    "paid, reported by the statement only": [("camt.053", "DBIT")],
    "refused": [("status", "RJCT AC04")],
    "accepted and refused": [("status", "ACTC"), ("status", "RJCT AM04")],
    "returned": [
        ("status", "ACSC"),
        ("camt.054", "DBIT"),
        ("camt.053", "DBIT"),
        ("camt.054", "CRDT"),
        ("camt.053", "CRDT"),
    ],
    "booked, refused, booked back": [("camt.053", "DBIT"), ("status", "RJCT AC01"), ("camt.053", "CRDT")],
    "sent twice": [("status", "RJCT DU03"), ("camt.053", "DBIT")],
}
BANK_KEEPS = {"paid", "paid, reported by the statement only", "sent twice"}

Said = tuple[str, str, str, int]
"""Message kind, what it says, attempt, amount in cents."""


def status_report(said: Sequence[Said]) -> str:
    rows = ""
    for _, says, attempt, _ in said:
        status, _, reason = says.partition(" ")
        why = f"<StsRsnInf><Rsn><Cd>{reason}</Cd></Rsn></StsRsnInf>" if reason else ""
        rows += f"<TxInfAndSts><OrgnlEndToEndId>{attempt}</OrgnlEndToEndId><TxSts>{status}</TxSts>{why}</TxInfAndSts>"
    return (
        '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.10"><CstmrPmtStsRpt>'
        f"<GrpHdr><MsgId>M{next(_ids)}</MsgId></GrpHdr><OrgnlPmtInfAndSts>{rows}</OrgnlPmtInfAndSts>"
        "</CstmrPmtStsRpt></Document>"
    )


def account_report(kind: str, said: Sequence[Said], currency: str, together: bool) -> str:
    """Bookings in a statement or notification, one by one or, where they go the same way, as one with its details."""
    message, part = {
        "camt.053": ("BkToCstmrStmt", "Stmt"),
        "camt.054": ("BkToCstmrDbtCdtNtfctn", "Ntfctn"),
    }[kind]
    entries = ""
    groups = [[one] for one in said]
    if together:
        groups = [[one for one in said if one[1] == way] for way in ("DBIT", "CRDT")]
    for group in filter(None, groups):
        details = "".join(
            f"<TxDtls><Refs><AcctSvcrRef>{kind}{way}{attempt}</AcctSvcrRef><EndToEndId>{attempt}</EndToEndId></Refs>"
            f'<Amt Ccy="{currency}">{cents // 100}.{cents % 100:02}</Amt></TxDtls>'
            for _, way, attempt, cents in group
        )
        total = sum(cents for *_, cents in group)
        day = "05" if group[0][1] == "DBIT" else "09"
        entries += (
            f'<Ntry><Amt Ccy="{currency}">{total // 100}.{total % 100:02}</Amt><CdtDbtInd>{group[0][1]}</CdtDbtInd>'
            f"<Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>2026-11-{day}</Dt></BookgDt><NtryDtls>{details}</NtryDtls></Ntry>"
        )
    return (
        f'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:{kind}.001.08"><{message}>'
        f"<GrpHdr><MsgId>M{next(_ids)}</MsgId></GrpHdr><{part}><Id>1</Id>{entries}</{part}></{message}></Document>"
    )


def messages(
    fates: dict[str, str], amounts: dict[str, int], currency: str, data: st.DataObject
) -> list[bytes]:
    """The bank's messages: of each kind and step one for everybody, or one for each, in an order that is drawn."""
    steps: dict[tuple[str, int], list[Said]] = {}
    for attempt, fate in fates.items():
        for place, (kind, says) in enumerate(FATES[fate]):
            steps.setdefault((kind, place), []).append((kind, says, attempt, amounts[attempt]))
    made = []
    for (kind, _), said in steps.items():
        together = data.draw(st.booleans())
        for part in [said] if data.draw(st.booleans()) else [[one] for one in said]:
            report = (
                status_report(part) if kind == "status" else account_report(kind, part, currency, together)
            )
            made.append(report.encode())
    order = data.draw(st.permutations(made))
    again = data.draw(st.lists(st.sampled_from(made), max_size=3))
    # The very same file again, and the same said in another file.
    renamed = [content.replace(b"<MsgId>", b"<MsgId>X") for content in again]
    late = data.draw(st.permutations([*again, *renamed]))
    cut = data.draw(st.integers(0, len(order)))
    return [*order[:cut], *late, *order[cut:]]


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_order_ends_in_the_same_books(october: str, data: st.DataObject) -> None:
    currency = next(_currencies)
    owed = data.draw(
        st.lists(st.integers(100, 1_000_000), min_size=2, max_size=5).map(
            lambda cents: dict(zip(PAYEES, (n * CENT for n in cents), strict=False))
        )
    )
    with session(Role.SETTLEMENT) as opened:
        post(opened, [e for payee, amount in owed.items() for e in debts(amount, payee, currency=currency)])
    batch = create(currency)
    approve(batch)
    submit(batch)
    payee_of = {attempt: payee for payee, attempt in attempts(batch).items()}
    fates = {attempt: data.draw(st.sampled_from(sorted(FATES))) for attempt in payee_of}
    cents = {attempt: owed[payee] // CENT for attempt, payee in payee_of.items()}
    sent = messages(fates, cents, currency, data)
    note(str(fates))
    for content in sent:
        with session(Role.PAYER) as opened:
            take_file(opened, BytesIO(content), "bank.xml", "ann")

    bank = Counter({payee_of[a]: owed[payee_of[a]] for a, fate in fates.items() if fate in BANK_KEEPS})
    with session(Role.PAYER) as opened:
        rows = opened.execute(
            text(
                "SELECT left(a.code, -4), sum(p.amount)::bigint FROM ledger.account AS a"
                " JOIN ledger.posting AS p ON p.account_id = a.id WHERE a.currency = :currency GROUP BY a.code"
            ),
            {"currency": currency},
        )
        found = {code: total for code, total in rows}  # noqa: C416
        waiting = open_lines(opened, batch_ids=[batch])
        held = {hold.payee_id for hold in open_holds(opened)}
        for hold in open_holds(opened):
            release_hold(opened, hold.id, "over", "ann")
    assert waiting == []
    assert found["payout_clearing"] == 0
    assert -found.get("bank", 0) == bank.total()
    for payee, amount in owed.items():
        assert -found[f"royalties_payable:{payee}"] == amount - bank[payee]
    came_back = {
        payee_of[a] for a, fate in fates.items() if fate in ("returned", "booked, refused, booked back")
    }
    assert came_back <= held
    with session(Role.AUDITOR) as opened:
        faults = opened.execute(
            text(
                "SELECT payout_id, fault, attention FROM audit.payout_reconciliation WHERE batch_id = :batch"
            ),
            {"batch": batch},
        ).all()
    assert len(faults) == len(owed)
    assert not [row for row in faults if row.fault is not None]
