"""Which names a model knows: both tests, evidence, aliases, resuming, and what an image does that must wait for it."""

from dataclasses import replace
from math import comb

import numpy as np
import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from attribution import jobs
from attribution.catalogue import Artist, artists, catalogue_version, merge_artists, record_artists
from attribution.characteristic import Measurer
from attribution.known_names import (
    Gate,
    find_scale,
    names_to_measure,
    read_gate,
    record_measures,
    record_recognition,
    record_verdicts,
)
from attribution.method import RECOGNITION_RULES, default_method, quick_method
from attribution.miniature import MINIATURE_PATH
from attribution.miniature.artists import ARTISTS as MINIATURE_ARTISTS
from attribution.pipeline import Model, load_model
from attribution.recognition import (
    NameMeasure,
    RecognitionTable,
    Scale,
    binomial_tail,
    judge,
    measure_names,
    read_recognition,
    rule_of,
)
from attribution.registration import RECOGNITION_FILE, ensure_method, recorded_method
from attribution.render import RenderEngine
from attribution.worker import Worker
from database.engine import session
from database.errors import Invalid, NotFound
from database.roles import Role
from tests.attribution.worker_process import ARTISTS, all_known, log_images_of, no_effect


@pytest.fixture
def method_id(db: Session, tiny: Model) -> int:
    record_artists(db, ARTISTS, actor="test", reason="test")
    return ensure_method(db, quick_method(tiny), [no_effect(tiny)])


def gate(db: Session, tiny: Model) -> Gate:
    found = read_gate(db, quick_method(tiny), tiny.weights_sha256, artists(db))
    assert found is not None
    return found


def test_the_tail_is_that_of_the_binomial_distribution() -> None:
    for classes in (2, 7, 48):
        whole = classes**8
        assert binomial_tail(0, 8, classes) == whole
        assert binomial_tail(8, 8, classes) == 1
        assert binomial_tail(7, 8, classes) - binomial_tail(8, 8, classes) == 8 * (classes - 1)
        assert sum(comb(8, k) * (classes - 1) ** (8 - k) for k in range(9)) == whole


def test_a_known_name_passes_both_tests(tiny: Model) -> None:
    table = all_known(tiny)
    [known, *_] = table.names
    quiet = replace(known, name="quiet", distances=(500,) * 8)
    everywhere = replace(
        known, name="everywhere", moves=np.roll(np.eye(8, known.moves.shape[1], dtype=np.float32), 3, 0)
    )
    verdicts = judge(table.scale, [known, quiet, everywhere], {}, ["quiet", "everywhere"])
    assert [(v.recognised, v.movement > v.threshold) for v in verdicts] == [(False, False), (False, True)]
    assert verdicts[1].hits == 0 and verdicts[1].chance_ppb == 10**9
    [alone] = judge(table.scale, [known], {}, [known.name])
    assert alone.recognised and (alone.hits, alone.classes) == (8, 41) and alone.chance_ppb == 1


def test_names_of_one_artist_are_not_told_apart(tiny: Model) -> None:
    table = all_known(tiny)
    one = table.names[0]
    twin = replace(one, name="a twin")
    rival = judge(table.scale, [twin, one], {}, [one.name])[0]
    hers = judge(table.scale, [twin, one], {one.name: "amara", "a twin": "amara"}, [one.name])[0]
    assert rival.hits == 0 and not rival.recognised
    assert hers.hits == 8 and hers.recognised and hers.classes == rival.classes - 1


@pytest.mark.parametrize("make", [default_method, quick_method])
def test_the_miniature_knows_its_artists_and_not_the_planted_one(make) -> None:
    model = load_model(device="cpu")
    [table] = [
        found
        for found in read_recognition(MINIATURE_PATH / RECOGNITION_FILE)
        if found.scale.recognition_sha256 == make(model).recognition_sha256.hex()
    ]
    assert table.scale.weights_sha256 == model.weights_sha256.hex(), (
        "run: python -m attribution.miniature.calibrate"
    )
    names = [artist.name for artist in MINIATURE_ARTISTS]
    verdicts = {verdict.name: verdict for verdict in judge(table.scale, table.names, {}, names)}
    assert [name for name in names if not verdicts[name].recognised] == ["Hugo Pellerin"]
    made_up = [name.name for name in table.scale.names]
    assert not any(v.recognised for v in judge(table.scale, table.names, {}, made_up))


def test_what_is_shipped_is_what_is_rendered() -> None:
    model = load_model(device="cpu")
    method = quick_method(model)
    table = next(
        found
        for found in read_recognition(MINIATURE_PATH / RECOGNITION_FILE)
        if found.scale.recognition_sha256 == method.recognition_sha256.hex()
    )
    few = replace(table.scale, probes=table.scale.probes[:2])
    measurer = Measurer(RenderEngine(model, bucket=method.buckets[0], threads=method.threads))
    [[again]] = measure_names(measurer, few, ["Bruno Keller"])
    shipped = next(name for name in table.names if name.name == "Bruno Keller")
    assert measurer.engine.stats.rendered == 4, "a new name takes only her own pictures beside the contents"
    assert np.allclose(again.moves, shipped.moves[:2], atol=1e-4)
    assert again.distances == pytest.approx(shipped.distances[:2], abs=100_000)


def test_aliases_are_tried_where_the_name_is_not_known(db: Session, tiny: Model, method_id: int) -> None:
    table = all_known(tiny)
    known = table.names[0]
    record_artists(db, [Artist("canal", 0, "Giovanni Canal", ("Canaletto",))], actor="test", reason="test")
    record_recognition(db, method_id, table)
    assert (gate(db, tiny).unmeasured, len(gate(db, tiny).recognised)) == (frozenset({"canal"}), 3)
    row = find_scale(db, quick_method(tiny), tiny.weights_sha256)
    assert row is not None
    for name, distance, open_next in (
        ("Giovanni Canal", 5, {"Canaletto": "canal"}),
        ("Canaletto", 10**9, {}),
    ):
        assert names_to_measure(db, row.id, artists(db)) == {name: "canal"}
        moves = -known.moves
        record_measures(db, row.id, [NameMeasure(name, (distance,) * 8, moves)])
        record_verdicts(db, row, [name], {"Giovanni Canal": "canal", "Canaletto": "canal"})
        assert names_to_measure(db, row.id, artists(db)) == open_next
    assert gate(db, tiny).unmeasured == frozenset() and "canal" in gate(db, tiny).recognised
    assert record_verdicts(db, row, ["Canaletto"], {}) == [], "what is judged stands"


def test_a_verdict_that_does_not_follow_is_refused_or_found(db: Session, tiny: Model, method_id: int) -> None:
    record_recognition(db, method_id, all_known(tiny))
    connection = db.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)
    assert connection.execute("SELECT * FROM audit.recognition_faults").fetchall() == []
    for change in (
        "recognised = NOT recognised",
        "movement = 1",
        "chance_ppb = 999999999",
    ):
        with pytest.raises(psycopg.errors.CheckViolation), connection.transaction():
            connection.execute("SET LOCAL event_triggers = off")
            connection.execute("ALTER TABLE attribution.recognition DISABLE TRIGGER ALL")
            connection.execute(f"UPDATE attribution.recognition SET {change}")
    for table, change, item in (
        ("recognition", "movement = movement + 1", "movement"),
        ("recognition", "hits = hits - 1", "hits"),
        ("recognition", "chance_ppb = chance_ppb + 1", "chance"),
        ("recognition_scale", "threshold = threshold - 1", "threshold"),
        ("recognition_measure", "distances = distances || 7::bigint", "probes"),
    ):
        with connection.transaction(force_rollback=True):
            connection.execute("SET LOCAL event_triggers = off")
            connection.execute(f"ALTER TABLE attribution.{table} DISABLE TRIGGER ALL")
            connection.execute(f"UPDATE attribution.{table} SET {change}")
            items = connection.execute("SELECT item FROM audit.recognition_faults").fetchall()
            assert (item,) in items
    with pytest.raises(psycopg.errors.RestrictViolation), connection.transaction():
        connection.execute("UPDATE attribution.recognition SET hits = 0")


def test_images_wait_until_it_is_measured_whom_the_model_knows(
    database: str, worker: Worker, tiny: Model
) -> None:
    with session(Role.ATTRIBUTION) as opened:
        record_artists(opened, ARTISTS, actor="test", reason="test")
        method_id = ensure_method(opened, quick_method(tiny), [no_effect(tiny)])
    log_images_of(tiny, 0, 4)
    worker.run(seconds=60, more=lambda: None)
    with session(Role.ATTRIBUTION) as opened:
        found = jobs.status(opened)
        assert (found.done, found.pending) == (1, 3)
        assert all("`royalty artists recognise`" in reason for reason in found.reasons)
        record_recognition(opened, method_id, all_known(tiny))
    with psycopg.connect(database) as superuser:
        superuser.execute("UPDATE attribution.attribution_job SET next_attempt_at = clock_timestamp()")
    worker.run(seconds=60, more=lambda: None)
    with session(Role.ATTRIBUTION) as opened:
        assert jobs.status(opened).done == 4


def test_merging_makes_one_artist_of_two_and_changes_nothing_before(db: Session) -> None:
    record_artists(db, ARTISTS, actor="test", reason="test")
    before = catalogue_version(db)
    assert merge_artists(db, "bruno", "amara", actor="mara", reason="the same person")
    assert not merge_artists(db, "bruno", "amara", actor="mara", reason="the same person")
    now = {artist.id: artist for artist in artists(db)}
    assert now.keys() == {"amara", "chiyo"} and now["amara"].aliases == ("Bruno Keller",)
    assert catalogue_version(db) == before + 1
    assert {artist.id for artist in artists(db, as_of=before)} == {"amara", "bruno", "chiyo"}
    assert record_artists(db, ARTISTS, actor="test", reason="test") == 0, (
        "a file loaded again changes nothing"
    )
    for given, into, error in (
        ("bruno", "chiyo", Invalid),
        ("chiyo", "bruno", Invalid),
        ("amara", "chiyo", Invalid),
        ("amara", "amara", Invalid),
        ("nobody", "amara", NotFound),
    ):
        with pytest.raises(error):
            merge_artists(db, given, into, actor="mara", reason="why not")
    with pytest.raises(Invalid, match="was merged into amara"):
        record_artists(db, [Artist("bruno", 0, "Another Name")], actor="test", reason="test")
    with pytest.raises(IntegrityError, match="one of them was merged before"), db.begin_nested():
        db.execute(
            text(
                "INSERT INTO attribution.artist_merge (artist_id, into_id, actor, reason)"
                " VALUES ('amara', 'chiyo', 'x', 'y')"
            )
        )


def test_a_method_without_a_gate_plays_everybody(db: Session, tiny: Model, method_id: int) -> None:
    method = replace(quick_method(tiny), recognition=None)
    assert read_gate(db, method, tiny.weights_sha256, artists(db)) is None
    with pytest.raises(Invalid, match="asks for no recognition"):
        rule_of(method)
    assert recorded_method(db, quick_method(tiny)) == method_id
    old = replace(method, format="method-2")
    assert (
        "recognition" not in old.document and old.recognition_sha256 != quick_method(tiny).recognition_sha256
    )
    assert RECOGNITION_RULES["names-1"].quantile_permille == 950


def test_a_table_is_the_same_written_and_read(tiny: Model) -> None:
    table = all_known(tiny)
    again = RecognitionTable(
        Scale.from_json(table.scale.to_json()), tuple(NameMeasure.from_json(n.to_json()) for n in table.names)
    )
    assert again.scale.sha256 == table.scale.sha256
    assert [n.to_json() for n in again.names] == [n.to_json() for n in table.names]
    with pytest.raises(Invalid, match="no scale"):
        Scale.from_json({"rule": "names-1"})
