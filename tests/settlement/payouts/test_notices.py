"""Who changes a payee's account is seen: by her old contact, and by who makes the next batch."""

from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from database.roles import Role
from settlement.payouts.holds import open_holds, release_hold
from settlement.payouts.notices import AccountNotice, account_notices
from settlement.payouts.plan import plan
from tests.settlement.payouts.desk import BATCH, acting, change_details, owe, submitted, take

EARLY = datetime(2026, 1, 1, tzinfo=UTC)


def notices(since: datetime = EARLY) -> list[AccountNotice]:
    with acting(Role.PAYER) as opened:
        return account_notices(opened, since, datetime.now(UTC))


def change(**details: object) -> None:
    with acting(Role.ADMIN) as opened:
        change_details(opened, "pay-1", **details)  # type: ignore[arg-type]


def test_who_changes_the_contact_first_does_not_get_the_notice_alone(closed: Session) -> None:
    change(email="mara@example.com")
    change(email="thief@example.com")
    change(email="thief@example.com", iban="DE75512108001245126199")
    (notice,) = notices()
    assert notice.text().startswith("To: mara@example.com, thief@example.com\n")


def test_the_contact_before_the_change_is_told(closed: Session) -> None:
    change(email="mara@example.com")
    assert notices() == []  # the same account again
    change(iban="DE75512108001245126199", email="thief@example.com")
    (notice,) = notices()
    assert (notice.payee_id, notice.version) == ("pay-1", 3)
    mail = notice.text()
    assert mail.startswith(
        "To: mara@example.com\nSubject: The account that Lumen Pictures GmbH pays you on was changed\n\nDear Mara Vell,"
    )
    assert "  Before  FR** **** 2606\n  Now     DE** **** 6199\n" in mail
    assert "thief" not in mail and "126199" not in mail
    assert notices(datetime.now(UTC) + timedelta(hours=1)) == []
    # Taken away and given back, it is the one before that counts; and each change is told by itself.
    change(iban="")
    change(iban="DE75512108001245126199")
    assert len(notices()) == 1
    change(iban="FR1420041010050500013M02606")
    assert [one.version for one in notices()] == [3, 6]


def test_without_a_mail_address_it_is_a_letter(closed: Session) -> None:
    change(iban="DE75512108001245126199")
    assert notices()[0].text().startswith("To: Mara Vell, Paris, FR\n")


def test_what_the_bank_said_of_an_account_is_shown_before_it_is_paid_again(owing: Session) -> None:
    submitted()
    take("pain002_12_payee_verified.xml")
    owe(5_000_000, "pay-1", "pay-2", "pay-3")
    with acting(Role.PAYER) as opened:
        for hold in open_holds(opened):
            release_hold(opened, hold.id, "the bank was asked", "ann")
        said = {one.payee_id: (one.decision, one.verified) for one in plan(opened, "EUR")}
    assert said == {
        "pay-1": ("pay", f"RCVC (payee verified: name and account match), payment {BATCH}-1-1"),
        "pay-2": (
            "pay",
            f"RVNM (payee verified: the name does not match the account), payment {BATCH}-2-1",
        ),
        "pay-3": ("pay", f"RVMC (payee verified: the name matches nearly), payment {BATCH}-3-1"),
    }
    change(iban="DE75512108001245126199")  # of this one nobody has said anything
    with acting(Role.PAYER) as opened:
        assert {one.payee_id: one.verified for one in plan(opened, "EUR")}["pay-1"] is None
