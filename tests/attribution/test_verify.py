"""Rendering an attribution again: it agrees, or it says where it does not."""

import pytest
from sqlalchemy import text

from attribution.catalogue import Artist, record_artists
from attribution.pipeline import Model
from attribution.verify import recorded_attribution, shares_follow, verify
from attribution.worker import Worker
from database.engine import session
from database.errors import Invalid, NotFound, Unavailable
from database.roles import Role
from tests.attribution.worker_process import log_images_of


@pytest.fixture
def attributed(world: str, worker: Worker, tiny: Model) -> str:
    log_images_of(tiny, 0, 4)
    worker.run(seconds=60, more=lambda: None)
    return world


def recorded(external_id: str):
    with session(Role.ATTRIBUTION) as opened:
        return recorded_attribution(opened, external_id)


def test_what_is_recorded_is_rendered_again(attributed: str, tiny: Model) -> None:
    found = verify(recorded("img-001"), tiny)
    assert found.agrees and found.shares_follow and found.differences == []
    assert [check.players for check in found.coalitions][:4] == [(), ("C",), ("bruno",), ("C", "bruno")]
    assert len(found.coalitions) == 8 and found.largest_difference == 0
    assert all(check.same_picture for check in found.coalitions)
    nobody = verify(recorded("img-002"), tiny)
    assert nobody.agrees and nobody.recorded_reason == "no_recognised_artist" == nobody.measured_reason


def test_the_catalogue_is_read_as_it_was_then(attributed: str, tiny: Model) -> None:
    with session(Role.ATTRIBUTION) as opened:
        record_artists(
            opened, [Artist("castle", 1, "Castle"), Artist("amara", 2, "A. D.")], actor="t", reason="t"
        )
    assert verify(recorded("img-000"), tiny).agrees


def test_a_value_that_was_not_measured_is_found(attributed: str, tiny: Model) -> None:
    given = recorded("img-001")
    given.values[1].value += given.method.verify_tolerance + 1
    found = verify(given, tiny)
    assert not found.agrees
    assert found.largest_difference == given.method.verify_tolerance + 1


def test_shares_that_do_not_follow_are_found_without_rendering(attributed: str) -> None:
    given = recorded("img-001")
    assert shares_follow(given)
    given.shares[0].share_ppb += 1
    assert not shares_follow(given)
    given.shares[0].share_ppb -= 1
    given.values[0].value -= 10**9
    assert not shares_follow(given), "with such a gap somebody earns"


def test_what_cannot_be_verified_says_why(attributed: str, tiny: Model) -> None:
    with session(Role.ATTRIBUTION) as opened, pytest.raises(NotFound, match="no image nowhere is logged"):
        recorded_attribution(opened, "nowhere")
    given = recorded("img-000")
    other = Model(**{**{f: getattr(tiny, f) for f in tiny.__dataclass_fields__}, "weights_sha256": bytes(32)})
    with pytest.raises(Unavailable, match="set ROYALTY_MODEL"):
        verify(given, other)
    with session(Role.ADMIN) as opened:
        opened.execute(text("DELETE FROM attribution.prompt_text"))
    with pytest.raises(Invalid, match="were erased"):
        verify(recorded("img-000"), tiny)
