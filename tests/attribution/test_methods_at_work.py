"""Method versions that are not the default, from registration to the auditor: drawn orders and further seeds."""

from dataclasses import replace
from typing import Any

import psycopg
import pytest

from attribution.pipeline import Model
from attribution.registration import named_method, record_placebo, recorded_method, register_method
from attribution.results import placebo_levels
from attribution.verify import recorded_attribution, shares_follow, verify
from attribution.worker import Worker
from database.engine import conninfo, session
from database.errors import Invalid, NotFound
from database.roles import Role
from tests.attribution.worker_process import log_images_of, no_effect

DRAWN = {"maximum_exact_players": 2, "maximum_players": 3, "minimum_gap": 0}


def ask(query: str) -> list[tuple]:
    with psycopg.connect(conninfo(Role.AUDITOR)) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture
def attributed(world: str, worker: Worker, tiny: Model) -> str:
    """Sixteen images by a method that draws orders for three players, every image from three seeds."""
    with session(Role.ATTRIBUTION) as opened:
        base = named_method(opened, tiny, "quick")
        method, method_id = register_method(
            opened, tiny, "drawn", base, {**DRAWN, "seeds": 3, "seeds_permille": 1000}
        )
        # What the exact method measured slot by slot does not serve one that draws.
        assert placebo_levels(opened, method_id, tiny.weights_sha256) == {}
        record_placebo(
            opened, method_id, replace(no_effect(tiny), placebo_sha256=method.placebo_sha256.hex())
        )
    log_images_of(tiny, 0, 16)
    assert worker.run(seconds=120, more=lambda: None) is False
    return world


def test_the_auditor_computes_drawn_games_and_seeds_again(attributed: str, tiny: Model) -> None:
    states = ask("SELECT players, count(*) FROM audit.attributions GROUP BY players")
    assert dict(states) == {0: 4, 2: 8, 3: 4}
    errors = ask(
        "SELECT orders IS NOT NULL, seeds, count(*), count(standard_error), count(prompt_standard_error_ppb)"
        " FROM audit.standard_errors GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert any(drawn and count == known for drawn, _, count, known, _ in errors), "drawn games have errors"
    assert any(seeds == 3 and known for _, seeds, _, _, known in errors), "prompts have errors"
    assert ask("SELECT * FROM audit.attribution_conservation") == []
    assert ask("SELECT * FROM audit.attribution_completeness") == []
    marginals = ask(
        "SELECT attribution_id, pair, sum(forward), sum(backward) FROM audit.sampled_marginals GROUP BY 1, 2"
    )
    assert marginals and all(forward == backward for _, _, forward, backward in marginals)
    assert ask("SELECT count(*) FROM audit.further_seeds WHERE value IS NULL OR picture_sha256 IS NULL") == [
        (0,)
    ]
    for number in range(4):
        with session(Role.ATTRIBUTION) as opened:
            recorded = recorded_attribution(opened, f"img-{number:03}")
        found = verify(recorded, tiny)
        assert found.agrees and found.largest_difference == 0 and shares_follow(recorded)


ALTERED = [
    ("coalition_value", "value = value + 1000 * (coalition & 1)", "phi"),
    ("attribution_share", "standard_error = standard_error + 1", "standard error"),
    ("attribution_share", "prompt_share_ppb = abs(prompt_share_ppb - 1)", "share over the prompt's seeds"),
    (
        "attribution_share",
        "prompt_standard_error_ppb = prompt_standard_error_ppb + 1",
        "standard error of the prompt",
    ),
    ("attribution", "further_seeds = NULL", "further seeds"),
    ("attribution", "orders = orders + 2, denominator = denominator + 2", "phi"),
]


def test_what_is_altered_is_found(attributed: str) -> None:
    for table, change, found in ALTERED:
        with psycopg.connect(attributed) as superuser:
            superuser.execute("SET event_triggers = off")
            superuser.execute(f"ALTER TABLE attribution.{table} DISABLE TRIGGER ALL")
            superuser.execute(f"UPDATE attribution.{table} SET {change}")
            items = superuser.execute(
                "SELECT item FROM audit.attribution_conservation"
                " UNION SELECT item FROM audit.attribution_completeness"
            ).fetchall()
            superuser.rollback()
        assert (found,) in items


def test_a_registered_version_is_another_document_and_the_old_one_stands(world: str, tiny: Model) -> None:
    with session(Role.ATTRIBUTION) as opened:
        quick = named_method(opened, tiny, "quick")
        changed, changed_id = register_method(
            opened, tiny, "three-seeds", quick, {"seeds": 3, "seeds_permille": 50}
        )
        again, again_id = register_method(
            opened, tiny, "three-seeds", quick, {"seeds": 3, "seeds_permille": 50}
        )
        assert (again, again_id) == (changed, changed_id)
        assert changed.sha256 != quick.sha256 and recorded_method(opened, quick) not in (None, changed_id)
        assert named_method(opened, tiny, "three-seeds") == changed
        # What levels depend on is the same: they need not be measured again.
        quick_id = recorded_method(opened, quick)
        assert quick_id is not None
        assert placebo_levels(opened, changed_id, tiny.weights_sha256) == placebo_levels(
            opened, quick_id, tiny.weights_sha256
        )
        other, other_id = register_method(opened, tiny, "by-eye", quick, {"embedding": "descriptor-1"})
        assert other.embedding_sha256 != quick.embedding_sha256
        assert placebo_levels(opened, other_id, tiny.weights_sha256) == {}


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("Has Spaces", {}, "small letters"),
    ("quick-1", {"seeds": 2, "seeds_permille": 1}, "choose another name"),
    ("new", {"characteristic_function": "beauty"}, "logged-image-cosine"),
    ("new", {"embedding": "taste"}, "descriptor-1"),
    ("new", {"embedding": "dinov2"}, "ROYALTY_DINOV2"),
    ("new", {"characteristic_function": "text-cosine"}, "ROYALTY_EMBEDDING_MODEL"),
    ("new", {"characteristic_function": "text-cosine", "embedding": "descriptor-1"}, "reads text"),
    ("new", {"seeds": 0}, "seeds is 0; it goes from 1"),
    ("new", {"seeds": 4}, "how many thousandths"),
    ("new", {"seeds_permille": 10}, "with one seed 0"),
    ("new", {"maximum_exact_players": 13}, "from 2 to 12"),
    ("new", {"maximum_players": 7}, "from 8 to 30"),
    ("new", {"maximum_players": 30, "maximum_renders": 900}, "at least 930 pictures"),
    ("new", {"maximum_renders": 100}, "at least 482 pictures"),
    ("new", {"standard_error": 0}, "standard_error is 0"),
    ("new", {"protocol_steps": 0}, "protocol_steps is 0"),
    ("new", {"baseline": "artists"}, "choose excluded or model"),
]


def test_what_cannot_be_carried_out_is_refused(world: str, tiny: Model) -> None:
    with session(Role.ATTRIBUTION) as opened:
        quick = named_method(opened, tiny, "quick")
        for name, changes, message in REFUSED:
            with pytest.raises((Invalid, NotFound), match=message):
                register_method(opened, tiny, name, quick, changes)
        with pytest.raises(Invalid, match="royalty attribution register"):
            named_method(opened, tiny, "new")
