"""Method versions and placebo tables into the database, and out again for a worker that can run them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from attribution.characteristic import text_fault
from attribution.embedding import embedding_sha256
from attribution.known_names import record_recognition
from attribution.method import FORMAT, MethodVersion, default_method, quick_method
from attribution.pipeline import Model
from attribution.placebo import PlaceboTable, find_table, read_tables
from attribution.recognition import RecognitionTable, read_recognition
from attribution.results import MethodVersionRow
from database.errors import Invalid, NotFound
from database.settings import get_settings

_BUILT_IN = {"exact": default_method, "quick": quick_method}

RECOGNITION_FILE = "recognition.json"
"""In a model's folder: the names it is known to know, as they come with it."""

PLACEBO_FILE = "placebo.json"
"""In a model's folder: the placebo tables that come with it."""


def configured_method(session: Session, model: Model) -> MethodVersion:
    """The method version that `ROYALTY_METHOD` names, on this model: a built-in one, or one that was registered.

    Raises:
        Invalid: there is none of that name, or this model cannot carry it out.
    """
    return named_method(session, model, get_settings().royalty_method)


def named_method(session: Session, model: Model, name: str) -> MethodVersion:
    """A method version by name: a built-in one on this model, or the newest registered of that name.

    Raises:
        Invalid: there is none of that name, or this model cannot carry it out.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name](model)
    row = session.scalars(
        select(MethodVersionRow)
        .where(MethodVersionRow.name == name)
        .order_by(MethodVersionRow.id.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        raise Invalid(
            f"There is no method version {name!r}: choose {', '.join(_BUILT_IN)}, or one of `royalty attribution"
            " register`."
        )
    method = MethodVersion.from_document(row.document)
    why = fault(method, model)
    if why is not None:
        raise Invalid(why)
    return method


def register_method(
    session: Session, model: Model, name: str, base: MethodVersion, changes: Mapping[str, Any]
) -> tuple[MethodVersion, int]:
    """Record a method version made of another one; the newest recorded is the one for new images.

    Args:
        session: of the role that attributes.
        model: that is to carry it out.
        name: nobody else's, so that a person can tell versions apart.
        base: what it is made of.
        changes: fields of `MethodVersion`; the embedding's hash and the format follow.

    Returns:
        The method version and its id. The same one again is recorded once.

    Raises:
        Invalid, NotFound: it is not to be carried out, or the name is taken; the message says what to do.
    """
    method = replace(base, **changes, name=name, format=FORMAT)
    method.check()
    method = replace(method, embedding_sha256=embedding_sha256(method.embedding, model).hex())
    why = fault(method, model)
    if why is not None:
        raise Invalid(why)
    built_in = {make(model).name for make in _BUILT_IN.values()} | _BUILT_IN.keys()
    taken = session.scalar(
        select(MethodVersionRow.id).where(
            MethodVersionRow.name == name, MethodVersionRow.sha256 != method.sha256
        )
    )
    if taken is not None or name in built_in:
        raise Invalid(f"There is another method version {name!r}, and that one stands: choose another name.")
    return method, ensure_method(session, method, shipped_tables(model), shipped_recognition(model))


def shipped_tables(model: Model) -> list[PlaceboTable]:
    """The placebo tables in the model's folder; none for a model that brings none."""
    path = Path(model.source) / PLACEBO_FILE
    return read_tables(path) if path.is_file() else []


def shipped_recognition(model: Model) -> list[RecognitionTable]:
    """What is known of names in the model's folder; nothing for a model that brings none."""
    path = Path(model.source) / RECOGNITION_FILE
    return read_recognition(path) if path.is_file() else []


def ensure_method(
    session: Session,
    method: MethodVersion,
    tables: Sequence[PlaceboTable] = (),
    recognition: Sequence[RecognitionTable] = (),
) -> int:
    """Record a method version, once, with those of the placebo and recognition tables that are its own.

    Returns:
        Its id.
    """
    session.execute(
        text(
            "INSERT INTO attribution.method_version (sha256, name, document)"
            " VALUES (:sha256, :name, CAST(:document AS jsonb)) ON CONFLICT (sha256) DO NOTHING"
        ),
        {"sha256": method.sha256, "name": method.name, "document": json.dumps(method.document)},
    )
    method_id = recorded_method(session, method)
    assert method_id is not None
    _share_levels(session, method_id, method)
    for weights in sorted({table.weights_sha256 for table in tables}):
        table = find_table(tables, method, bytes.fromhex(weights))
        if table is not None:
            record_placebo(session, method_id, table)
    for found in recognition:
        if found.scale.recognition_sha256 == method.recognition_sha256.hex():
            record_recognition(session, method_id, found)
    return method_id


def _share_levels(session: Session, method_id: int, method: MethodVersion) -> None:
    """Record the levels of other method versions that measure alike as this one's too: they were measured already."""
    alike = [
        row.id
        for row in session.scalars(select(MethodVersionRow).where(MethodVersionRow.id != method_id))
        if _placebo_sha256(row.document) == method.placebo_sha256
    ]
    if alike:
        session.execute(
            text(
                "INSERT INTO attribution.placebo (method_id, weights_sha256, players, slot, mean, mean_standard_error,"
                " threshold, threshold_standard_error, names, evidence)"
                " SELECT :method_id, p.weights_sha256, p.players, p.slot, p.mean, p.mean_standard_error, p.threshold,"
                " p.threshold_standard_error, p.names, p.evidence FROM attribution.placebo AS p"
                " WHERE p.method_id = ANY(:alike) ORDER BY p.method_id ON CONFLICT DO NOTHING"
            ),
            {"method_id": method_id, "alike": alike},
        )


def _placebo_sha256(document: dict[str, Any]) -> bytes | None:
    """What levels of a recorded method version depend on; None for another release's."""
    try:
        return MethodVersion.from_document(document).placebo_sha256
    except Invalid:
        return None


def recorded_method(session: Session, method: MethodVersion) -> int | None:
    """Id of a method version; None if it is not recorded."""
    return session.scalar(select(MethodVersionRow.id).where(MethodVersionRow.sha256 == method.sha256))


def record_placebo(session: Session, method_id: int, table: PlaceboTable) -> int:
    """Record a placebo table. A level that is recorded already stands. Returns how many are new."""
    rows = [
        {
            "method_id": method_id,
            "weights": bytes.fromhex(table.weights_sha256),
            **{name: value for name, value in asdict(level).items() if name != "phi"},
            "evidence": json.dumps(
                {
                    "phi": level.phi,
                    "names": table.names,
                    "settings": table.settings,
                    "cost": table.cost,
                }
            ),
        }
        for level in table.levels
    ]
    statement = text(
        "INSERT INTO attribution.placebo (method_id, weights_sha256, players, slot, mean, mean_standard_error,"
        " threshold, threshold_standard_error, names, evidence)"
        " VALUES (:method_id, :weights, :players, :slot, :mean, :mean_standard_error, :threshold,"
        " :threshold_standard_error, :names, CAST(:evidence AS jsonb)) ON CONFLICT DO NOTHING RETURNING slot"
    )
    return sum(len(session.execute(statement, row).all()) for row in rows)


def runnable_methods(session: Session, model: Model) -> dict[int, MethodVersion]:
    """The recorded method versions that this model and release can carry out, the newest first, by id."""
    dtype = str(model.dtype).removeprefix("torch.")
    found: dict[int, MethodVersion] = {}
    for row in session.scalars(select(MethodVersionRow).order_by(MethodVersionRow.id.desc())):
        try:
            method = MethodVersion.from_document(row.document)
        except Invalid:
            continue  # another release's: it will be carried out there
        if method.dtype == dtype and fault(method, model) is None:
            found[row.id] = method
    return found


def fault(method: MethodVersion, model: Model) -> str | None:
    """Why pictures cannot be valued on this model as the method version says; None: they can."""
    try:
        there = embedding_sha256(method.embedding, model)
    except NotFound as missing:
        return missing.message
    if method.embedding_sha256 != there.hex():
        return f"method {method.name} is of another {method.embedding} embedding than this installation's"
    return text_fault(model) if method.anchored_in_text else None
