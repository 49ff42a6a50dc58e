"""The royalty catalogue: loaded whole or not at all, twice as once, and history stays."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from attribution.catalogue import artists
from database.errors import Conflict, Invalid, NotFound
from settlement.bank_details import BankDetails, opened_account
from settlement.catalogue_file import CatalogueReport, InvalidCatalogue, load_catalogue
from settlement.contracts import ContractSplit, ContractVersion
from settlement.fx import FxRateVersion
from settlement.payees import PartyVersion, Payee, parties_of
from settlement.rates import RateCardVersion, platform_now
from settlement.reserves import ReserveVersion
from settlement.tax import TaxProfileVersion

CATALOGUE = """
platform:
  id: platform
  name: Lumen Pictures GmbH
  address: {street: Torstrasse, building: "1", postcode: "10119", town: Berlin, country: DE}
  iban: DE89 3704 0044 0532 0130 00
  bic: COBADEFFXXX
  currency: EUR
  valid_from: 2026-01-01
  zone: Europe/Berlin
  default_rate_card: standard
  model_developer: pay-dev
  minimum_payout: {EUR: "0.10"}
  dispute: {contact: royalties@example.com, days: 365}
payees:
  - {id: pay-1, kind: person, currency: EUR, name: Mara Vell, email: mara@example.com, language: en}
  - {id: pay-2, kind: estate, currency: EUR, name: Estate of Oskar Lindt}
  - {id: pay-dev, kind: model_developer, currency: EUR, name: Model Makers Ltd}
artists:
  - {id: art-1, name: Mara Vell, aliases: [M. Vell]}
  - {id: art-2, name: Oskar Lindt}
contracts:
  - {id: contract-1, artist: art-1, valid_from: 2026-01-01, splits: {pay-1: "70.5", pay-2: "29.5"}}
rate_cards:
  - {id: standard, valid_from: 2026-01-01, model: per_image, rate: "30"}
  - {id: flat, valid_from: 2026-01-01, model: per_image, fee: {EUR: "0.10"}, distribution_key: equal}
"""


MONEY = """
tax_profiles:
  - {payee: pay-1, valid_from: 2026-01-01, rate: "0", territories: {US: "15", "NO": "7.5"}}
reserves:
  - {payee: pay-1, valid_from: 2026-01-01, rate: "10", release: {3: "50", 6: "50"}}
  - {payee: pay-1, valid_from: 2026-06-01, rate: "0"}
fx_rates:
  - {from: USD, to: EUR, valid_from: 2026-10-30, rate: "0.8612", source: ECB}
"""


def load(db: Session, text: str = CATALOGUE) -> CatalogueReport:
    return load_catalogue(db, text, actor="mara", reason="test")


def test_a_whole_catalogue(db: Session) -> None:
    assert load(db) == CatalogueReport(payees=4, parties=4, artists=2, contracts=1, rate_cards=2, platform=1)
    assert dict(db.execute(select(ContractSplit.payee_id, ContractSplit.share_ppb)).all()) == {
        "pay-1": 705_000_000,
        "pay-2": 295_000_000,
    }
    assert "iban" not in parties_of(db, ["platform"])["platform"][1]
    assert opened_account(db, "platform", 1) == BankDetails("DE89370400440532013000", "COBADEFFXXX")
    platform = platform_now(db)
    assert platform is not None and platform.minimum_payout == {"EUR": "100000"}
    # Midnight in Berlin.
    assert platform.valid_from == datetime(2025, 12, 31, 23, tzinfo=UTC)
    card = db.scalars(select(RateCardVersion).where(RateCardVersion.rate_card_id == "flat")).one()
    assert (card.rate_ppb, card.fee_micros, card.currency, card.distribution_key) == (
        None,
        100_000,
        "EUR",
        "equal",
    )


def test_twice_is_once(db: Session) -> None:
    load(db)
    assert load(db) == CatalogueReport(0, 0, 0, 0, 0, 0)
    assert not load(db).changed


def test_a_change_is_a_new_version(db: Session) -> None:
    load(db)
    changed = CATALOGUE.replace("aliases: [M. Vell]", "aliases: [Vell]").replace(
        "Estate of Oskar", "Heirs of Oskar"
    )
    changed = changed.replace(
        "rate_cards:", "  - {id: contract-1, artist: art-1, valid_from: 2027-01-01, ended: true}\nrate_cards:"
    )
    assert load(db, changed) == CatalogueReport(0, 1, 1, 1, 0, 0)
    assert [(a.id, a.version) for a in artists(db)] == [("art-1", 2), ("art-2", 1)]
    assert db.scalar(select(func.count()).select_from(PartyVersion)) == 5
    assert db.scalars(select(ContractVersion.status).order_by(ContractVersion.valid_from)).all() == [
        "active",
        "ended",
    ]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (
            'pay-1: "70.5", pay-2: "29.5"',
            'pay-1: "100"',
            "contract contract-1 of art-1 is recorded otherwise",
        ),
        ('rate: "30"', 'rate: "31"', "rate card standard is recorded otherwise"),
        ('EUR: "0.10"}\n  dispute', 'EUR: "0.20"}\n  dispute', "platform's terms are recorded otherwise"),
        ("kind: estate", "kind: person", "payee pay-2 is recorded as estate, paid in EUR"),
    ],
)
def test_history_stays(db: Session, old: str, new: str, reason: str) -> None:
    load(db)
    assert old in CATALOGUE
    with pytest.raises(Conflict, match=reason):
        load(db, CATALOGUE.replace(old, new))


def test_tax_reserves_and_rates_of_exchange(db: Session) -> None:
    report = load(db, CATALOGUE + MONEY)
    assert (report.tax_profiles, report.reserves, report.fx_rates) == (1, 2, 1)
    assert not load(db, CATALOGUE + MONEY).changed
    profile = db.scalars(select(TaxProfileVersion)).one()
    assert (profile.default_ppb, profile.rates) == (0, {"US": 150_000_000, "NO": 75_000_000})
    assert profile.valid_from == datetime(2025, 12, 31, 23, tzinfo=UTC)
    assert {r.rate_ppb: r.release for r in db.scalars(select(ReserveVersion))} == {
        100_000_000: {"3": 500_000_000, "6": 500_000_000},
        0: {},
    }
    rate = db.scalars(select(FxRateVersion)).one()
    assert (rate.rate_trillionths, rate.source) == (861_200_000_000, "ECB")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"NO"', "NO", r'tax_profiles\[0\].territories.*: is no text in YAML: .* as "NO"'),
        ("US:", "USA:", r"tax_profiles\[0\].territories.USA: is not a country"),
        ("payee: pay-1", "payee: pay-9", r"tax_profiles\[0\].payee: there is no payee pay-9"),
        ('6: "50"', '6: "49"', r"reserves\[0\].release: 99 % in all, not 100"),
        ('rate: "0"}', 'rate: "0", release: {1: "100"}}', r"reserves\[1\].release: nothing is held back"),
        ("2026-06-01", "2026-01-01", "reserves: pay-1 from 2026-01-01 on stands 2 times"),
        ("to: EUR", "to: USD", r"fx_rates\[0\].to: is the currency that it comes from"),
        ('"0.8612"', '"0.0"', r"fx_rates\[0\].rate: '0.0' is not a rate of exchange"),
        ('"0.8612"', "0.8612", r"fx_rates\[0\].rate: write it in quotes"),
    ],
)
def test_terms_of_money_that_cannot_be(db: Session, old: str, new: str, problem: str) -> None:
    assert old in MONEY
    with pytest.raises(InvalidCatalogue, match=problem):
        load(db, CATALOGUE + MONEY.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('US: "15"', 'US: "16"', "the tax profile of pay-1 is recorded otherwise from 2026-01-01 on"),
        ('rate: "10"', 'rate: "11"', "the reserve of pay-1 is recorded otherwise from 2026-01-01 on"),
        ('"0.8612"', '"0.8613"', "the rate from USD to EUR is recorded otherwise from 2026-10-30 on"),
    ],
)
def test_terms_of_money_stay(db: Session, old: str, new: str, reason: str) -> None:
    load(db, CATALOGUE + MONEY)
    with pytest.raises(Conflict, match=reason):
        load(db, CATALOGUE + MONEY.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('pay-2: "29.5"', 'pay-2: "29"', r"contracts\[0\].splits: 99.5 % in all, not 100"),
        ('pay-2: "29.5"', "pay-2: 29.5", r"contracts\[0\].splits.pay-2: write it in quotes"),
        ('pay-2: "29.5"', 'pay-9: "29.5"', r"contracts\[0\].splits: there is no payee pay-9"),
        ("artist: art-1", "artist: art-9", r"contracts\[0\].artist: there is no artist art-9"),
        ("0532 0130 00", "0532 0130 01", "platform.iban: is not a valid IBAN"),
        (
            "name: Oskar Lindt}",
            "name: m vell}",
            r"artists\[1\].name: 'm vell' is a name of artist art-1 already",
        ),
        ("name: Oskar Lindt}", "name: '***'}", r"artists\[1\].name: '\*\*\*' has no letter"),
        ("id: art-2", "id: C", r"artists\[1\].id: 'C' stands for content"),
        ("id: art-2", "id: a/b", r"artists\[1\].id: is not an id"),
        ("zone: Europe/Berlin", "zone: Europe/Atlantis", "platform.zone: is not a time zone"),
        (
            "default_rate_card: standard",
            "default_rate_card: gold",
            "platform.default_rate_card: there is no rate card",
        ),
        (
            "model_developer: pay-dev",
            "model_developer: pay-x",
            "platform.model_developer: there is no payee pay-x",
        ),
        ("kind: person", "kind: robot", r"payees\[0\].kind: input should be 'person'"),
        ("kind: person, currency: EUR", "kind: person", r"payees\[0\].currency: is missing"),
        ("kind: person", "kind: person, colour: red", r"payees\[0\].colour: is not known here"),
        ("id: pay-2, kind", "id: pay-1, kind", "payees: pay-1 stands 2 times"),
        ('rate: "30"', 'rate: "30", fee: {EUR: "1"}', r"rate_cards\[0\]: write either a rate or a fee"),
        ("per_image, fee", "period_pool, fee", r"rate_cards\[1\]: a period pool is a rate"),
        ("key: equal", "key: proxy", r"rate_cards\[1\].weights: belong to `distribution_key: proxy`"),
        ("rate_cards:", "rate_cards: [", "line 2[0-9]: "),
        ("payees:", "artists:\npayees:", "'artists' stands twice"),
    ],
)
def test_mistakes_are_named_with_their_place_and_nothing_is_written(
    db: Session, old: str, new: str, problem: str
) -> None:
    assert old in CATALOGUE
    with pytest.raises(InvalidCatalogue, match=problem) as raised:
        load(db, CATALOGUE.replace(old, new))
    assert "\n" not in raised.value.message and "0532" not in raised.value.message
    assert not db.scalars(select(Payee)).all()
    assert not artists(db)


def test_the_first_catalogue_names_the_platform_and_later_ones_need_not(db: Session) -> None:
    addition = "artists:\n  - {id: art-3, name: Tilde Ros}\n"
    with pytest.raises(InvalidCatalogue, match="the first catalogue must name the platform"):
        load(db, addition)
    load(db)
    assert load(db, addition).artists == 1
    with pytest.raises(InvalidCatalogue, match="'tilde-ros' is a name of artist art-3 already"):
        load(db, "artists:\n  - {id: art-4, name: Other, aliases: [tilde-ros]}\n")


def test_files(db: Session, tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    with pytest.raises(NotFound, match="there is no file"):
        load_catalogue(db, path, actor="mara", reason="test")
    path.write_text("just text")
    with pytest.raises(InvalidCatalogue, match=r"catalogue\.yaml: is not a catalogue"):
        load_catalogue(db, path, actor="mara", reason="test")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Invalid, match="not text in UTF-8"):
        load_catalogue(db, path, actor="mara", reason="test")
    path.write_text(CATALOGUE)
    assert load_catalogue(db, path, actor="mara", reason="test").changed
