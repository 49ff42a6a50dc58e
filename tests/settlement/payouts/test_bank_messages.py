"""Files from banks, in the dialects that `bank_files` has: what each does, twice, late, early and wrong."""

import re
from io import BytesIO

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from database.errors import Conflict, Invalid, NotFound
from database.roles import Role
from settlement.payouts import run
from settlement.payouts.bank_messages import stream
from settlement.payouts.bank_messages.codes import STATUS, Says
from settlement.payouts.bank_messages.intake import apply_open, dismiss, open_lines
from settlement.payouts.bank_messages.lines import Line, Statement, day, instant, micros
from settlement.payouts.bank_messages.read import read
from tests.settlement.payouts.desk import (
    AT,
    BANK_FILES,
    BATCH,
    OWED,
    RESERVED,
    acting,
    approve,
    attempts,
    checks,
    create,
    holds,
    ledger,
    reserve,
    state,
    states,
    submit,
    submitted,
    take,
)

ONE, TWO, THREE = (f"{BATCH}-{place}-1" for place in (1, 2, 3))
PAID = RESERVED | {"payout_clearing": 0, "bank": -62_340_000}
CHARGED = PAID | {"bank": -65_190_000, "bank_charges": 2_850_000}
BATCH_BOOKED = "camt054_04_swiss_batch.xml"
STATEMENT = "camt053_02_german_statement.xml"
RETURN = "camt053_08_dutch_return.xml"
REFUSED = "pain002_03_german_rejects.xml"


def edited(name: str, *changes: tuple[str, str]) -> bytes:
    """One of the files with something else in it."""
    content = (BANK_FILES / name).read_text(encoding="utf-8")
    for old, new in changes:
        assert old in content
        content = content.replace(old, new)
    return content.encode()


def why(taken_open) -> list[str]:
    return [line.why for line in taken_open if line.ours]


# Dialects -------------------------------------------------------------------------------------------------------------


def test_german_rejections_name_only_what_was_refused(owing: Session) -> None:
    submitted()
    taken = take(REFUSED)
    assert (taken.kind, taken.version, taken.lines, taken.results, taken.open) == (
        "pain.002",
        "03",
        1,
        {"recorded": 1},
        [],
    )
    assert states(BATCH) == {"pay-1": "submitted", "pay-2": "rejected", "pay-3": "submitted"}
    assert ledger() == RESERVED | {"payout_clearing": -42_340_000, "royalties_payable:pay-2": -20_000_000}
    # The account is closed: the next run would fail as well.
    assert holds() == {"pay-2": [f"payment {TWO} was refused: AC04 (the account is closed)"]}


def test_three_levels_and_other_ids_than_the_end_to_end_id(owing: Session) -> None:
    submitted()
    taken = take("pain002_10_nordic_levels.xml")
    assert taken.results == {"recorded": 3, "noted": 2} and not taken.open
    assert states(BATCH) == {"pay-1": "accepted", "pay-2": "rejected", "pay-3": "accepted"}
    assert state(BATCH) == "partially_settled"
    assert not holds()  # a reason of the bank's own says nothing of the account


def test_a_whole_file_is_refused_without_its_payments(owing: Session) -> None:
    submitted()
    taken = take("pain002_14_group_rejected.xml")
    assert (taken.results, taken.outcomes) == ({"recorded": 1}, {"rejected": 3})
    assert state(BATCH) == "failed"
    assert ledger() == OWED | {"payout_clearing": 0}


def test_refused_as_a_duplicate_gives_no_money_back(owing: Session) -> None:
    """The bank has the file already: what it says of the first one counts, and nobody is paid again meanwhile."""
    submitted()
    taken = take("pain002_14_duplicate_file.xml")
    assert taken.outcomes == {"unknown": 3}
    assert set(states(BATCH).values()) == {"unknown"}
    assert ledger() == RESERVED
    assert checks()["pay-1"] == (None, "ask the bank what became of it")
    take(BATCH_BOOKED)
    assert state(BATCH) == "settled"
    assert ledger() == PAID


def test_payments_have_the_status_of_the_level_above(owing: Session) -> None:
    submitted()
    taken = take("pain002_03_no_transaction_status.xml")
    assert set(states(BATCH).values()) == {"rejected"}
    assert [(line.reference, line.ours, line.why) for line in taken.open] == [
        ("SALARY-2026-11-07", False, "no payment of ours has this reference")
    ]
    assert ledger() == OWED | {"payout_clearing": 0}


def test_a_name_that_does_not_match_its_account_is_held(owing: Session) -> None:
    submitted()
    taken = take("pain002_12_payee_verified.xml")
    assert taken.results == {"noted": 4, "recorded": 1} and not taken.open
    assert set(states(BATCH).values()) == {"submitted"}  # the file goes on or is withdrawn: the bank will say
    assert holds() == {"pay-2": [f"payment {TWO} goes to an account of another name"]}


def test_swiss_details_of_a_batch_booking(owing: Session) -> None:
    submitted()
    taken = take(BATCH_BOOKED)
    assert (taken.version, taken.results, taken.outcomes) == ("04", {"recorded": 3}, {"paid": 3})
    assert ledger() == PAID
    assert state(BATCH) == "settled"
    assert checks() == {}


def test_german_statement_with_a_batch_without_details(owing: Session) -> None:
    submitted()
    taken = take(STATEMENT)
    assert (taken.lines, taken.results, taken.outcomes) == (4, {"recorded": 2, "noted": 1}, {"paid": 3})
    assert [(line.reference, line.amount, line.currency) for line in taken.open] == [
        (None, 100_000_000, "EUR")
    ]
    assert ledger() == CHARGED
    with acting(Role.AUDITOR) as opened:
        rows = opened.execute(
            text(
                "SELECT statement_id, account, currency, opening_micros, booked_micros, closing_micros, adds_up,"
                " charges_micros FROM audit.bank_statements ORDER BY statement_id"
            )
        ).all()
    assert rows == [
        (
            "0352C5320261104",
            "DE** **** 3000",
            "EUR",
            10**9,
            34_810_000,
            1_034_810_000,
            True,
            2_850_000,
        ),
        ("0999C5320261104", "**** 99", "CHF", -7_000_000, 0, -7_000_000, True, None),
    ]
    # What no payment of ours explains stays on the list until a person takes it off.
    with acting(Role.PAYER) as opened:
        dismiss(opened, taken.open[0].entry_id, "a customer's", "ann")
        with pytest.raises(Conflict, match="has been dealt with already"):
            dismiss(opened, taken.open[0].entry_id, "again", "ann")
        with pytest.raises(NotFound, match="no line 0"):
            dismiss(opened, 0, "x", "ann")
        assert open_lines(opened) == []


def test_a_single_booking_with_charges_and_its_return(owing: Session) -> None:
    submitted()
    taken = take(RETURN)
    assert taken.outcomes == {"paid": 1, "returned": 1}
    assert states(BATCH)["pay-3"] == "returned"
    assert ledger() == RESERVED | {
        "payout_clearing": -32_340_000,
        "bank": 0,
        "royalties_payable:pay-3": -30_000_000,
    }
    assert holds() == {"pay-3": [f"payment {THREE} came back: AC04 (the account is closed)"]}
    with acting(Role.AUDITOR) as opened:
        assert opened.scalar(text("SELECT sum(charges_micros) FROM audit.bank_lines")) == 120_000


def test_a_reversal_by_the_bank_in_an_envelope(owing: Session) -> None:
    submitted()
    taken = take("camt054_13_reversal.xml")
    assert (taken.version, taken.outcomes) == ("13", {"paid": 1, "returned": 1})
    assert ledger()["bank"] == 0 and ledger()["royalties_payable:pay-1"] == -12_345_678


@pytest.mark.parametrize("version", [f"{number:02}" for number in range(2, 15)])
def test_every_version_of_every_message(version: str) -> None:
    for name, kind in ((REFUSED, "pain.002"), (STATEMENT, "camt.053"), (BATCH_BOOKED, "camt.054")):
        content = (BANK_FILES / name).read_bytes()
        other = re.sub(rb"(:xsd:[a-z]{4}\.[0-9]{3}\.001\.)[0-9]{2}", rb"\g<1>" + version.encode(), content)
        header, lines = read(BytesIO(other))
        assert (header.kind, header.version) == (kind, version)
        assert list(lines) == list(read(BytesIO(content))[1])
    # As the first version named the message, and without any namespace.
    bare = re.sub(rb"<Document[^>]*>", b"<Document>", (BANK_FILES / REFUSED).read_bytes())
    old = bare.replace(b"CstmrPmtStsRpt", b"pain.002.001.02")
    assert [read(BytesIO(content))[0].kind for content in (bare, old)] == ["pain.002"] * 2


# Charges --------------------------------------------------------------------------------------------------------------

ONE_BOOKING = """
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:{kind}.001.08"><{root}>
  <GrpHdr><MsgId>{message}</MsgId><CreDtTm>2026-11-05T06:00:00</CreDtTm></GrpHdr>
  <{part}><Id>{statement}</Id><Acct><Id><IBAN>DE89370400440532013000</IBAN></Id></Acct>
    <Ntry><Amt Ccy="EUR">{booked}</Amt><CdtDbtInd>{way}</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts>
      <BookgDt><Dt>{on}</Dt></BookgDt>{more}</Ntry>
  </{part}></{root}></Document>
"""


def booking(
    booked: str, more: str, *, way: str = "DBIT", message: str = "M1", kind: str = "camt.053", on: str = "05"
) -> bytes:
    """A statement, or a notification, of one booking."""
    root, part = ("BkToCstmrStmt", "Stmt") if kind == "camt.053" else ("BkToCstmrDbtCdtNtfctn", "Ntfctn")
    return ONE_BOOKING.format(
        kind=kind,
        root=root,
        part=part,
        message=message,
        statement=f"S-{message}",
        booked=booked,
        way=way,
        on=f"2026-11-{on}",
        more=more,
    ).encode()


def coded(reference: str, code: str) -> str:
    """The bank's reference, and a code that says what was booked."""
    return f"<AcctSvcrRef>{reference}</AcctSvcrRef><BkTxCd>{code}</BkTxCd>"


ISO = "<Domn><Cd>PMNT</Cd><Fmly><Cd>MCOP</Cd><SubFmlyCd>CHRG</SubFmlyCd></Fmly></Domn>"
GERMAN = "<Prtry><Cd>NCHG+808+931</Cd><Issr>DK</Issr></Prtry>"


@pytest.mark.parametrize("code", [ISO, GERMAN])
def test_charges_are_posted_once_by_the_banks_reference(owing: Session, code: str) -> None:
    taken = take(booking("4.20", coded("F-1", code)))
    assert taken.results == {"recorded": 1} and not taken.open
    again = take(booking("4.20", coded("F-1", code), message="M2"))
    assert again.results == {"known": 1} and not again.open
    told = take(booking("4.20", coded("F-1", code), message="M3", kind="camt.054"))
    assert told.results == {"noted": 1}  # the statement has it
    assert (ledger()["bank"], ledger()["bank_charges"]) == (-4_200_000, 4_200_000)
    # Another amount, or the same on another day, is another charge: for a person, not guessed.
    for other in (
        booking("4.21", coded("F-1", code), message="M4"),
        booking("4.20", coded("F-1", code), message="M5", on="06"),
    ):
        assert [line.why for line in take(other).open] == [
            "the bank has booked another charge under its reference: ask the bank"
        ]
    back = take(booking("4.20", coded("F-2", code), message="M6", way="CRDT"))
    assert back.results == {"recorded": 1}
    assert (ledger()["bank"], ledger()["bank_charges"]) == (0, 0)
    with acting(Role.AUDITOR) as opened:
        rows = opened.execute(text("SELECT key, amount_micros FROM audit.bank_charges ORDER BY key")).all()
    assert rows == [("bank_charge:EUR:F-1", 4_200_000), ("bank_charge:EUR:F-2", -4_200_000)]


def test_charges_in_one_booking_are_one_charge(owing: Session) -> None:
    """Its details bear no references of their own: their sum is what the bank took."""
    details = "<TxDtls><Amt Ccy='EUR'>0.10</Amt></TxDtls>" * 3
    more = coded("F-1", ISO) + f"<NtryDtls>{details}</NtryDtls>"
    for message in ("M1", "M2"):
        assert not take(booking("0.30", more, message=message)).open
        assert (ledger()["bank"], ledger()["bank_charges"]) == (-300_000, 300_000)


def test_charges_without_references_are_told_apart_by_currency(owing: Session) -> None:
    """Two accounts' statements may bear the same number, and take the same on the same day."""
    fee = booking("5.00", f"<BkTxCd>{ISO}</BkTxCd>")
    other = fee.replace(b"<MsgId>M1", b"<MsgId>M2").replace(b"EUR", b"USD")
    for content in (fee, other, fee.replace(b"<MsgId>M1", b"<MsgId>M3")):
        assert not take(content).open
    with acting(Role.AUDITOR) as opened:
        rows = opened.execute(text("SELECT key, amount_micros FROM audit.bank_charges ORDER BY key")).all()
    assert rows == [("bank_charge:EUR:S-M1/1", 5_000_000), ("bank_charge:USD:S-M1/1", 5_000_000)]


def test_the_same_charge_twice_in_a_statement_is_two_and_the_statement_again_is_none(owing: Session) -> None:
    one = booking("5.00", f"<BkTxCd>{ISO}</BkTxCd>")
    entry = one[one.index(b"<Ntry>") : one.index(b"</Ntry>") + len(b"</Ntry>")]
    twice = one.replace(entry, entry + entry)
    assert take(twice).results == {"recorded": 2}
    assert take(twice.replace(b"<MsgId>M1", b"<MsgId>M2")).results == {"known": 2}
    assert (ledger()["bank"], ledger()["bank_charges"]) == (-10_000_000, 10_000_000)


def test_a_charge_of_nothing_is_recorded_and_not_posted(owing: Session) -> None:
    taken = take(booking("0.00", coded("F-1", ISO)))
    assert taken.results == {"recorded": 1} and not taken.open
    assert "bank_charges" not in ledger()


def one_payment(amount: str, charges: str, more: str = "") -> str:
    """A booking of the third payment, with charges of its own."""
    return (
        f"<NtryDtls><TxDtls><Refs><EndToEndId>{THREE}</EndToEndId></Refs><Amt Ccy='EUR'>{amount}</Amt>{more}"
        f"<Chrgs><Rcrd><Amt Ccy='EUR'>{charges}</Amt></Rcrd></Chrgs></TxDtls></NtryDtls>"
    )


INSTRUCTED = "<AmtDtls><InstdAmt><Amt Ccy='EUR'>30.00</Amt></InstdAmt></AmtDtls>"


@pytest.mark.parametrize("details", [one_payment("30.00", "0.35"), one_payment("30.35", "0.35", INSTRUCTED)])
def test_charges_in_a_payments_booking_are_posted_with_it(owing: Session, details: str) -> None:
    submitted()
    taken = take(booking("30.35", details))
    assert taken.outcomes == {"paid": 1} and not taken.open
    take(booking("30.35", details, message="M2"))
    assert (ledger()["bank"], ledger()["bank_charges"]) == (-30_350_000, 350_000)
    returned = details.replace("30.35", "29.65")
    assert take(booking("29.65", returned, message="M3", way="CRDT")).outcomes == {"returned": 1}
    assert (ledger()["bank"], ledger()["bank_charges"]) == (-700_000, 700_000)
    assert ledger()["royalties_payable:pay-3"] == -30_000_000
    assert "pay-3" not in checks()


def test_charges_that_are_named_and_not_booked_are_not_posted(owing: Session) -> None:
    submitted()
    assert take(booking("30.00", one_payment("30.00", "0.35"))).outcomes == {"paid": 1}
    assert "bank_charges" not in ledger()
    # A payment that took less than it was told to is not explained by a charge.
    assert why(
        take(booking("19.65", one_payment("20.00", "0.35").replace(THREE, TWO), message="M2")).open
    ) == ["the details of its booking do not add up to it"]


def test_charges_of_a_batch_booking(owing: Session) -> None:
    """Named at the booking only: they are its last payment's."""
    submitted()
    details = (BANK_FILES / BATCH_BOOKED).read_text()
    details = details[details.index("<NtryDtls>") : details.index("<AddtlNtryInf>")]
    taken = take(
        booking("63.24", "<Chrgs><TtlChrgsAndTaxAmt Ccy='EUR'>0.90</TtlChrgsAndTaxAmt></Chrgs>" + details)
    )
    assert taken.outcomes == {"paid": 3} and not taken.open
    assert ledger() == PAID | {"bank": -63_240_000, "bank_charges": 900_000}


# Twice, early, late ---------------------------------------------------------------------------------------------------


def test_a_file_is_taken_once_and_a_booking_too(owing: Session) -> None:
    submitted()
    first, second = take(BATCH_BOOKED), take(BATCH_BOOKED)
    assert first.taken_before is None and second.taken_before is not None and second.lines == 0
    # The same message written anew, and the statement that reports the notification's bookings.
    again = take(edited(BATCH_BOOKED, ("2026-11-04T23:40:01", "2026-11-04T23:50:01")))
    assert again.same_id and again.results == {"known": 3} and not again.open
    assert take(STATEMENT).results == {"known": 1, "noted": 1, "recorded": 1}
    assert ledger() == CHARGED
    with acting(Role.AUDITOR) as opened:
        assert opened.scalar(text("SELECT count(*) FROM audit.bank_messages")) == 3


def test_the_statement_comes_before_the_status(owing: Session) -> None:
    submitted()
    take(BATCH_BOOKED)
    taken = take(edited("pain002_10_nordic_levels.xml", ("RJCT", "ACSC")))
    assert taken.results == {"known": 3, "noted": 2} and not taken.open
    assert ledger() == PAID


def test_a_return_before_its_payment_waits_for_it(owing: Session) -> None:
    submitted()
    only_return = re.sub(
        rb"<ns:Ntry>.*?</ns:Ntry>", b"", (BANK_FILES / RETURN).read_bytes(), count=1, flags=re.S
    )
    taken = take(only_return)
    assert why(taken.open) == ["its payment is not booked yet"] and ledger() == RESERVED
    assert checks()["pay-3"][1] == "1 lines of the bank wait"
    taken = take(BATCH_BOOKED)
    assert taken.outcomes == {"paid": 3, "returned": 1}
    assert states(BATCH)["pay-3"] == "returned"
    assert ledger() == PAID | {"bank": -32_340_000, "royalties_payable:pay-3": -30_000_000}
    assert checks() == {}


def test_what_the_bank_says_before_the_hand_over_is_recorded_waits(owing: Session) -> None:
    create()
    approve(BATCH)
    reserve(BATCH)
    taken = take(BATCH_BOOKED)
    assert why(taken.open) == ["its file's hand-over is not recorded: run `royalty payout submit` again"] * 3
    assert take("pain002_14_group_rejected.xml").results == {}
    submit(BATCH)
    with acting(Role.PAYER) as opened:
        results, outcomes, waiting = apply_open(opened, [BATCH], "ann")
    assert (results, outcomes) == (
        {
            "recorded": 1,
        },
        {"rejected": 3},
    ) and len(waiting) == 3


def test_a_batch_is_booked_without_what_was_refused(owing: Session) -> None:
    """The booking of 42.34 is of no sum that the file pays, until the rejection of 20.00 is known."""
    submitted()
    booked = edited(STATEMENT, (">62.34<", ">42.34<"))
    assert why(take(booked).open) == ["the booking is of 42.34 EUR, what the file pays of 62.34 EUR"]
    assert ledger() == RESERVED | {"bank": -2_850_000, "bank_charges": 2_850_000}
    taken = take(REFUSED)
    assert taken.outcomes == {"rejected": 1, "paid": 2} and not taken.open
    assert ledger() == CHARGED | {"bank": -45_190_000, "royalties_payable:pay-2": -20_000_000}
    assert state(BATCH) == "settled"


BOOKED_BACK = edited(RETURN, (THREE, TWO), ("30.00", "20.00"), ("NL-2026", "NL2-2026"))


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
@pytest.mark.parametrize("details", [STATEMENT, BATCH_BOOKED])
def test_booked_whole_refused_and_booked_back(owing: Session, order: tuple[int, ...], details: str) -> None:
    """Some banks book a batch whole, report the refusal, and book the money back: three files in any order."""
    submitted()
    back = re.sub(rb"<ns:Ntry>.*?</ns:Ntry>", b"", BOOKED_BACK, count=1, flags=re.S)
    contents = [(BANK_FILES / details).read_bytes(), (BANK_FILES / REFUSED).read_bytes(), back]
    for place in order:
        take(contents[place])
    charged = 2_850_000 if details == STATEMENT else 0
    assert {**ledger(), "bank_charges": charged} == PAID | {
        "bank": -42_340_000 - charged,
        "bank_charges": charged,
        "royalties_payable:pay-2": -20_000_000,
    }
    assert states(BATCH)["pay-2"] in ("rejected", "returned")
    assert "pay-2" in holds() and checks() == {}
    with acting(Role.PAYER) as opened:
        assert [line for line in open_lines(opened) if line.ours] == []


# Wrong ----------------------------------------------------------------------------------------------------------------


def test_another_amount_is_never_paid(owing: Session) -> None:
    submitted()
    taken = take(edited(BATCH_BOOKED, (">20</Amt>", ">20.01</Amt>"), (">62.34<", ">62.35<")))
    assert why(taken.open) == ["the bank says 20.01 EUR, the payment is of 20.00 EUR"]
    assert states(BATCH) == {"pay-1": "paid", "pay-2": "submitted", "pay-3": "paid"}
    assert checks()["pay-2"][1] == "1 lines of the bank wait"


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        (
            [('Ccy="EUR">12.34<', 'Ccy="USD">12.34<')],
            {"the bank says 12.34 USD, the payment is of 12.34 EUR"},
        ),
        ([(">62.34<", ">63.34<")], {"the details of its booking do not add up to it"}),
        ([(">12.34<", ">12,34<")], {"the bank gives no amount for it that can be read"}),
        ([('<Amt Ccy="EUR">12.34</Amt>', "")], {"the bank gives no amount for it that can be read"}),
        ([(f"<InstrId>{ONE}", f"<InstrId>{TWO}")], {f"it names two payments, {ONE} and {TWO}"}),
        (
            [("<CdtDbtInd>DBIT</CdtDbtInd><RvslInd>false", "<CdtDbtInd>DBIT</CdtDbtInd><RvslInd>true")],
            {"the bank takes back what it had credited"},
        ),
    ],
)
def test_what_cannot_be_taken_waits_and_the_rest_goes_on(
    owing: Session, changes: list[tuple[str, str]], reasons: set[str]
) -> None:
    submitted()
    taken = take(edited(BATCH_BOOKED, *changes))
    with acting(Role.PAYER) as opened:
        open_now = open_lines(opened)
    assert reasons <= {line.why for line in open_now} == {line.why for line in taken.open}
    untouched = len(open_now)
    assert list(states(BATCH).values()).count("paid") == 3 - untouched
    assert ledger()["payout_clearing"] + ledger().get("bank", 0) == -62_340_000


def test_booked_twice_is_seen(owing: Session) -> None:
    """Another booking of a payment in another statement, by the bank's own reference; and twice in one file."""
    submitted()
    take(BATCH_BOOKED)
    other = edited(BATCH_BOOKED, ("ZV20261104", "ZV20261105"), ("20261104375204000131234", "X"))
    assert why(take(other).open) == ["the bank has booked it a second time as paid: ask the bank"] * 3
    assert ledger() == PAID


def test_booked_twice_in_one_file_is_seen(owing: Session) -> None:
    submitted()
    entry = re.search(r"<Ntry>.*</Ntry>", (BANK_FILES / BATCH_BOOKED).read_text(), re.S)
    assert entry is not None
    taken = take(edited(BATCH_BOOKED, ("</Ntfctn>", f"{entry[0]}</Ntfctn>")))
    assert taken.outcomes == {"paid": 3} and len(why(taken.open)) == 3
    assert ledger() == PAID


def test_booked_though_refused_is_held_and_waits(owing: Session) -> None:
    submitted()
    take(REFUSED)
    taken = take(BATCH_BOOKED)
    (waiting,) = taken.open
    assert waiting.why == (
        "it was refused before: the booking contradicts that; if the bank has paid it,"
        f" run `royalty payout correct {waiting.entry_id} --reason ...`"
    )
    assert ledger()["royalties_payable:pay-2"] == -20_000_000
    assert f"payment {TWO} was refused and is booked by the bank" in holds()["pay-2"]
    # And the other way round: nothing is given back of what is booked.
    taken = take(edited(REFUSED, (TWO, THREE), (">20.00<", ">30.00<"), ("0001", "0002")))
    assert why(taken.open) == ["it is paid already: the two contradict each other"]


def test_another_control_sum_is_another_file(owing: Session) -> None:
    submitted()
    taken = take(edited("pain002_14_group_rejected.xml", ("62.34", "62.35")))
    assert why(taken.open) == ["its control sum is 62.35 EUR, the file's 62.34 EUR"]
    assert ledger() == RESERVED


def test_a_status_that_nobody_knows_moves_nothing(owing: Session) -> None:
    submitted()
    taken = take(edited(REFUSED, ("RJCT", "XYZW")))
    assert why(taken.open) == ["its status 'XYZW' is not known"]
    assert why(take(edited(REFUSED, ("RJCT", "BLCK"))).open) == ["a person must look at it"]
    assert ledger() == RESERVED


def test_a_statement_that_does_not_add_up_is_found(owing: Session) -> None:
    submitted()
    take(edited(STATEMENT, (">1034.81<", ">1034.82<")))
    with acting(Role.AUDITOR) as opened:
        assert opened.scalars(
            text("SELECT statement_id FROM audit.bank_statements WHERE NOT adds_up")
        ).all() == ["0352C5320261104"]


def test_several_files_of_a_batch_are_told_apart(owing: Session) -> None:
    create()
    approve(BATCH)
    with acting(Role.PAYER) as opened:
        assert run.reserve(opened, BATCH, "ann", AT, per_file=2) == 3
        assert [
            (f.number, f.message_id, f.name, f.count, f.total) for f in run.bank_files(opened, BATCH)
        ] == [
            (1, BATCH, f"{BATCH}.pain.001.xml", 2, 32_340_000),
            (2, f"{BATCH}-2", f"{BATCH}-2.pain.001.xml", 1, 30_000_000),
        ]
        with pytest.raises(NotFound, match="has no file 3"):
            list(run.file_chunks(opened, BATCH, 3))
        with pytest.raises(Conflict, match="hand all of them over together"):
            run.handed_over(opened, BATCH, {1: b"x"}, "ann", AT)
    content = submit(BATCH)  # another limit now changes nothing
    assert content.count(b"<MsgId>") == 2 and f"<MsgId>{BATCH}-2</MsgId>".encode() in content
    take(
        edited(
            "pain002_14_group_rejected.xml",
            (f">{BATCH}<", f">{BATCH}-2<"),
            (">3<", ">1<"),
            ("62.34", "30.00"),
        )
    )
    assert states(BATCH) == {"pay-1": "submitted", "pay-2": "submitted", "pay-3": "rejected"}
    with acting(Role.AUDITOR) as opened:
        rows = opened.execute(text("SELECT payee_id, file FROM audit.payouts ORDER BY payee_id")).all()
    assert [file for _, file in rows] == [f"{BATCH}.pain.001.xml"] * 2 + [f"{BATCH}-2.pain.001.xml"]
    assert len(attempts(BATCH)) == 3


# Not to be read -------------------------------------------------------------------------------------------------------

DOCUMENT = '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.10">{}</Document>'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no whole XML"),
        ("not xml", "is no XML"),
        (DOCUMENT.format("<CstmrPmtStsRpt>"), "is no whole XML"),
        (DOCUMENT.format("<x/>"), "this is no pain.002"),
        (DOCUMENT.format("<CstmrPmtStsRpt/>"), "this pain.002 has no header"),
        (DOCUMENT.format("<CstmrPmtStsRpt><GrpHdr/></CstmrPmtStsRpt>"), "has no message id"),
        (DOCUMENT.format("<BkToCstmrAcctRpt/>"), "this is a camt.052"),
        (DOCUMENT.format("<CstmrCdtTrfInitn/>"), "this is a pain.001"),
        (DOCUMENT.format("<a>" * 70), "nested more than 64 deep"),
        ('<!DOCTYPE d SYSTEM "http://example.invalid/d.dtd"><Document/>', "has a document type"),
        (
            '<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><Document>&b;</Document>',
            "has a document type",
        ),
        (
            '<!DOCTYPE d [<!ENTITY f SYSTEM "file:///etc/passwd">]><Document>&f;</Document>',
            "has a document type",
        ),
    ],
)
def test_what_is_no_bank_message_is_refused(owing: Session, content: str, message: str) -> None:
    for encoding in ("utf-8", "utf-16"):
        with pytest.raises(Invalid, match=message):
            take(content.encode(encoding), "x.xml")
    with acting(Role.PAYER) as opened:
        assert opened.scalar(text("SELECT count(*) FROM settlement.bank_message")) == 0


def test_a_file_that_breaks_off_leaves_nothing(owing: Session) -> None:
    submitted()
    whole = (BANK_FILES / BATCH_BOOKED).read_bytes()
    with pytest.raises(Invalid, match="is no whole XML"):
        take(whole[:-200])
    assert ledger() == RESERVED
    assert take(whole).outcomes == {"paid": 3}


def test_a_file_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_BYTES", 1 << 20)
    with pytest.raises(Invalid, match="more than 1 MiB"):
        list(stream.events(BytesIO(b"<a>" + b" " * (2 << 20) + b"</a>")))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("20", 20_000_000),
        ("+20.0", 20_000_000),
        ("0020.00", 20_000_000),
        ("0.000001", 1),
        ("1.0000000", 1_000_000),
        ("1.0000001", None),
        ("20,00", None),
        ("-1.00", None),
        ("1e3", None),
        ("", None),
        (None, None),
        ("999999999999999999", None),
    ],
)
def test_amounts_as_banks_write_them(written: str | None, meant: int | None) -> None:
    assert micros(written) == meant


def test_days_and_instants() -> None:
    assert str(day("2026-11-04T23:40:01+02:00")) == "2026-11-04"
    assert (day("04.11.2026"), day(None), instant("soon"), instant(None)) == (None, None, None, None)
    assert str(instant("2026-11-04T23:40:01")) == "2026-11-04 23:40:01+00:00"


def test_lines_say_what_the_code_lists_say() -> None:
    assert {code for code, (says, _) in STATUS.items() if says is Says.REJECTED} == {"RJCT", "CANC"}
    assert not [code for code, (says, _) in STATUS.items() if says in (Says.PAID, Says.RETURNED)]
    _, lines = read(BytesIO((BANK_FILES / STATEMENT).read_bytes()))
    found = list(lines)
    assert [type(line) for line in found] == [Statement, Line, Line, Line, Line, Statement]


@pytest.mark.parametrize("table", ["bank_message", "bank_statement", "bank_entry", "bank_match"])
def test_what_the_bank_said_stays(owing: Session, table: str) -> None:
    submitted()
    take(STATEMENT)
    for statement in (f"DELETE FROM settlement.{table}", f"TRUNCATE settlement.{table} CASCADE"):
        with pytest.raises(DBAPIError, match="is append-only"), acting(Role.ADMIN) as opened:
            opened.execute(text(statement))
        with pytest.raises(DBAPIError, match="permission denied"), acting(Role.PAYER) as opened:
            opened.execute(text(statement))


# ExternalPaymentGroupStatus1Code and ExternalPaymentTransactionStatus1Code of iso20022.org; verification of payee.
GROUP = "ACCC ACCP ACFC ACSC ACSP ACTC ACWC ACWP CANC PART PATC PDNG RCVD RJCT"
TRANSACTION = "ACCC ACCP ACFC ACFW ACIS ACPD ACSC ACSP ACTC ACWC ACWP BLCK CANC CPUC PATC PDNG PRES RCVD RJCT"
VERIFICATION = "RCVC RVCM RVMC RVNA RVNC RVNM"
REJECTED, UNCLEAR, MISMATCH = ("CANC", "RJCT"), ("BLCK",), ("RVNM",)
NOTED = "RCVD PDNG PART PATC PRES ACFW RCVC RVCM RVNC RVMC RVNA".split()


@pytest.mark.parametrize(
    "content",
    [
        "<OrgnlGrpInfAndSts><OrgnlMsgId>F</OrgnlMsgId><GrpSts>{}</GrpSts></OrgnlGrpInfAndSts>",
        "<OrgnlGrpInfAndSts/><OrgnlPmtInfAndSts><OrgnlPmtInfId>F</OrgnlPmtInfId><PmtInfSts>{}</PmtInfSts>"
        "</OrgnlPmtInfAndSts>",
        "<OrgnlGrpInfAndSts/><OrgnlPmtInfAndSts><TxInfAndSts><OrgnlEndToEndId>F</OrgnlEndToEndId><TxSts>{}</TxSts>"
        "</TxInfAndSts></OrgnlPmtInfAndSts>",
    ],
    ids=["group", "payment information", "transaction"],
)
def test_every_status_at_every_level(content: str) -> None:
    """Every code of the lists has a meaning of its own choosing, wherever a bank writes it."""
    for status in {*GROUP.split(), *TRANSACTION.split(), *VERIFICATION.split()}:
        report = f"<CstmrPmtStsRpt><GrpHdr><MsgId>M</MsgId></GrpHdr>{content.format(status)}</CstmrPmtStsRpt>"
        _, lines = read(BytesIO(DOCUMENT.format(report).encode()))
        (line,) = lines
        assert isinstance(line, Line) and line.problem is None, (status, line)
        expected = (
            Says.REJECTED
            if status in REJECTED
            else Says.UNCLEAR
            if status in UNCLEAR
            else Says.MISMATCH
            if status in MISMATCH
            else Says.NOTED
            if status in NOTED
            else Says.ACCEPTED
        )
        assert line.says is expected, status
