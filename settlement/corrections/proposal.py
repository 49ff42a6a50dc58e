"""Proposing corrections: which closed sales, by which attribution and terms, and what that would change for whom.

A proposal runs the very stages of a period's calculation (`settlement.periods.lines.TO_ADJUSTMENTS`) on sales that were
paid, in temporary tables, and keeps what it found: the sales with their new attribution, card and slice, and the
preview. Sales whose division would stay as it is are left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from attribution.results import MethodVersionRow
from database.engine import psycopg_connection
from database.errors import Conflict, Invalid, NotFound
from settlement.allocation import CONTENT
from settlement.contracts import ContractVersion
from settlement.corrections.decisions import Standing, corrections, find_correction
from settlement.corrections.models import Correction
from settlement.corrections.preview import Mover, Preview, content_sha256, read_preview
from settlement.money import PPB, check_currency, check_micros, to_decimal
from settlement.payees import Payee
from settlement.periods.adjustments import LIVE, TABLES
from settlement.periods.calculation import clear_tables, digest, run_stages
from settlement.periods.calendar import database_now
from settlement.periods.lines import SALES, SLICES, TO_ADJUSTMENTS, sales_with_terms
from settlement.rates import RateCardVersion, platform_now


@dataclass(frozen=True, slots=True)
class Selection:
    """Which closed sales a correction is about: those that fit every list that is not empty."""

    periods: Sequence[str] = ()
    """Accounting periods in which they were paid."""
    sales: Sequence[str] = ()
    images: Sequence[str] = ()
    artists: Sequence[str] = ()
    """Players of a line that still holds money."""

    def document(self) -> dict[str, list[str]]:
        """As JSON, without what is empty."""
        lists = {
            "periods": self.periods,
            "sales": self.sales,
            "images": self.images,
            "artists": self.artists,
        }
        return {name: sorted(set(names)) for name, names in lists.items() if names}


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is proposed, before it is computed."""

    correction_id: str
    kind: str
    document: Mapping[str, Any]
    actor: str
    reason: str
    columns: Mapping[str, Any] = field(default_factory=dict)


def propose_reattribution(
    session: Session,
    correction_id: str,
    method: str,
    *,
    actor: str,
    reason: str,
    selection: Selection | None = None,
    from_method: str | None = None,
) -> Standing:
    """Propose that closed sales are divided by another method version's results, as far as they are there.

    Args:
        session: role `settlement`.
        correction_id: its own id.
        method: name or SHA-256 (eight digits or more) of the method version.
        actor: the maker; another person approves.
        reason: why; it stands on statements, and names nobody.
        selection: which sales; None: all.
        from_method: only sales that are paid by this method version now.

    Raises:
        NotFound: no such method version, sale, image or period.
        Invalid: the id has another form.
        Conflict: nothing would change, the id stands for something else, or a sale is in another correction that is
            not applied yet.
    """
    version = _method(session, method)
    source = None if from_method is None else _method(session, from_method)
    selection = selection or Selection()
    document: dict[str, Any] = {
        "kind": "reattribution",
        "method": _method_text(version),
        **selection.document(),
    }
    if source is not None:
        document["from_method"] = _method_text(source)
    asked = _Asked(correction_id, "reattribution", document, actor, reason, {"method_id": version.id})
    known = _known(session, asked)
    if known is not None:
        return known
    _begin(session, asked)
    conditions = _selected(session, selection)
    if source is not None:
        conditions.append(
            "EXISTS (SELECT FROM settlement.royalty_line AS l JOIN attribution.attribution AS o"
            f" ON o.id = l.attribution_id WHERE l.sale_id = s.id AND o.method_id = %(source)s AND {LIVE})"
        )
    psycopg_connection(session).execute(
        _REATTRIBUTED.format(conditions="".join(f" AND {one}" for one in conditions)),
        {
            "correction": correction_id,
            "method": version.id,
            "source": None if source is None else source.id,
            **selection.document(),
        },
    )
    return _record(session, asked)


def propose_terms(
    session: Session,
    correction_id: str,
    *,
    actor: str,
    reason: str,
    selection: Selection,
    rate_card: str | None = None,
    contracts: Sequence[str] = (),
) -> Standing:
    """Propose that closed sales are paid by the terms as they stand now, or by versions that are named.

    Args:
        session: role `settlement`.
        correction_id: its own id.
        actor: the maker; another person approves.
        reason: why; it stands on statements, and names nobody.
        selection: which sales; at least one list must be given.
        rate_card: the card's version that they should have been paid by, `standard-1@2026-01-01`; None: the one they
            were paid by.
        contracts: versions, `contract-1@2026-01-01`, that hold for their artists whatever the date of the sale.

    Raises:
        NotFound: no such version, sale, image or period.
        Invalid: nothing is selected, or a card pays in another currency than a sale.
        Conflict: nothing would change, the id stands for something else, or a sale is in another correction that is
            not applied yet.
    """
    if not selection.document():
        raise Invalid("say which sales: by period, sale, image or artist")
    card = (
        None
        if rate_card is None
        else _version(session, RateCardVersion, RateCardVersion.rate_card_id, rate_card)
    )
    named = [_version(session, ContractVersion, ContractVersion.contract_id, one) for one in contracts]
    if len({version.artist_id for version in named}) < len(named):
        raise Invalid("two of the contract versions are of the same artist: name one for each")
    document = {"kind": "terms", "contracts": sorted(contracts), **selection.document()}
    if rate_card is not None:
        document["rate_card"] = rate_card
    asked = _Asked(
        correction_id,
        "terms",
        document,
        actor,
        reason,
        {"rate_card_version_id": None if card is None else card.id},
    )
    known = _known(session, asked)
    if known is not None:
        return known
    _begin(session, asked)
    connection = psycopg_connection(session)
    connection.execute(
        _ON_TERMS.format(conditions="".join(f" AND {one}" for one in _selected(session, selection))),
        {
            "correction": correction_id,
            "rate_card": None if card is None else card.id,
            **selection.document(),
        },
    )
    for version in named:
        connection.execute(
            "INSERT INTO pg_temp.run_correction_contract (correction_id, artist_id, contract_version_id)"
            " VALUES (%s, %s, %s)",
            [correction_id, version.artist_id, version.id],
        )
    if card is not None:
        _slice(session, rate_card or "")
    return _record(session, asked)


def propose_manual(
    session: Session,
    correction_id: str,
    payee_id: str,
    currency: str,
    amount_micros: int,
    *,
    actor: str,
    reason: str,
    territory: str | None = None,
) -> Standing:
    """Propose an amount by hand, for what no formula covers.

    Args:
        session: role `settlement`.
        correction_id: its own id.
        payee_id: whom it is for or from.
        currency: ISO 4217; another than her payout currency is converted with the period's rate.
        amount_micros: above zero to her, below zero from her.
        actor: the maker; another person approves.
        reason: why; it stands on her statement.
        territory: where it is taxed (ISO 3166-1 alpha-2); None: nowhere.

    Raises:
        NotFound: no such payee.
        Invalid: the amount is zero, or a code has another form.
        Conflict: the id stands for something else.
    """
    if session.get(Payee, payee_id) is None:
        raise NotFound(f"no payee {payee_id}; look it up in the catalogue file")
    check_currency(currency)
    if not amount_micros:
        raise Invalid(f"correction {correction_id} is of 0: give an amount")
    check_micros(amount_micros)
    if territory is not None and not (len(territory) == 2 and territory.isascii() and territory.isupper()):
        raise Invalid(f"territory {territory!r} is no country: two capitals, for example DE")
    document = {
        "kind": "manual",
        "payee": payee_id,
        "currency": currency,
        "amount": to_decimal(amount_micros),
        "territory": territory,
    }
    asked = _Asked(
        correction_id,
        "manual",
        document,
        actor,
        reason,
        {
            "payee_id": payee_id,
            "currency": currency,
            "territory": territory,
            "amount_micros": amount_micros,
        },
    )
    known = _known(session, asked)
    if known is not None:
        return known
    _check(asked)
    mover = Mover("payee", payee_id, currency, 0, amount_micros, 0)
    return _add(session, asked, Preview(correction_id, document, reason, 0, 0, "", (mover,)))


def _known(session: Session, asked: _Asked) -> Standing | None:
    """The correction, if it was proposed already; refuses another one under its id."""
    for standing in corrections(session, correction_id=asked.correction_id):
        before = read_preview(standing.correction.content)
        if (before.asked, before.reason) != (dict(asked.document), asked.reason):
            raise Conflict(
                f"correction {asked.correction_id} is proposed otherwise; give the other one an id of its own"
            )
        return standing
    return None


def _check(asked: _Asked) -> None:
    name = asked.correction_id
    if not (name[:1].isalnum() and name.isascii() and len(name) <= 64 and set(name) <= _ID):
        raise Invalid(
            f"{name!r} is no id: letters, digits, '.', '_' and '-', a letter or digit first, 64 at most"
        )
    if not asked.reason.strip():
        raise Invalid(f"say why correction {name} is made")


_ID = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


def _begin(session: Session, asked: _Asked) -> None:
    """Empty tables for a run of one correction, which is not written yet."""
    _check(asked)
    clear_tables(session)
    connection = psycopg_connection(session)
    for statement in TABLES:
        connection.execute(statement)
    connection.execute(
        "INSERT INTO pg_temp.run_correction (correction_id, kind, reason) VALUES (%s, %s, %s)",
        [asked.correction_id, asked.kind, asked.reason],
    )


def _selected(session: Session, selection: Selection) -> list[str]:
    """Conditions on a slice `c` and its sale `s`, of names that exist."""
    document = selection.document()
    conditions = []
    for name, (condition, known) in _SELECTIONS.items():
        if name not in document:
            continue
        conditions.append(condition)
        missing = set(document[name]) - set(session.scalars(text(known), {"names": document[name]}))
        if missing:
            raise NotFound(f"there is no {_NOUNS[name]} {min(missing)}")
    return conditions


def _slice(session: Session, card: str) -> None:
    """What the sales pay by the card that is named, where it is another than they were paid by."""
    connection = psycopg_connection(session)
    connection.execute(
        sales_with_terms(
            "JOIN pg_temp.run_correction_sale AS x ON x.sale_id = s.id"
            " JOIN settlement.rate_card_version AS k ON k.id = x.rate_card_version_id",
            _OTHER_CARD,
        ),
        {"zone": "UTC"},
    )
    other = connection.execute(
        "SELECT min(sale), min(currency), min(fee_currency) FROM pg_temp.run_sale WHERE fee_currency <> currency"
    ).fetchone()
    if other is not None and other[0] is not None:
        raise Invalid(f"rate card {card} pays in {other[2]}, sale {other[0]} is in {other[1]}")
    connection.execute(SLICES, {"ppb": PPB})
    connection.execute(
        "UPDATE pg_temp.run_correction_sale AS x SET slice = r.slice FROM pg_temp.run_sale AS r"
        " WHERE r.sale_id = x.sale_id"
    )
    connection.execute("DROP TABLE pg_temp.run_sale")


def _record(session: Session, asked: _Asked) -> Standing:
    """Divide the sales that were found, keep those that change, and write the correction with its preview."""
    connection = psycopg_connection(session)
    without = connection.execute(_WITHOUT_RESULT).rowcount
    taken = connection.execute(_TAKEN_ALREADY).fetchone()
    if taken is not None:
        raise Conflict(
            f"sale {taken[0]} is in correction {taken[1]}, which is not applied yet: wait for the next close, or"
            f" withdraw it (`royalty correction withdraw {taken[1]}`)"
        )
    now = database_now(session)
    parameters = {
        # No sale, refund or attribution of its own: what is closed is divided, as it stands.
        "cut_off": datetime.min.replace(tzinfo=UTC),
        "ends_at": now,
        "last_instant": now,
        "zone": "UTC",
        "content": CONTENT,
        "ppb": PPB,
    }
    run_stages(session, [SALES, *TO_ADJUSTMENTS], parameters)
    connection.execute(_UNCHANGED)
    connection.execute(_NO_LINES)
    sales = connection.execute("SELECT count(*) FROM pg_temp.run_correction_sale").fetchone()
    assert sales is not None
    if not sales[0]:
        raise Conflict(
            f"correction {asked.correction_id} would change nothing"
            + (
                f": {without} sales have no result by that method yet (`royalty attribution status`)"
                if without
                else ""
            )
        )
    movers = tuple(
        Mover(str(row[0]), str(row[1]), str(row[2]), *(int(str(figure)) for figure in row[3:]))
        for row in connection.execute(_MOVERS).fetchall()
    )
    divided = digest(session, _DIVIDED).hex()
    preview = Preview(
        asked.correction_id,
        asked.document,
        asked.reason,
        int(str(sales[0])),
        without,
        divided,
        movers,
    )
    connection.execute(_KEEP_SALES)
    connection.execute(_KEEP_CONTRACTS)
    return _add(session, asked, preview)


def _add(session: Session, asked: _Asked, preview: Preview) -> Standing:
    content = preview.content()
    session.add(
        Correction(
            correction_id=asked.correction_id,
            kind=asked.kind,
            reason=asked.reason,
            content=content,
            content_sha256=content_sha256(content),
            actor=asked.actor,
            **asked.columns,
        )
    )
    session.flush()
    return find_correction(session, asked.correction_id)


def _method(session: Session, name: str) -> MethodVersionRow:
    """A method version by its name, or by the beginning of its SHA-256."""
    prefix = name.lower() if len(name) >= 8 and set(name.lower()) <= set("0123456789abcdef") else None
    known = session.scalars(select(MethodVersionRow).order_by(MethodVersionRow.id)).all()
    found = [
        row
        for row in known
        if row.name == name or (prefix is not None and row.sha256.hex().startswith(prefix))
    ]
    if not found:
        names = ", ".join(dict.fromkeys(row.name for row in known)) or "none"
        raise NotFound(
            f"there is no method version {name}; recorded are {names} (`royalty attribution register` adds one)"
        )
    if len(found) > 1:
        choices = ", ".join(row.sha256.hex()[:12] for row in found)
        raise Invalid(f"{name} stands for {len(found)} method versions: name one by its SHA-256 ({choices})")
    return found[0]


def _method_text(version: MethodVersionRow) -> str:
    return f"{version.name} {version.sha256.hex()}"


def _version(session: Session, model: Any, named: Any, reference: str) -> Any:
    """A version of terms as statements name it, `<id>@<day from which it is valid>` in the platform's zone."""
    name, _, day = reference.rpartition("@")
    platform = platform_now(session)
    zone = "UTC" if platform is None else platform.zone
    found: Any = session.scalar(
        select(model).where(
            named == name,
            text("CAST(valid_from AT TIME ZONE :zone AS date) :: text = :day").bindparams(zone=zone, day=day),
        )
    )
    if found is None:
        raise NotFound(
            f"there is no version {reference}: write <id>@<first day>; `royalty catalogue terms` lists them"
        )
    return found


# What a sale's slice and card are since its last correction.
_CURRENT = """LEFT JOIN LATERAL (
    SELECT e.rate_card_version_id, e.slice_micros FROM settlement.correction_sale AS e
    JOIN settlement.correction_application AS y ON y.correction_id = e.correction_id
    JOIN settlement.period AS q ON q.period_id = y.period_id
    WHERE e.sale_id = c.sale_id ORDER BY q.ends_at DESC LIMIT 1
) AS e ON true"""

_OTHER_CARD = f"""
k.id <> (SELECT coalesce(e.rate_card_version_id, c.rate_card_version_id) FROM settlement.sale_slice AS c {_CURRENT}
         WHERE c.sale_id = s.id)"""  # noqa: S608  (made of constants)

# Where the card's key asks who is in the picture. What is pending is divided by the attribution that comes.
_REATTRIBUTED = f"""
INSERT INTO pg_temp.run_correction_sale (correction_id, sale_id, attribution_id, rate_card_version_id, slice_before,
                                         slice)
SELECT %(correction)s, c.sale_id, a.id, k.id, m.slice, m.slice
FROM settlement.sale_slice AS c
JOIN settlement.sale AS s ON s.id = c.sale_id
{_CURRENT}
JOIN settlement.rate_card_version AS k ON k.id = coalesce(e.rate_card_version_id, c.rate_card_version_id)
LEFT JOIN attribution.attribution AS a ON a.image_id = s.image_id AND a.method_id = %(method)s
CROSS JOIN LATERAL (SELECT coalesce(e.slice_micros, c.slice_micros) AS slice) AS m
WHERE k.distribution_key IN ('attribution', 'equal') AND EXISTS (
    SELECT FROM settlement.royalty_line AS l
    WHERE l.sale_id = s.id AND l.kind <> 'pending' AND l.attribution_id IS DISTINCT FROM a.id AND {LIVE}
){{conditions}}
"""  # noqa: S608  (made of constants)

# By the attribution that the sale is divided by now; where none was needed, by the first of its image.
_ON_TERMS = f"""
INSERT INTO pg_temp.run_correction_sale (correction_id, sale_id, attribution_id, rate_card_version_id, slice_before,
                                         slice)
SELECT %(correction)s, c.sale_id, CASE WHEN k.distribution_key <> 'proxy' THEN coalesce(h.attribution_id, f.id) END,
       k.id, m.slice, m.slice
FROM settlement.sale_slice AS c
JOIN settlement.sale AS s ON s.id = c.sale_id
{_CURRENT}
JOIN settlement.rate_card_version AS k
    ON k.id = coalesce(%(rate_card)s, e.rate_card_version_id, c.rate_card_version_id)
LEFT JOIN LATERAL (
    SELECT max(l.attribution_id) AS attribution_id, bool_or(l.kind = 'pending') AS pending
    FROM settlement.royalty_line AS l WHERE l.sale_id = s.id AND {LIVE}
) AS h ON true
LEFT JOIN LATERAL (
    SELECT a.id FROM attribution.attribution AS a WHERE a.image_id = s.image_id ORDER BY a.recorded_at, a.id LIMIT 1
) AS f ON true
CROSS JOIN LATERAL (SELECT coalesce(e.slice_micros, c.slice_micros) AS slice) AS m
WHERE h.pending IS NOT TRUE{{conditions}}
"""  # noqa: S608  (made of constants)

_SELECTIONS = {
    "periods": (
        "c.period_id = ANY(%(periods)s)",
        "SELECT period_id FROM settlement.period WHERE state = 'closed' AND period_id = ANY(:names)",
    ),
    "sales": (
        "s.external_id = ANY(%(sales)s)",
        "SELECT s.external_id FROM settlement.sale AS s JOIN settlement.sale_slice AS c ON c.sale_id = s.id"
        " WHERE s.external_id = ANY(:names)",
    ),
    "images": (
        "s.image_id IN (SELECT i.id FROM attribution.image AS i WHERE i.external_id = ANY(%(images)s))",
        "SELECT external_id FROM attribution.image WHERE external_id = ANY(:names)",
    ),
    "artists": (
        "EXISTS (SELECT FROM settlement.royalty_line AS l"
        f" WHERE l.sale_id = s.id AND l.player = ANY(%(artists)s) AND {LIVE})",
        "SELECT artist_id FROM attribution.artist WHERE artist_id = ANY(:names)",
    ),
}
_NOUNS = {
    "periods": "closed period",
    "sales": "sale in a closed period",
    "images": "image",
    "artists": "artist",
}

_WITHOUT_RESULT = """
DELETE FROM pg_temp.run_correction_sale AS x USING settlement.rate_card_version AS k
WHERE k.id = x.rate_card_version_id AND k.distribution_key <> 'proxy' AND x.attribution_id IS NULL
"""
_TAKEN_ALREADY = """
SELECT s.external_id, o.correction_id
FROM pg_temp.run_correction_sale AS x
JOIN settlement.correction_sale AS o ON o.sale_id = x.sale_id
JOIN settlement.sale AS s ON s.id = x.sale_id
WHERE NOT EXISTS (SELECT FROM settlement.correction_withdrawal AS w WHERE w.correction_id = o.correction_id)
    AND NOT EXISTS (SELECT FROM settlement.correction_application AS y WHERE y.correction_id = o.correction_id)
ORDER BY s.external_id COLLATE "C" LIMIT 1
"""
# Whoever has the share and split that she had keeps what she has, though what a refund left might be divided otherwise
# by a micro.
_UNCHANGED = """
DELETE FROM pg_temp.run_correction_sale WHERE sale_id NOT IN (
    SELECT sale_id FROM pg_temp.run_line GROUP BY sale_id, player, destination, payee_id HAVING sum(amount) <> 0
) OR slice = slice_before AND sale_id NOT IN (
    SELECT sale_id FROM pg_temp.run_line GROUP BY sale_id, player, destination, payee_id, share_ppb, split_ppb
    HAVING count(*) FILTER (WHERE amount < 0) <> count(*) FILTER (WHERE amount > 0))
"""
_NO_LINES = """
DELETE FROM pg_temp.run_line WHERE sale_id NOT IN (SELECT sale_id FROM pg_temp.run_correction_sale)
"""
_MOVERS = """
SELECT destination, holder, currency, coalesce(-sum(amount) FILTER (WHERE amount < 0), 0),
       coalesce(sum(amount) FILTER (WHERE amount > 0), 0), count(DISTINCT sale_id)
FROM (SELECT *, coalesce(payee_id, CASE destination WHEN 'unclaimed' THEN player END, '') COLLATE "C" AS holder
      FROM pg_temp.run_line) AS moved
GROUP BY destination, holder, currency ORDER BY destination, holder, currency
"""
_DIVIDED = {
    "sales": """
        SELECT s.external_id, encode(m.sha256, 'hex'), k.rate_card_id, k.valid_from, x.slice_before, x.slice
        FROM pg_temp.run_correction_sale AS x
        JOIN settlement.sale AS s ON s.id = x.sale_id
        JOIN settlement.rate_card_version AS k ON k.id = x.rate_card_version_id
        LEFT JOIN attribution.attribution AS a ON a.id = x.attribution_id
        LEFT JOIN attribution.method_version AS m ON m.id = a.method_id
        ORDER BY s.external_id COLLATE "C" """,
    "lines": """
        SELECT sale, player, destination, payee_id, share_ppb, split_ppb, amount FROM pg_temp.run_line
        ORDER BY sale COLLATE "C", amount < 0 DESC, player COLLATE "C" NULLS FIRST, payee_id COLLATE "C" NULLS FIRST""",
}
_KEEP_SALES = """
INSERT INTO settlement.correction_sale (correction_id, sale_id, attribution_id, rate_card_version_id,
                                        slice_before_micros, slice_micros)
SELECT correction_id, sale_id, attribution_id, rate_card_version_id, slice_before, slice
FROM pg_temp.run_correction_sale ORDER BY sale_id
"""
_KEEP_CONTRACTS = """
INSERT INTO settlement.correction_contract (correction_id, artist_id, contract_version_id)
SELECT correction_id, artist_id, contract_version_id FROM pg_temp.run_correction_contract ORDER BY artist_id
"""
