"""Screening: whom a list names is held until a person clears her of that entry; new accounts wait; lists stay named."""

import hashlib
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from database.errors import Invalid, Refused, Unavailable
from database.roles import Role
from database.settings import get_settings
from settlement.payouts.holds import open_holds, release_hold
from settlement.payouts.name_score import THRESHOLD, score
from settlement.payouts.plan import Decision, hold_named, plan
from settlement.payouts.screening import ListScreening, NoScreening, Screened, configured_screening, name_key
from settlement.rates import PlatformTerms, record_platform
from tests.settlement.payouts.desk import (
    BATCH,
    acting,
    approve,
    change_details,
    create,
    holds,
    paid,
    post_owed,
    states,
    submit,
)

Write = Callable[[str], Path]
PARIS = "FR1420041010050500013M02606"


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes the list that is configured."""
    path = tmp_path / "list.csv"
    monkeypatch.setenv("SCREENING_LIST", str(path))
    get_settings.cache_clear()

    def write(content: str) -> Path:
        path.write_text(content, encoding="utf-8")
        return path

    yield write
    monkeypatch.undo()
    get_settings.cache_clear()


def planned() -> dict[str, Decision]:
    with acting(Role.PAYER) as opened:
        return {decision.payee_id: decision for decision in plan(opened, "EUR")}


def found(path: Path, name: str, iban: str | None = None) -> list[tuple[str, str]]:
    screened = [Screened("pay-1", name, iban)]
    return [(finding.entry_id, finding.matched) for finding in ListScreening.read(path).screen(screened)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Mara Vell", "VELL, MARA"),
        ("Øskar Lindt", "lindt oskar"),
        ("Łukasz Żółty", "Zolty  Lukasz"),
        ("Иван Петров", "Petrov Ivan"),
        ("Müller-Groß", "gross muller"),
        ("Jose\u0301 Ruiz", "RUIZ JOSÉ"),
    ],
)
def test_names_that_are_the_same(one: str, other: str) -> None:
    assert name_key(one) == name_key(other)


@pytest.mark.parametrize(
    ("one", "other"), [("Mara Vell", "Mara Vella"), ("李明", "王明"), ("Ann Lee", "Ann")]
)
def test_names_that_are_not(one: str, other: str) -> None:
    assert name_key(one) != name_key(other) and name_key(one)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("Mara Vell", "Vell Mara", 100),
        ("Mara Vell", "Mara Vella", 89),
        ("M. Vell", "Mara Vell", 96),
        ("Ann Mary Lee", "Ann M. Lee", 97),
        ("Katharina Brandt", "Katahrina Brandt", 93),
        ("Katharina Brandt", "Catarina Brandt", 87),
        ("M. V.", "Mara Vell", 0),
        ("Mara Vell", "Mara", 66),
        ("Ann Lee", "Ann Low", 50),
        ("李明", "王明", 50),
        ("Ann Maria Lopez Garcia", "Ann Garcia", 64),
    ],
)
def test_how_alike_names_are(one: str, other: str, expected: int) -> None:
    assert score(name_key(one), name_key(other)) == score(name_key(other), name_key(one)) == expected


def test_who_is_nearly_named_is_found_with_the_score(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("id,name\nE1,Mara Vell\nE2,Mara Velasco\n")
    (finding,) = ListScreening.read(path).screen([Screened("p", "Vella Mara", None)])
    assert (finding.score, finding.why) == (89, "screening: list entry E1 (name, 89 of 100 alike)")
    assert found(path, "Mara Velasquez") == [] and THRESHOLD == 85


def test_a_list_as_csv_and_as_json_lines(tmp_path: Path) -> None:
    csv, lines = tmp_path / "a.csv", tmp_path / "b.jsonl"
    csv.write_text(f"id,name,aliases,iban,country\nE1,Mara Vell,M. Vell; La Vell,,FR\nE2,Fourth,,{PARIS},\n")
    lines.write_text(
        '{"id": "E1", "name": "Mara Vell", "aliases": ["M. Vell", "La Vell"], "country": "FR"}\n'
        f'\n{{"id": "E2", "name": "Fourth", "iban": "{PARIS.lower()}"}}\n'
    )
    for path in (csv, lines):
        assert found(path, "vell la") == [("E1", "name")]
        assert found(path, "Somebody", f"{PARIS[:4]} {PARIS[4:]}") == [("E2", "account")]
        assert found(path, "Mara Vell", PARIS) == [("E1", "name"), ("E2", "account")]
        assert found(path, "Mara") == []
    one, other = (
        ListScreening.read(path).screen([Screened("p", "Mara Vell", None)]) for path in (csv, lines)
    )
    assert one[0].entry_sha256 == other[0].entry_sha256, "an entry is what it says, in whatever form"
    assert PARIS not in repr(ListScreening.read(csv)) and PARIS not in repr(Screened("p", "n", PARIS))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("name\nMara", "begins with a header"),
        ("", "begins with a header"),
        ("id,name,iban\n,Mara,", "entry 1: an entry has an id"),
        ("id,name,iban\nE1,?!,", "entry 1: an entry has an id"),
        ("id,name,country\nE1,Mara,France", "entry 1: write the country in two letters"),
        ('{"id": "E1", "name": "Mara"}\n{"id"', "entry 2: is no JSON object"),
    ],
)
def test_a_list_is_read_whole_or_not_at_all(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "list"
    path.write_text(content)
    with pytest.raises(Invalid, match=reason):
        ListScreening.read(path)


def test_without_its_list_nobody_is_paid(owing: Session, listed: Write) -> None:
    with pytest.raises(Unavailable, match=r"cannot be screened: .*list\.csv"):
        create()


def test_without_a_list_nobody_is_screened(owing: Session) -> None:
    assert configured_screening() == NoScreening()
    create()
    assert owing.execute(text("SELECT * FROM settlement.screening")).all() == []


def test_a_finding_holds_until_a_person_clears_it_of_that_entry(owing: Session, listed: Write) -> None:
    listed("id,name\nE1,VELL Mara\n")
    why = "screening: list entry E1 (name)"
    assert (planned()["pay-1"].decision, planned()["pay-1"].problem) == ("held", why)
    assert holds() == {}, "a plan writes nothing"
    for _ in range(2):
        with acting(Role.PAYER) as opened:
            hold_named(opened, "EUR", "ann")
    assert holds() == {"pay-1": [why]}
    with acting(Role.PAYER) as opened:
        (hold,) = open_holds(opened)
        release_hold(opened, hold.id, "born in another year", "bob")
    assert planned()["pay-1"].decision == "pay"
    listed("id,name\nE0,Nobody\nE1,Vell Mara\n")
    assert planned()["pay-1"].decision == "pay", "another list with the same entry"
    listed(f"id,name,iban\nE1,Vell Mara,\nE2,Somebody,{PARIS}\n")
    assert planned()["pay-1"].problem == "screening: list entry E2 (account)"
    listed("id,name,aliases\nE1,Vell Mara,Mara the Elder\n")
    assert planned()["pay-1"].problem == why, "the entry says something else now"
    cleared = "SELECT entry_id, matched, cleared_by, clearing_reason FROM audit.screening_findings"
    assert owing.execute(text(cleared)).all() == [("E1", "name", "bob", "born in another year")]


def test_screened_again_when_submitted_and_the_lists_are_kept(owing: Session, listed: Write) -> None:
    first = listed("id,name\nE1,Nobody\n")
    os.utime(first, (1_780_000_000, 1_780_000_000))
    before = hashlib.sha256(first.read_bytes()).digest()
    create()
    approve(BATCH)
    after = hashlib.sha256(listed(f"id,name,iban\nE9,Somebody,{PARIS}\n").read_bytes()).digest()
    payments = paid(submit(BATCH))
    assert list(payments.values()) == ["20.00", "30.00"]
    assert states(BATCH)["pay-1"] == "cancelled"
    rows = owing.execute(
        text(
            "SELECT stage, list_name, list_sha256, entries, payees, actor FROM settlement.screening ORDER BY 1"
        )
    ).all()
    assert rows == [("create", "list.csv", before, 1, 3, "ann"), ("submit", "list.csv", after, 1, 3, "ann")]
    modified = owing.scalar(text("SELECT list_modified_at FROM audit.screenings WHERE stage = 'create'"))
    assert modified == datetime.fromtimestamp(1_780_000_000, UTC)
    with pytest.raises(Exception, match="append-only"), acting(Role.ADMIN) as opened:
        opened.execute(text("DELETE FROM settlement.screening"))


def test_if_everybody_is_named_there_is_still_a_hold_to_release(closed: Session, listed: Write) -> None:
    post_owed(closed, 5_000_000, "pay-1")
    listed("id,name\nE1,Mara Vell\n")
    with acting(Role.PAYER) as opened:
        hold_named(opened, "EUR", "ann")
    with pytest.raises(Refused, match="nobody can be paid"):
        create()
    assert holds() == {"pay-1": ["screening: list entry E1 (name)"]}


def cool_off(opened: Session, days: int) -> None:
    """The platform's terms, with a cooling-off time, from the first day after October."""
    terms = PlatformTerms(
        valid_from=datetime(2026, 11, 1, tzinfo=UTC),
        platform_payee_id="platform",
        model_developer_id="pay-dev",
        default_rate_card_id="standard",
        zone="Europe/Berlin",
        minimum_payout={"EUR": "100000"},
        dispute_contact="royalties@example.com",
        dispute_days=365,
        bank_details_cooling_off_days=days,
    )
    record_platform(opened, terms, actor="test", reason="test")


def test_a_changed_account_waits(owing: Session) -> None:
    with acting(Role.ADMIN) as opened:
        cool_off(opened, 7)
        change_details(opened, "pay-1", iban="DE02120300000000202051")
        change_details(opened, "pay-2", name="Heirs of Lindt")
        change_details(opened, "pay-poor", iban="DE02120300000000202051")
        post_owed(opened, 5_000_000, "pay-poor")
    decisions = planned()
    assert {payee: d.decision for payee, d in decisions.items()} == {
        "pay-1": "bank_details_cooling_off",
        "pay-2": "pay",
        "pay-3": "pay",
        "pay-poor": "pay",
    }
    assert (decisions["pay-1"].problem or "").startswith("a new account: paid from 20")
    assert decisions["pay-1"].shared_with == ("pay-poor",) and decisions["pay-2"].shared_with == ("pay-4",)
    create()
    assert owing.execute(
        text("SELECT decision, amount_micros FROM settlement.payout WHERE payee_id = 'pay-1'")
    ).all() == [("bank_details_cooling_off", 0)]


def test_changed_while_the_batch_waits_for_approval(owing: Session) -> None:
    create()
    with acting(Role.ADMIN) as opened:
        cool_off(opened, 7)
        change_details(opened, "pay-1", iban="DE02120300000000202051")
    approve(BATCH)
    assert len(paid(submit(BATCH))) == 2
    why = "SELECT detail ->> 'why' FROM settlement.payout_event WHERE state = 'cancelled'"
    assert owing.scalars(text(why)).all() == ["bank_details_changed"]
