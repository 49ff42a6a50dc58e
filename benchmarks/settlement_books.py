"""Books of any size for a benchmark of settlement: a month of sold, attributed images, ready to be cut off.

Rows go in by set-based SQL, a chunk a transaction, through every constraint and trigger that the services' rows pass.
The games are real ones: two artists and content, values of all eight coalitions, shares that follow from them, so that
`royalty verify` computes everything again and finds it so. Everything follows from a row's number: the same size gives
the same books.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import text

from database.engine import session
from database.roles import Role
from settlement.catalogue_file import load_catalogue
from settlement.party import party_digest
from settlement.sale_journals import post_sales

PERIOD = "2026-10"
AT = datetime(2026, 11, 3, 12, tzinfo=UTC)
"""When the month is over, for the calendar."""

_CHUNK = 50_000
_CATALOGUE = """
platform:
  id: platform
  name: Lumen Pictures GmbH
  address: {street: Torstrasse, building: "1", postcode: "10119", town: Berlin, country: DE}
  currency: EUR
  valid_from: 2026-01-01
  zone: Europe/Berlin
  default_rate_card: standard
  model_developer: pay-developer
  minimum_payout: {EUR: "1.00"}
  dispute: {contact: royalties@example.com, days: 365}
payees:
  - {id: pay-developer, kind: model_developer, currency: EUR, name: Model Makers}
rate_cards:
  - {id: standard, valid_from: 2026-01-01, model: per_image, rate: "30"}
  - {id: pool, valid_from: 2026-01-01, model: period_pool, rate: "25"}
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How much: one sale of every image, two artists in each, one payee for each artist."""

    images: int
    payees: int


def fill(size: Size) -> None:
    """Fill a database that is migrated and empty."""
    with session(Role.SETTLEMENT) as opened:
        load_catalogue(opened, _CATALOGUE, actor="benchmark", reason="benchmark")
    _add_payees(size.payees)
    for first in range(1, size.images + 1, _CHUNK):
        parameters = {
            "first": first,
            "last": min(first + _CHUNK - 1, size.images),
            "payees": size.payees,
            "scheduler": json.dumps(_SCHEDULER),
            "environment": json.dumps(_ENVIRONMENT),
        }
        with session(Role.ADMIN) as opened:
            for statement in _IMAGES:
                opened.execute(text(statement), parameters)
        with session(Role.SETTLEMENT) as opened:
            post_sales(opened, list(opened.scalars(text(_SALES), parameters)))
    with session(Role.ADMIN) as opened:
        opened.connection().exec_driver_sql("ANALYZE")


def _add_payees(payees: int) -> None:
    """Payees with their personal data; an artist of each, with a contract."""
    people = [(f"pay-{n:06}", f"salt-{n}".encode(), _details(n)) for n in range(1, payees + 1)]
    with session(Role.ADMIN) as opened:
        opened.execute(
            text(
                "INSERT INTO settlement.payee (payee_id, kind, currency, actor)"
                " SELECT payee, 'person', 'EUR', 'benchmark' FROM unnest(CAST(:payees AS text[])) AS payee"
            ),
            {"payees": [payee for payee, _, _ in people]},
        )
        opened.execute(
            text(
                "INSERT INTO party.party_version (payee_id, version, salt, details, digest, actor, reason)"
                " SELECT payee, 1, salt, details, decode(digest, 'hex'), 'benchmark', 'benchmark'"
                " FROM unnest(CAST(:payees AS text[]), CAST(:salts AS bytea[]), CAST(:details AS jsonb[]),"
                " CAST(:digests AS text[])) AS p (payee, salt, details, digest)"
            ),
            {
                "payees": [payee for payee, _, _ in people],
                "salts": [salt for _, salt, _ in people],
                "details": [json.dumps(details) for _, _, details in people],
                "digests": [party_digest(salt, details) for _, salt, details in people],
            },
        )
        for statement in _ARTISTS:
            opened.execute(text(statement), {"payees": payees})


def _details(number: int) -> dict[str, object]:
    address = {
        "street": "Große Brinkgasse",
        "building": str(number % 300),
        "postcode": "50672",
        "town": "Köln",
        "country": "DE",
    }
    return {"name": f"Zoë Ångström {number}", "address": address, "email": f"payee-{number}@example.com"}


_SCHEDULER = {
    "beta_end": 0.012,
    "beta_start": 0.00085,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
_ENVIRONMENT = {
    "device": "cpu",
    "dtype": "float32",
    "threads": 2,
    "torch": "2.13.0",
    "diffusers": "0.36.0",
    "transformers": "4.57.1",
    "embedding_sha256": "4f" * 32,
    "catalogue": 17,
}

_ARTISTS = (
    "INSERT INTO attribution.artist_version (artist_id, version, name, aliases, actor, reason)"
    " SELECT 'artist-' || lpad(n::text, 6, '0'), 1, 'Zoë Ångström ' || n, '{}', 'benchmark', 'benchmark'"
    " FROM generate_series(1, :payees) AS n",
    "INSERT INTO settlement.contract_version (contract_id, artist_id, valid_from, status, actor, reason)"
    " SELECT 'contract-' || lpad(n::text, 6, '0'), 'artist-' || lpad(n::text, 6, '0'), '2026-01-01', 'active',"
    " 'benchmark', 'benchmark' FROM generate_series(1, :payees) AS n",
    "INSERT INTO settlement.contract_split (contract_version_id, payee_id, share_ppb)"
    " SELECT id, replace(artist_id, 'artist', 'pay'), 1000000000 FROM settlement.contract_version",
    "INSERT INTO attribution.method_version (sha256, name, document)"
    " SELECT sha256('method'), 'benchmark-1', '{\"baseline\": \"excluded\"}'",
    "INSERT INTO attribution.placebo (method_id, weights_sha256, players, slot, mean, mean_standard_error, threshold,"
    " threshold_standard_error, names, evidence)"
    " SELECT id, sha256('weights'), 3, slot, 10000000, 1000000, 5000000, 1000000, 100, '{}'"
    " FROM attribution.method_version, generate_series(1, 2) AS slot",
)

# v(S) = what content adds + what each artist adds; all three together 0.5. So phi is what each adds, times 3!, and a
# share, of phi less the placebos' 0.01, comes out whole.
_GAMES = """
    SELECT a.id, i.n, o.first, o.second, 500000000 - w.one - w.two AS content, w.one, w.two
    FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS i (n)
    JOIN attribution.image AS m ON m.external_id = 'img-' || lpad(i.n::text, 8, '0')
    JOIN attribution.attribution AS a ON a.image_id = m.id
    CROSS JOIN LATERAL (SELECT 1 + i.n % :payees AS first,
                               1 + (i.n % :payees + 1 + i.n / :payees * 7919 % (:payees - 1)) % :payees AS second) AS o
    CROSS JOIN LATERAL (
        SELECT 100000000 + i.n * 7919 % 100000000 AS one, 50000000 + i.n * 104729 % 100000000 AS two) AS w
"""
_IMAGES = (
    """
    INSERT INTO attribution.image (external_id, content_sha256, prompt_sha256, seed, width, height, steps, guidance,
                                   scheduler, scheduler_config, model, weights_sha256, customer, generated_at)
    SELECT 'img-' || lpad(n::text, 8, '0'), sha256(int8send(n)), sha256(int8send(-n)), n, 512, 512, 30, 7.5,
           'PNDMScheduler', CAST(:scheduler AS jsonb), 'stable-diffusion-v1-5', sha256('weights'),
           'customer-' || n % 5000,
           '2026-10-01 00:00+02'::timestamptz + n % 2600000 * interval '1 second'
    FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n
    """,
    """
    INSERT INTO attribution.attribution (image_id, method_id, status, players, denominator, fidelity, reading,
                                         environment)
    SELECT i.id, m.id, 'attributed', 3, 6, 998000000,
           jsonb_build_object('players', jsonb_build_array(
               'artist-' || lpad((1 + n % :payees)::text, 6, '0'),
               'artist-'
               || lpad((1 + (n % :payees + 1 + n / :payees * 7919 % (:payees - 1)) % :payees)::text, 6, '0'))),
           CAST(:environment AS jsonb)
    FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n
    JOIN attribution.image AS i ON i.external_id = 'img-' || lpad(n::text, 8, '0')
    CROSS JOIN attribution.method_version AS m
    """,
    f"""
    INSERT INTO attribution.coalition_value (attribution_id, coalition, value, picture_sha256, prompt_sha256)
    SELECT g.id, s, (s & 1) * g.content + (s >> 1 & 1) * g.one + (s >> 2 & 1) * g.two, sha256(int8send(g.n * 8 + s)),
           sha256(int8send(-g.n * 8 - s))
    FROM ({_GAMES}) AS g CROSS JOIN generate_series(0, 7) AS s
    """,  # noqa: S608  (made of constants)
    f"""
    INSERT INTO attribution.attribution_share (attribution_id, slot, player, phi_numerator, placebo_mean,
                                               adjusted_numerator, placebo_threshold, paid_numerator, share_ppb)
    SELECT g.id, p.slot, p.player, 6 * p.adds, p.mean, 6 * p.adjusted, CASE WHEN p.slot > 0 THEN 5000000 END,
           6 * p.adjusted, 2 * p.adjusted
    FROM ({_GAMES}) AS g CROSS JOIN LATERAL (VALUES
        (0, 'C', g.content, NULL, g.content + 20000000),
        (1, 'artist-' || lpad(g.first::text, 6, '0'), g.one, 10000000, g.one - 10000000),
        (2, 'artist-' || lpad(g.second::text, 6, '0'), g.two, 10000000, g.two - 10000000)
    ) AS p (slot, player, adds, mean, adjusted)
    """,  # noqa: S608  (made of constants)
)
# With the digest that the service would have made of the same record. Every tenth sale is in the pool.
_SALES = """
    INSERT INTO settlement.sale (external_id, content_sha256, image_id, sold_at, territory, currency, price_micros,
                                 tax_micros, payment_fee_micros, rate_card_id, actor)
    SELECT 'sale-' || lpad(n::text, 8, '0'),
           sha256(convert_to(
               '{"currency":"EUR","external_id":"sale-' || lpad(n::text, 8, '0') || '","image":"' || i.external_id
               || '","marketplace_fee":"0","other_deduction":"0","payment_fee":"350000","price":"' || v.price
               || '","rate_card":' || coalesce('"' || v.rate_card || '"', 'null') || ',"sold_at":"'
               || to_char(v.sold_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US') || '+00:00","tax":"' || v.tax
               || '","territory":"' || v.territory || '"}', 'UTF8')),
           i.id, v.sold_at, v.territory, 'EUR', v.price, v.tax, 350000, v.rate_card, 'benchmark'
    FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n
    JOIN attribution.image AS i ON i.external_id = 'img-' || lpad(n::text, 8, '0')
    CROSS JOIN LATERAL (SELECT 11900000 + n % 977 * 10000 AS gross) AS g
    CROSS JOIN LATERAL (
        SELECT g.gross AS price, g.gross * 19 / 119 AS tax,
               (ARRAY['DE', 'FR', 'US', 'GB', 'JP'])[1 + n % 5] AS territory,
               CASE WHEN n % 10 = 0 THEN 'pool' END AS rate_card,
               '2026-10-01 00:00+02'::timestamptz + n % 2600000 * interval '1 second' + interval '1 hour' AS sold_at
    ) AS v
    RETURNING id
"""
