"""Rendering an attribution again: it agrees, or it says where it does not."""

from collections.abc import Iterator

import psycopg
import pytest
import typer
from sqlalchemy import text

from attribution.catalogue import Artist, record_artists
from attribution.configured import configured_model
from attribution.pipeline import Model
from attribution.verify import recorded_attribution, redraw, repeating, shares_follow, verify
from attribution.worker import Worker
from cli import attribution as commands
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


@pytest.fixture
def configured(attributed: str) -> Iterator[None]:
    """The command loads the model that the environment names."""
    configured_model.cache_clear()
    yield
    configured_model.cache_clear()


def test_the_command_shows_what_it_compared_and_its_exit_code_says_what_came_of_it(
    attributed: str, configured: None, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.verify(["img-001"])
    shown = capsys.readouterr().out
    assert "C + bruno" in shown and "confirmed: 1 of 1" in shown and "8 of 8 pictures the same" in shown
    commands.verify(sample=3)
    assert "confirmed: 3 of 3" in capsys.readouterr().out
    with pytest.raises(Invalid, match="name images, or say --period or --sample"):
        commands.verify(["img-001"], sample=1)
    with pytest.raises(NotFound, match="no attribution earned anything in 2026-10"):
        commands.verify(period_id="2026-10")

    with psycopg.connect(attributed) as admin:
        admin.execute("SET event_triggers = off")
        admin.execute("ALTER TABLE attribution.coalition_value DISABLE TRIGGER ALL")
        admin.execute(
            "UPDATE attribution.coalition_value SET value = value + 1000000 WHERE coalition = 1 AND attribution_id ="
            " (SELECT a.id FROM attribution.attribution AS a JOIN attribution.image AS i ON i.id = a.image_id"
            "  WHERE i.external_id = 'img-000')"
        )
    with pytest.raises(typer.Exit) as ended:
        commands.verify(["img-000", "img-001"])
    assert ended.value.exit_code == commands.NOT_CONFIRMED
    assert "not confirmed: img-000" in capsys.readouterr().out
    with session(Role.ADMIN) as opened:
        opened.execute(text("DELETE FROM attribution.prompt_text"))
    with pytest.raises(typer.Exit) as ended:
        commands.verify(["img-001"])
    assert ended.value.exit_code == commands.NOT_RENDERED
    assert "were erased" in capsys.readouterr().out


def test_it_is_rendered_in_the_bucket_that_it_was_attributed_in(attributed: str, tiny: Model) -> None:
    given = recorded("img-001")
    given.environment["bucket"] = 4
    assert repeating(given, tiny).measurer.engine.bucket == 4


def test_pictures_to_look_at_are_the_recorded_ones(attributed: str, tiny: Model) -> None:
    given = recorded("img-001")
    pictures = redraw(given, tiny, {0, 7})
    assert [one.coalition for one in pictures] == [0, 7] and all(one.same_picture for one in pictures)
    assert [one.prompt for one in pictures] == ["", "a ring by Bruno Keller and Amara Diallo"]
    given.values[0].prompt_sha256 = bytes(32)
    with pytest.raises(Invalid, match="read differently"):
        redraw(given, tiny, {0})
