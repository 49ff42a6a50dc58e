"""The royalty catalogue as one readable YAML file: platform, payees, artists, contracts, rate cards, tax, reserves, FX.

    platform:
      id: platform                        # the platform is a party too: it heads every statement and pays
      name: Lumen Pictures GmbH
      address: {street: Torstrasse, building: "1", postcode: "10119", town: Berlin, country: DE}
      iban: DE89370400440532013000        # optional, as bic: only a payout file needs them
      currency: EUR
      valid_from: 2026-01-01              # a day in the platform's zone, as everywhere in this file
      zone: Europe/Berlin                 # months are counted in it
      default_rate_card: standard
      model_developer: pay-dev            # who gets content's share
      minimum_payout: {EUR: "50.00"}
      bank_details_cooling_off_days: 7    # a changed account is not paid for so long (default: 0)
      zero_statements: false              # whether who has neither balance nor activity gets one too
      pending_limit: "5"                  # per cent of royalties; if more wait for an attribution, a checker says why
      fallback: {after_periods: 12, key: {pay-fund: "100"}}  # unclaimed and unattributed money (default: waits)
      dispute: {contact: royalties@example.com, days: 365}
    payees:
      - {id: pay-1, kind: person, currency: EUR, name: Mara Vell, iban: ..., bic: ..., address: {...},
         email: mara@example.com, language: en, customer: cust-17}  # who she is as a buyer (docs/fairness.md)
    artists:
      - {id: art-1, name: Mara Vell, aliases: [M. Vell]}
    contracts:
      - {id: contract-1, artist: art-1, valid_from: 2026-01-01, splits: {pay-1: "70", pay-2: "30"}}
      - {id: contract-1, artist: art-1, valid_from: 2027-01-01, ended: true}
      - {id: contract-2, artist: art-2, valid_from: 2026-06-01, opted_out: true}
      - {id: contract-3, artist: art-3, valid_from: 2026-01-01, public_domain: true}
    rate_cards:
      - {id: standard, valid_from: 2026-01-01, model: per_image, rate: "30", content_to: model_developer}
      - {id: flat, valid_from: 2026-01-01, model: per_image, fee: {EUR: "0.10"}, distribution_key: equal}
      - {id: sure, valid_from: 2026-01-01, model: per_image, rate: "30", minimum: {EUR: "0.05"},
         public_domain_to: pay-fund}
      - {id: training, valid_from: 2026-01-01, model: period_pool, rate: "5", distribution_key: proxy,
         weights: {C: 500, art-1: 120, art-2: 80}}
    tax_profiles:                         # withheld, by territory of the sale; rate is for all others
      - {payee: pay-1, valid_from: 2026-01-01, rate: "0", territories: {US: "15"}}
    reserves:                             # held back; released so many whole periods later (rate "0" ends it)
      - {payee: pay-1, valid_from: 2026-01-01, rate: "10", release: {3: "50", 6: "50"}}
    fx_rates:                             # one unit of `from` in units of `to`
      - {from: USD, to: EUR, valid_from: 2026-10-30, rate: "0.8612", source: ECB}

Splits, shares and rates are percentages, but for rates of exchange. Every part may be left out where the database knows
already what the others name. A file is loaded whole or not at all; loading it twice writes nothing the second time. A
change of an artist, a name or bank details is a new version from now on; a change of terms needs a new `valid_from`.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from schwifty import BIC, IBAN
from schwifty.exceptions import SchwiftyException
from sqlalchemy import select
from sqlalchemy.orm import Session

from attribution.catalogue import Artist, artists, record_artists
from attribution.prompt_words import fold
from database.errors import Conflict, Invalid, NotFound
from settlement.allocation import CONTENT
from settlement.bank_details import BankDetails
from settlement.contracts import Contract, record_contracts
from settlement.fx import FxRate, parse_rate, record_fx_rates
from settlement.money import PPB, check_currency, from_decimal
from settlement.own_purchases import record_customers
from settlement.payees import Payee, PayeeRecord, record_payees
from settlement.rates import (
    PlatformTerms,
    RateCard,
    RateCardVersion,
    platform_now,
    record_platform,
    record_rate_cards,
)
from settlement.reserves import ReserveTerms, record_reserve_terms
from settlement.tax import TaxProfile, record_tax_profiles


class InvalidCatalogue(Invalid):
    """The file cannot be loaded; ``problems`` are all of them, each with its place in the file."""

    def __init__(self, source: str, problems: list[str]) -> None:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{source}: {problems[0]}{more}")
        self.problems = problems


class NameTaken(InvalidCatalogue):
    """The file is sound, but a name in it is one of an artist who is recorded already."""

    code = Conflict.code
    status = Conflict.status


@dataclass(frozen=True, slots=True)
class CatalogueReport:
    """How much was written: all zeros where everything was known already."""

    payees: int
    parties: int
    artists: int
    contracts: int
    rate_cards: int
    platform: int
    tax_profiles: int = 0
    reserves: int = 0
    fx_rates: int = 0
    customers: int = 0

    @property
    def changed(self) -> bool:
        """True if anything was written."""
        return any(getattr(self, field.name) for field in fields(self))


def load_catalogue(
    session: Session, source: str | Path | Mapping[str, Any], *, actor: str, reason: str
) -> CatalogueReport:
    """Load a catalogue from a file (a `Path`), its text (a `str`) or a JSON document, whole or not at all.

    Raises:
        NotFound: no such file.
        InvalidCatalogue: anything in it is wrong, or names what neither it nor the database has.
        NameTaken: an artist's name is one of another who is recorded.
        Conflict: terms are recorded otherwise from the same day on.
    """
    name = source.name if isinstance(source, Path) else "catalogue"
    if isinstance(source, Mapping):
        document = _validated(lambda: _Document.model_validate_json(json.dumps(source)), name)
    else:
        document = _parse(_read(source) if isinstance(source, Path) else source, name)
    zone = _zone(session, document, name)
    problems = list(_problems(session, document))
    if problems:
        raise InvalidCatalogue(name, problems)
    if taken := list(_taken(session, document)):
        raise NameTaken(name, taken)
    platform = document.platform
    parties: list[_Payee] = [*document.payees, *([platform] if platform else [])]
    payees, versions = record_payees(session, [p.record() for p in parties], actor=actor, reason=reason)
    written = {
        "artists": record_artists(
            session,
            [Artist(a.id, 0, a.name, tuple(a.aliases)) for a in document.artists],
            actor=actor,
            reason=reason,
        ),
        "contracts": record_contracts(
            session,
            [contract.record(zone) for contract in document.contracts],
            actor=actor,
            reason=reason,
        ),
        "rate_cards": record_rate_cards(
            session, [card.record(zone) for card in document.rate_cards], actor=actor, reason=reason
        ),
        "platform": record_platform(session, platform.terms(), actor=actor, reason=reason) if platform else 0,
        "tax_profiles": record_tax_profiles(
            session, [profile.record(zone) for profile in document.tax_profiles], actor=actor, reason=reason
        ),
        "reserves": record_reserve_terms(
            session, [terms.record(zone) for terms in document.reserves], actor=actor, reason=reason
        ),
        "fx_rates": record_fx_rates(
            session, [rate.record(zone) for rate in document.fx_rates], actor=actor, reason=reason
        ),
    }
    customers = {payee.id: payee.customer for payee in parties if payee.customer is not None}
    written["customers"] = record_customers(session, customers, actor=actor, reason=reason)
    return CatalogueReport(payees=payees, parties=versions, **written)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone)


def _id(text: str) -> str:
    # Ids are parts of account codes, line ids and file names.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text):
        raise ValueError("is not an id: write letters, digits, '.', '_' and '-', at most 64")
    return text


def _artist_id(text: str) -> str:
    if text == "C":
        raise ValueError("'C' stands for content; give the artist another id")
    return text


def _text(text: str) -> str:
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    if not text or not text.isprintable():
        raise ValueError("is empty, or has characters that cannot be printed")
    return text


def _decimal(value: Any) -> Any:
    """What YAML makes of an unquoted number: an integer is exact, a float is not."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        raise ValueError(f"write it in quotes, so that no digit is lost: '{value}'")
    return value


def _percentage(value: Any) -> int:
    """Ppb of a percentage such as "33.3333333": whole ppb only."""
    value = _decimal(value)
    match = re.fullmatch(r"([0-9]{1,3})(?:\.([0-9]{1,7}))?\s*%?", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(
            "is not a percentage: write digits, '.' and at most 7 decimals in quotes, as \"33.5\""
        )
    ppb = int(match[1]) * (PPB // 100) + int((match[2] or "").ljust(7, "0"))
    if ppb > PPB:
        raise ValueError("is more than 100 %")
    return ppb


def _amount(value: Any) -> int:
    try:
        micros = from_decimal(_decimal(value)) if isinstance(_decimal(value), str) else -1
    except Invalid as error:
        raise ValueError(error.message) from None
    if micros < 0:
        raise ValueError('is not an amount: write it in quotes, for example "23.80"')
    return micros


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, str) and re.fullmatch("[1-9][0-9]{0,2}", value) else value


def _exchange(value: Any) -> int:
    value = _decimal(value)
    try:
        return parse_rate(value if isinstance(value, str) else repr(value))
    except Invalid as error:
        raise ValueError(error.message) from None


def _currency(code: str) -> str:
    try:
        return check_currency(code)
    except Invalid as error:
        raise ValueError(error.message) from None


# Neither message repeats the account: it may end up in a log.
def _iban(text: str) -> str:
    try:
        return str(IBAN(text))
    except SchwiftyException:
        raise ValueError("is not a valid IBAN: a digit is wrong or missing") from None


def _bic(text: str) -> str:
    try:
        return str(BIC(text))
    except SchwiftyException:
        raise ValueError("is not a valid BIC") from None


def _country(text: str) -> str:
    if not re.fullmatch(r"[A-Z]{2}", text):
        raise ValueError("is not a country: write two capital letters as in ISO 3166, for example DE")
    return text


def _unquoted(value: Any) -> Any:
    """Norway is NO, and NO without quotes is YAML's false."""
    if isinstance(value, bool):
        raise ValueError('is no text in YAML: write the territory in quotes, as "NO"')
    return value


def _known_zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ValueError("is not a time zone: write its IANA name, for example Europe/Berlin") from None
    return text


_Id = Annotated[str, AfterValidator(_id)]
_Text = Annotated[str, Field(max_length=200), AfterValidator(_text)]
_Percentage = Annotated[int, BeforeValidator(_percentage)]
_Amount = Annotated[int, BeforeValidator(_amount)]
_Currency = Annotated[str, AfterValidator(_currency)]
_Territory = Annotated[str, BeforeValidator(_unquoted), AfterValidator(_country)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Address(_Entry):
    town: _Text
    country: Annotated[str, AfterValidator(_country)]
    street: _Text | None = None
    building: _Text | None = None
    postcode: _Text | None = None


class _Payee(_Entry):
    id: _Id
    kind: Literal["person", "estate", "society", "company", "model_developer", "fund"]
    currency: _Currency
    name: _Text
    address: _Address | None = None
    email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=200)] | None = None
    iban: Annotated[str, AfterValidator(_iban)] | None = Field(default=None, repr=False)
    bic: Annotated[str, AfterValidator(_bic)] | None = None
    language: Annotated[str, Field(pattern="^[a-z]{2}$")] | None = None
    paper: Literal["a4", "letter"] | None = None
    tax_id: _Text | None = None
    customer: _Text | None = None

    def record(self) -> PayeeRecord:
        details = self.model_dump(include=_DETAILS, exclude_none=True)
        account = BankDetails(self.iban, self.bic) if self.iban else None
        return PayeeRecord(self.id, self.kind, self.currency, details, account)

    @model_validator(mode="after")
    def _bic_of_iban(self) -> Self:
        if self.bic and not self.iban:
            raise ValueError("bic: a bank without an account: write the iban as well")
        return self


_DETAILS = {"name", "address", "email", "language", "paper", "tax_id"}


class _Dispute(_Entry):
    contact: _Text
    days: Annotated[int, Field(gt=0, le=36_500)] | None = None


class _Fallback(_Entry):
    after_periods: Annotated[int, Field(gt=0, le=1_200)]
    key: Annotated[dict[_Id, _Percentage], Field(min_length=1)]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        _check_parts("key", self.key)
        return self


class _Platform(_Payee):
    kind: Literal["company"] = "company"
    valid_from: date
    zone: Annotated[str, AfterValidator(_known_zone)]
    default_rate_card: _Id
    model_developer: _Id
    minimum_payout: dict[_Currency, _Amount]
    bank_details_cooling_off_days: Annotated[int, Field(ge=0, le=365)] = 0
    dispute: _Dispute
    fallback: _Fallback | None = None
    zero_statements: bool = False
    pending_limit: _Percentage | None = None

    def terms(self) -> PlatformTerms:
        return PlatformTerms(
            valid_from=_midnight(self.valid_from, ZoneInfo(self.zone)),
            platform_payee_id=self.id,
            model_developer_id=self.model_developer,
            default_rate_card_id=self.default_rate_card,
            zone=self.zone,
            minimum_payout={currency: str(micros) for currency, micros in self.minimum_payout.items()},
            bank_details_cooling_off_days=self.bank_details_cooling_off_days,
            dispute_contact=self.dispute.contact,
            dispute_days=self.dispute.days,
            fallback_after_periods=self.fallback.after_periods if self.fallback else None,
            fallback_key=self.fallback.key if self.fallback else None,
            zero_statements=self.zero_statements,
            pending_limit_ppb=self.pending_limit,
        )


class _Artist(_Entry):
    id: Annotated[str, AfterValidator(_id), AfterValidator(_artist_id)]
    name: _Text
    aliases: list[_Text] = []


class _Contract(_Entry):
    id: _Id
    artist: _Id
    valid_from: date
    splits: Annotated[dict[_Id, _Percentage], Field(min_length=1)] | None = None
    ended: bool = False
    opted_out: bool = False
    public_domain: bool = False

    @model_validator(mode="after")
    def _splits_or_status(self) -> "_Contract":
        if (self.splits is not None) + self.ended + self.opted_out + self.public_domain != 1:
            raise ValueError(
                "write either splits or one of `ended: true`, `opted_out: true`, `public_domain: true`"
            )
        if self.splits is not None:
            _check_parts("splits", self.splits)
        return self

    def record(self, zone: ZoneInfo) -> Contract:
        status: Literal["active", "ended", "opted_out", "public_domain"] = (
            "ended"
            if self.ended
            else "opted_out"
            if self.opted_out
            else "public_domain"
            if self.public_domain
            else "active"
        )
        return Contract(self.id, self.artist, _midnight(self.valid_from, zone), self.splits or {}, status)


def _check_parts(name: str, parts: dict[str, int]) -> None:
    """Raise ValueError unless payees' percentages are above zero and sum to 100."""
    if not all(parts.values()):
        raise ValueError(f"{name}: a payee gets 0 %: leave the payee out")
    total = sum(parts.values())
    if total != PPB:
        whole, rest = divmod(total, PPB // 100)
        shown = f"{whole}.{rest:07}".rstrip("0").rstrip(".")
        raise ValueError(f"{name}: {shown} % in all, not 100")


class _RateCard(_Entry):
    id: _Id
    valid_from: date
    model: Literal["per_image", "period_pool"]
    rate: _Percentage | None = None
    fee: Annotated[dict[_Currency, _Amount], Field(min_length=1, max_length=1)] | None = None
    content_to: Literal["model_developer", "artists"] = "model_developer"
    distribution_key: Literal["attribution", "equal", "proxy"] = "attribution"
    minimum: Annotated[dict[_Currency, _Amount], Field(min_length=1, max_length=1)] | None = None
    weights: Annotated[dict[_Id, Annotated[int, Field(gt=0, le=10**12)]], Field(min_length=1)] | None = None
    public_domain_to: _Id | None = None

    @model_validator(mode="after")
    def _rate_or_fee(self) -> "_RateCard":
        if (self.rate is None) == (self.fee is None):
            raise ValueError("write either a rate or a fee")
        if self.model == "period_pool" and self.rate is None:
            raise ValueError("a period pool is a rate of the period's revenue: it has no fee")
        if self.minimum is not None and (self.model == "period_pool" or self.rate is None):
            raise ValueError("minimum: only a rate per image guarantees an amount; leave it out")
        if self.minimum is not None and not all(self.minimum.values()):
            raise ValueError("minimum: guarantees nothing; leave it out")
        if (self.distribution_key == "proxy") != (self.weights is not None):
            raise ValueError("weights: belong to `distribution_key: proxy`, and it needs them")
        if self.weights is not None and self.content_to == "artists" and not self.weights.keys() - {CONTENT}:
            raise ValueError("weights: content's part is spread over the artists, but no artist has a weight")
        return self

    def record(self, zone: ZoneInfo) -> RateCard:
        fee_currency, fee = next(iter(self.fee.items())) if self.fee else (None, None)
        minimum_currency, minimum = next(iter(self.minimum.items())) if self.minimum else (None, None)
        return RateCard(
            rate_card_id=self.id,
            valid_from=_midnight(self.valid_from, zone),
            model=self.model,
            rate_ppb=self.rate,
            fee_micros=fee,
            currency=fee_currency or minimum_currency,
            content_to=self.content_to,
            distribution_key=self.distribution_key,
            minimum_micros=minimum,
            weights=self.weights,
            public_domain_payee_id=self.public_domain_to,
        )


class _TaxProfile(_Entry):
    payee: _Id
    valid_from: date
    rate: _Percentage
    territories: dict[_Territory, _Percentage] = {}

    def record(self, zone: ZoneInfo) -> TaxProfile:
        return TaxProfile(self.payee, _midnight(self.valid_from, zone), self.rate, self.territories)


class _Reserve(_Entry):
    payee: _Id
    valid_from: date
    rate: _Percentage
    # A key of JSON is text.
    release: dict[Annotated[int, BeforeValidator(_whole), Field(gt=0, lt=1_000)], _Percentage] = {}

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.rate:
            _check_parts("release", {str(periods): part for periods, part in self.release.items()})
        elif self.release:
            raise ValueError("release: nothing is held back at a rate of 0: leave it out")
        return self

    def record(self, zone: ZoneInfo) -> ReserveTerms:
        return ReserveTerms(self.payee, _midnight(self.valid_from, zone), self.rate, self.release)


class _FxRate(_Entry):
    source_currency: _Currency = Field(alias="from")
    target_currency: _Currency = Field(alias="to")
    valid_from: date
    rate: Annotated[int, BeforeValidator(_exchange)]
    source: _Text

    @model_validator(mode="after")
    def _two(self) -> Self:
        if self.source_currency == self.target_currency:
            raise ValueError("to: is the currency that it comes from: leave the rate out")
        return self

    def record(self, zone: ZoneInfo) -> FxRate:
        valid_from = _midnight(self.valid_from, zone)
        return FxRate(self.source_currency, self.target_currency, valid_from, self.rate, self.source)


class _Document(_Entry):
    platform: _Platform | None = None
    payees: list[_Payee] = []
    artists: list[_Artist] = []
    contracts: list[_Contract] = []
    rate_cards: list[_RateCard] = []
    tax_profiles: list[_TaxProfile] = []
    reserves: list[_Reserve] = []
    fx_rates: list[_FxRate] = []


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}: give the path of a catalogue (YAML)") from None
    except UnicodeDecodeError:
        raise Invalid(f"{path} is not text in UTF-8: save it as UTF-8 and load it again") from None
    except OSError as error:
        raise Invalid(
            f"{path} cannot be read ({error.strerror}): give the path of a catalogue (YAML)"
        ) from None


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """YAML as written: a key that stands twice is a mistake, and not the last one's."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def _parse(text: str, name: str) -> _Document:
    try:
        loaded = yaml.load(text, _Loader)  # noqa: S506  (_Loader is a SafeLoader)
    except yaml.MarkedYAMLError as error:
        place = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise InvalidCatalogue(name, [f"{place}{error.problem or 'is not YAML'}"]) from None
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidCatalogue(name, [f"is not YAML: {str(error).splitlines()[0]}"]) from None
    if not isinstance(loaded, dict):
        raise InvalidCatalogue(
            name, ["is not a catalogue: it needs platform, payees, artists, contracts, rate_cards"]
        )
    return _validated(lambda: _Document.model_validate(loaded), name)


def _validated(read: Callable[[], _Document], name: str) -> _Document:
    try:
        return read()
    except ValidationError as error:
        raise InvalidCatalogue(name, [_place_and_reason(problem) for problem in error.errors()]) from None


def _place_and_reason(problem: Any) -> str:
    place = ""
    for part in problem["loc"]:
        if isinstance(part, int):
            place += f"[{part}]"
        elif part != "[key]":
            place += f".{part}" if place else str(part)
    match problem["type"]:
        case "missing":
            reason = "is missing"
        case "extra_forbidden":
            reason = "is not known here: check the spelling"
        case "value_error":
            reason = str(problem["ctx"]["error"])
        case _:
            reason = problem["msg"][0].lower() + problem["msg"][1:]
    # A rule about several fields names its field itself.
    itself = reason.startswith(("splits: ", "key: ", "minimum: ", "weights: ", "release: ", "to: "))
    return f"{place}.{reason}" if itself else f"{place}: {reason}"


def _zone(session: Session, document: _Document, name: str) -> ZoneInfo:
    if document.platform is not None:
        return ZoneInfo(document.platform.zone)
    known = platform_now(session)
    if known is None:
        raise InvalidCatalogue(name, ["platform: is missing: the first catalogue must name the platform"])
    return ZoneInfo(known.zone)


def _problems(session: Session, document: _Document) -> Iterator[str]:
    """What is wrong between the parts of the file, and between the file and the database."""
    yield from _repeated("payees", [payee.id for payee in document.payees])
    yield from _repeated("artists", [artist.id for artist in document.artists])
    yield from _repeated("contracts", [(c.artist, str(c.valid_from)) for c in document.contracts])
    yield from _repeated("rate_cards", [(c.id, str(c.valid_from)) for c in document.rate_cards])

    yield from _repeated("tax_profiles", [(t.payee, str(t.valid_from)) for t in document.tax_profiles])
    yield from _repeated("reserves", [(r.payee, str(r.valid_from)) for r in document.reserves])
    yield from _repeated(
        "fx_rates",
        [(f"{r.source_currency} to {r.target_currency}", str(r.valid_from)) for r in document.fx_rates],
    )

    platform = document.platform
    payees = {payee.id for payee in document.payees} | set(session.scalars(select(Payee.payee_id)))
    if platform is not None:
        if platform.id in {payee.id for payee in document.payees}:
            yield f"platform.id: payee {platform.id} has this id already"
        if platform.model_developer not in payees:
            yield f"platform.model_developer: there is no payee {platform.model_developer}: add it under payees"
        cards = {card.id for card in document.rate_cards}
        cards |= set(session.scalars(select(RateCardVersion.rate_card_id).distinct()))
        if platform.default_rate_card not in cards:
            yield (
                f"platform.default_rate_card: there is no rate card {platform.default_rate_card}: "
                "add it under rate_cards"
            )
        for payee in platform.fallback.key if platform.fallback else ():
            if payee not in payees:
                yield f"platform.fallback.key: there is no payee {payee}: add it under payees"
    by_payee: tuple[tuple[str, list[_TaxProfile] | list[_Reserve]], ...] = (
        ("tax_profiles", document.tax_profiles),
        ("reserves", document.reserves),
    )
    for part, entries in by_payee:
        for number, payee in enumerate(entry.payee for entry in entries):
            if payee not in payees:
                yield f"{part}[{number}].payee: there is no payee {payee}: add it under payees"
    known = {artist.id: artist for artist in artists(session)}
    given = {artist.id for artist in document.artists}
    for number, contract in enumerate(document.contracts):
        if contract.artist not in given | known.keys():
            yield f"contracts[{number}].artist: there is no artist {contract.artist}: add her under artists"
        for payee in contract.splits or {}:
            if payee not in payees:
                yield f"contracts[{number}].splits: there is no payee {payee}: add it under payees"

    for number, card in enumerate(document.rate_cards):
        if card.public_domain_to is not None and card.public_domain_to not in payees:
            yield (
                f"rate_cards[{number}].public_domain_to: there is no payee {card.public_domain_to}: add it under payees"
            )
        for player in card.weights or {}:
            if player not in given | known.keys() | {CONTENT}:
                yield f"rate_cards[{number}].weights: there is no artist {player}: add her under artists"

    owners: dict[str, str] = {}
    for place, alias, artist_id in _names(document):
        folded = fold(alias)
        if not folded:
            yield f"{place}: {alias!r} has no letter to recognise it by"
        elif owners.setdefault(folded, artist_id) != artist_id:
            yield f"{place}: {alias!r} is a name of artist {owners[folded]} already"


def _taken(session: Session, document: _Document) -> Iterator[str]:
    """Names of artists who are recorded and not in the file: a prompt could not say whom it means."""
    given = {artist.id for artist in document.artists}
    owners = {
        fold(name): artist.id
        for artist in artists(session)
        if artist.id not in given
        for name in (artist.name, *artist.aliases)
    }
    for place, alias, _ in _names(document):
        if fold(alias) in owners:
            yield f"{place}: {alias!r} is a name of artist {owners[fold(alias)]} already"


def _names(document: _Document) -> Iterator[tuple[str, str, str]]:
    """Every name and alias in the file: where it stands, what it is, and whose."""
    for number, artist in enumerate(document.artists):
        yield f"artists[{number}].name", artist.name, artist.id
        for index, alias in enumerate(artist.aliases):
            yield f"artists[{number}].aliases[{index}]", alias, artist.id


def _repeated(part: str, keys: list[Any]) -> Iterator[str]:
    for key, count in Counter(keys).items():
        if count > 1:
            shown = key if isinstance(key, str) else f"{key[0]} from {key[1]} on"
            yield f"{part}: {shown} stands {count} times"
