"""The generation log: each image once, nothing changed in silence, words erasable, thousands a second."""

import threading
import time

import pytest
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.orm import Session

from attribution import broker
from attribution.ingest import Status, log_images
from database.engine import session
from database.roles import Role
from tests.attribution.image_examples import a_method, payload, record


def statuses(outcomes: list) -> list[str]:
    return [outcome.status.value for outcome in outcomes]


def count(db: Session, table: str) -> int:
    return int(db.scalar(text(f"SELECT count(*) FROM attribution.{table}")))


def test_an_image_is_recorded_once_with_its_words_and_its_job(db: Session) -> None:
    method = a_method(db)
    assert statuses(log_images(db, [record()], method)) == ["recorded"]
    assert statuses(log_images(db, [record()], method)) == ["known"]
    assert (count(db, "image"), count(db, "prompt_text"), count(db, "attribution_job")) == (1, 1, 1)
    assert db.scalar(
        text(
            "SELECT prompt_sha256 = sha256(salt || convert_to(prompt, 'UTF8') || '\\x00'::bytea"
            " || convert_to(negative_prompt, 'UTF8'))"
            " FROM attribution.image JOIN attribution.prompt_text ON image_id = id"
        )
    ), "an auditor can recompute the digest in SQL"


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a castle by Claude Monet"},
        {"negative_prompt": "blurred"},
        {"seed": 8},
        {"guidance": 7.25},
        {"customer": "c-9"},
        {"scheduler_config": {}},
        {"file_sha256": "cd" * 32},
        {"generated_at": "2026-10-01T12:00:00Z"},
    ],
)
def test_the_same_id_with_other_content_is_refused(db: Session, change: dict) -> None:
    method = a_method(db)
    log_images(db, [record()], method)
    (outcome,) = log_images(db, [record(**change)], method)
    assert outcome.status is Status.REFUSED
    assert outcome.reason is not None and "img-1 is logged with other content" in outcome.reason
    assert count(db, "image") == 1


def test_the_same_content_written_otherwise_is_known(db: Session) -> None:
    method = a_method(db)
    first = record(generated_at="2026-10-01T12:00:00Z", guidance="7.50")
    again = record(generated_at="2026-10-01T14:00:00+02:00", guidance=7.5, seed="7")
    assert statuses(log_images(db, [first], method) + log_images(db, [again], method)) == [
        "recorded",
        "known",
    ]


def test_repeats_inside_one_batch_count_in_their_order(db: Session) -> None:
    given = [record("a"), record("b"), record("a"), record("a", seed=8)]
    assert statuses(log_images(db, given, a_method(db))) == ["recorded", "recorded", "known", "refused"]


def test_erased_words_are_not_compared_but_everything_else_is(db: Session) -> None:
    method = a_method(db)
    log_images(db, [record()], method)
    db.execute(text("DELETE FROM attribution.prompt_text"))
    assert statuses(log_images(db, [record(), record(seed=8)], method)) == ["known", "refused"]


def test_no_artists_and_artists_unsaid_are_two_things(db: Session) -> None:
    given = [record("a"), record("b", artists=[]), record("c", artists=["monet", "klimt"])]
    log_images(db, given, a_method(db))
    rows = db.execute(text("SELECT artists FROM attribution.image ORDER BY external_id"))
    assert list(rows.scalars()) == [None, [], ["monet", "klimt"]]


def test_equal_words_have_different_digests(db: Session) -> None:
    log_images(db, [record("a"), record("b")], a_method(db))
    assert db.scalar(text("SELECT count(DISTINCT prompt_sha256) FROM attribution.image")) == 2


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"prompt": " \n"}, "prompt"),
        ({"prompt": "a\0b"}, "prompt"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"steps": 0}, "steps"),
        ({"guidance": "NaN"}, "guidance"),
        ({"width": 63}, "width"),
        ({"weights_sha256": "ab"}, "weights_sha256"),
        ({"file": "/etc/passwd"}, "file"),
        ({"file": "a/../../b.png"}, "file"),
        ({"generated_at": "2026-10-01T12:00:00"}, "generated_at"),
        ({"scheduler_config": {"beta": float("nan")}}, "scheduler_config"),
        ({"extra": {"note": "a\0b"}}, "extra"),
        ({"promt": "a"}, "promt"),
    ],
)
def test_what_cannot_be_rendered_again_is_not_a_record(change: dict, field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        record(**change)


def test_every_seed_and_every_character_survives(db: Session) -> None:
    method = a_method(db)
    words = "🎨 кот у вікні, 北斎, naïve \\u0000 \"quoted\" 'x' " + "word " * 200
    given = [record("low", seed=0, prompt=words), record("high", seed=2**63 - 1, prompt=words)]
    assert statuses(log_images(db, given, method) + log_images(db, given, method)) == [
        "recorded", "recorded", "known", "known",
    ]  # fmt: skip
    assert db.scalar(text("SELECT prompt FROM attribution.prompt_text LIMIT 1")) == words


def test_two_who_log_the_same_image_at_once_record_it_once(database: str) -> None:
    with session(Role.ATTRIBUTION) as opened:
        method = a_method(opened)
    results: dict[int, list[str]] = {}
    first_wrote = threading.Event()

    def second() -> None:
        first_wrote.wait(10)
        with session(Role.ATTRIBUTION) as mine:
            results[2] = statuses(log_images(mine, [record("x"), record("b"), record("c", seed=9)], method))

    other = threading.Thread(target=second)
    other.start()
    with session(Role.ATTRIBUTION) as opened:
        results[1] = statuses(log_images(opened, [record("a"), record("b"), record("c")], method))
        first_wrote.set()
        time.sleep(0.5)  # the second one waits for this transaction now
    other.join()
    broker.disconnect()
    assert results[1] == ["recorded", "recorded", "recorded"]
    assert results[2] == ["recorded", "known", "refused"]


def test_two_thousand_images_a_second(db: Session) -> None:
    given = [payload(f"img-{number}", seed=number) for number in range(4000)]
    method = a_method(db)
    began = time.perf_counter()
    outcomes = log_images(db, [record(**one) for one in given], method)
    speed = len(given) / (time.perf_counter() - began)
    assert {outcome.status for outcome in outcomes} == {Status.RECORDED}
    assert count(db, "attribution_job") == 4000
    print(f"{speed:,.0f} images/s")
    # A quarter of what a free machine does: the tests share theirs.
    assert speed > 500
