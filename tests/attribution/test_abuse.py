"""Known abuses move the money by the naive rule, and here they move none: from prompt to royalty line."""

from collections.abc import Iterator

import psycopg
import pytest

from attribution.verify import recorded_attribution, shares_follow
from database.engine import conninfo, session
from database.roles import Role
from database.settings import get_settings
from tests.attribution.abuse import ABUSES, POOL, Moved, play, table


@pytest.fixture(scope="module")
def moved(module_database: str) -> Iterator[list[Moved]]:
    patch = pytest.MonkeyPatch()
    patch.setenv("ROYALTY_METHOD", "quick")
    get_settings.cache_clear()
    yield play()
    patch.undo()


def ask(query: str) -> list[tuple]:
    with psycopg.connect(conninfo(Role.AUDITOR)) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("number", range(len(ABUSES)), ids=[abuse.name for abuse in ABUSES])
def test_who_tries_it_gains_nothing(moved: list[Moved], number: int) -> None:
    one = moved[number]
    assert one.naive > POOL // 30, "the naive rule pays for it"
    assert abs(one.ours) <= one.abuse.tolerance
    assert one.abuse.tolerance < one.naive


def test_a_name_the_model_does_not_know_is_content_with_its_evidence(moved: list[Moved]) -> None:
    rows = ask(
        "SELECT artist_id, name, movement, threshold, hits, probes, status FROM audit.unrecognised_names"
    )
    assert [(row[0], row[1], row[6]) for row in rows] == [("art-hugo", "Hugo Pellerin", "attributed")]
    assert rows[0][2] < rows[0][3], "he moves pictures no more than made-up names do"
    assert ask("SELECT * FROM audit.recognition_faults") == []
    assert ask("SELECT * FROM audit.attribution_conservation") == []


def test_an_own_purchase_is_flagged_and_withholds_nothing(moved: list[Moved]) -> None:
    rows = ask("SELECT sale, payee_id, artist_id, share_ppb, royalties_micros FROM audit.own_purchases")
    [(sale, payee, artist, share, royalties)] = rows
    assert (sale, payee, artist) == ("sale-0", "pay-lucia", "art-bruno")
    # 30 % of her predecessor's share is hers, as of any other sale.
    assert royalties == pytest.approx(POOL * share / 10**9 * 0.3, abs=2) and royalties > 0


def test_merged_accounts_are_on_record_and_images_can_be_repeated(moved: list[Moved]) -> None:
    merges = ask("SELECT artist_id, into_id, actor, reason FROM audit.artist_merges")
    assert merges == [("art-shell", "art-bruno", "mara", "the same tax number")]
    with session(Role.ATTRIBUTION) as opened:
        recorded = recorded_attribution(opened, "img-0")
    assert shares_follow(recorded)
    assert recorded.catalogue.gate is not None and "art-bruno" in recorded.catalogue.gate.recognised


def test_a_disguised_name_is_read_and_paid(moved: list[Moved]) -> None:
    """Whoever hides a rival's name from a reader of letters does not hide it from the one who pays."""
    paid = dict(
        ask(
            "SELECT image, share_ppb FROM audit.attribution_shares WHERE player = 'art-amara'"
            " AND image IN ('img-0', 'img-3', 'img-4')"
        )
    )
    assert len(paid) == 3 and all(share > 0.9 * paid["img-0"] > 0 for share in paid.values())


def test_the_table_names_every_abuse(moved: list[Moved]) -> None:
    printed = table(moved)
    assert printed.count("\n") == len(ABUSES) + 1
    assert all(f"| {abuse.name} |" in printed for abuse in ABUSES)
