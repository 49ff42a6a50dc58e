"""Results: written whole, once, and recomputable in SQL."""

import hashlib

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from attribution.ingest import log_images
from attribution.results import ImageResult, MeasuredCoalition, record_results
from attribution.shapley import PlaceboLevel, UnattributedReason, settle_game
from database.engine import session
from database.roles import Role
from tests.attribution.image_examples import a_method, record

VALUES = [
    100_000_000,
    400_000_000,
    300_000_000,
    900_000_000,
    250_000_000,
    700_000_000,
    500_000_001,
    1_000_000_000,
]
ARTISTS = ("monet", "klimt")
PLACEBO = (PlaceboLevel(10_000_003, 30_000_000), PlaceboLevel(9_000_001, 20_000_000))


@pytest.fixture
def logged(db: Session) -> tuple[int, list[int]]:
    """A method version's id and two images' ids."""
    method = a_method(db)
    log_images(db, [record("a"), record("b")], method)
    return method, list(db.scalars(text("SELECT id FROM attribution.image ORDER BY external_id")))


def result(image_id: int, reason: UnattributedReason | None = None) -> ImageResult:
    settled = settle_game(VALUES, ARTISTS, PLACEBO, minimum_gap=0 if reason is None else 10**9)
    digest = hashlib.sha256(b"picture").digest()
    return ImageResult(
        image_id=image_id,
        reason=settled.reason,
        players=settled.players,
        coalitions=[
            MeasuredCoalition(coalition, value, digest, digest) for coalition, value in enumerate(VALUES)
        ],
        fidelity=None,
        reading={"mentions": []},
        environment={"device": "cpu"},
    )


def test_values_and_shares_are_written_and_sql_computes_the_same(
    db: Session, logged: tuple[int, list[int]]
) -> None:
    method, (first, second) = logged
    below = UnattributedReason.BELOW_THRESHOLD
    assert record_results(db, method, [result(second, below), result(first)]) == {first, second}
    db.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
    rows = db.execute(
        text("SELECT status, reason, players FROM attribution.attribution ORDER BY image_id")
    ).all()
    assert rows == [("attributed", None, 3), ("unattributed", "below_threshold", 3)]
    # phi, times n!, of every player from the coalition values alone
    differing = db.scalar(
        text("""
            WITH weighed AS (
                SELECT s.attribution_id, s.slot, s.phi_numerator, sum(v.value *
                    CASE WHEN v.coalition >> s.slot & 1 = 1
                        THEN factorial(size - 1) * factorial(a.players - size)
                        ELSE -factorial(size) * factorial(a.players - 1 - size)
                    END) AS phi
                FROM attribution.attribution_share AS s
                JOIN attribution.attribution AS a ON a.id = s.attribution_id
                JOIN attribution.coalition_value AS v ON v.attribution_id = a.id
                CROSS JOIN LATERAL bit_count(CAST(v.coalition AS bit(8))) AS size
                GROUP BY s.attribution_id, s.slot, s.phi_numerator
            ) SELECT count(*) FILTER (WHERE phi <> phi_numerator) * 100 + count(*) FROM weighed
        """)
    )
    assert differing == 6, "six players, none of them different"
    sums = db.execute(
        text(
            "SELECT image_id, sum(share_ppb) FROM attribution.attribution_share"
            " JOIN attribution.attribution ON id = attribution_id GROUP BY image_id ORDER BY image_id"
        )
    )
    assert [tuple(row) for row in sums] == [(first, 10**9), (second, 0)]


def test_the_first_result_stands(db: Session, logged: tuple[int, list[int]]) -> None:
    method, (first, second) = logged
    assert record_results(db, method, [result(first)]) == {first}
    assert record_results(
        db, method, [result(first, UnattributedReason.BELOW_THRESHOLD), result(second)]
    ) == {second}
    assert (
        db.scalar(text("SELECT status FROM attribution.attribution WHERE image_id = :id"), {"id": first})
        == "attributed"
    )
    assert record_results(db, method, []) == set()


def test_an_image_without_a_game(db: Session, logged: tuple[int, list[int]]) -> None:
    method, (first, _) = logged
    nobody = ImageResult(first, UnattributedReason.NO_RECOGNISED_ARTIST, (), (), None, {}, {})
    record_results(db, method, [nobody])
    db.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
    row = db.execute(text("SELECT status, reason, players, denominator FROM attribution.attribution")).one()
    assert tuple(row) == ("unattributed", "no_recognised_artist", 0, 1)


def test_a_result_that_misses_a_coalition_is_not_committed(
    db: Session, logged: tuple[int, list[int]]
) -> None:
    method, (first, _) = logged
    whole = result(first)
    record_results(db, method, [ImageResult(first, None, whole.players, whole.coalitions[:-1], None, {}, {})])
    with pytest.raises(IntegrityError, match="7 coalition values of 8"):
        db.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))


@pytest.mark.parametrize(
    ("row", "guarantee"),
    [
        (
            "attribution_share (attribution_id, slot, player, phi_numerator, placebo_mean, adjusted_numerator,"
            " placebo_threshold, paid_numerator, share_ppb) VALUES (:id, 3, 'shell', 0, 0, 0, 0, 0, 1000000)",
            "share_slot_in_game",
        ),
        (
            "coalition_value (attribution_id, coalition, value, picture_sha256, prompt_sha256)"
            " VALUES (:id, 8, 0, sha256(''), sha256(''))",
            "coalition_in_game",
        ),
    ],
)
def test_nothing_joins_an_attribution_whose_check_has_run(
    db: Session, logged: tuple[int, list[int]], row: str, guarantee: str
) -> None:
    method, (first, _) = logged
    record_results(db, method, [result(first)])
    db.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))  # the check at commit has run and is spent
    key = db.scalars(text("SELECT id FROM attribution.attribution")).one()
    with pytest.raises(IntegrityError) as refused:
        db.execute(text(f"INSERT INTO attribution.{row}"), {"id": key})
    assert guarantee in str(refused.value.orig.diag.constraint_name)  # type: ignore[union-attr]


def test_a_committed_attribution_takes_nothing_from_a_transaction_that_comes_to_its_number(
    database: str,
) -> None:
    """As on a server that it was restored on, which counts transactions from a lower number."""
    with session(Role.ADMIN) as opened:
        log_images(opened, [record(name) for name in "abcde"], a_method(opened))
        images = opened.scalars(text("SELECT id FROM attribution.image")).all()
    written = text(
        "INSERT INTO attribution.attribution"
        " (image_id, method_id, status, reason, players, denominator, reading, environment, written_by)"
        " SELECT :image, id, 'unattributed', 'no_recognised_artist', 0, 1, '{}', '{}',"
        " (pg_current_xact_id()::text::bigint + 1)::text::xid8 FROM attribution.method_version"
        " RETURNING id, written_by::text"
    )
    added = text("INSERT INTO attribution.coalition_value VALUES (:id, 0, 0, sha256(''), sha256(''))")
    for image in images:
        with session(Role.ATTRIBUTION) as opened:
            key, number = opened.execute(written, {"image": image}).one()
        with session(Role.ATTRIBUTION) as opened:
            come = opened.scalar(text("SELECT pg_current_xact_id()::text"))
            with pytest.raises(IntegrityError, match="takes no further rows"):
                opened.execute(added, {"id": key})
            opened.rollback()
        if come == number:  # nobody else, autovacuum say, was in between
            return
    pytest.fail("no transaction came to the number")
