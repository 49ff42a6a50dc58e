"""Image logs of platforms that generate elsewhere: JSON Lines or CSV, good lines in, bad ones with number and reason.

A JSON line, or a CSV row under a header, has the fields of `ImageRecord`. A sale may ride along as the object `sale`
(in CSV as columns `sale.<field>`): it is handed on as it is, for settlement to read.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from attribution.generation import ImageRecord
from database.errors import Invalid, NotFound

_DOCUMENTS = ("scheduler_config", "extra", "artists", "adapters", "image_prompts")
"""Fields that are JSON inside a CSV cell."""


@dataclass(frozen=True, slots=True)
class ImageLine:
    """A line that can be logged."""

    number: int
    """Of the line in the file, from 1."""
    record: ImageRecord
    sale: Mapping[str, Any] | None = None
    """What the line says about a sale, unread."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot, and why."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class ImageFile:
    """What a file holds."""

    lines: list[ImageLine]
    bad: list[BadLine]


def read_images(path: Path, defaults: Mapping[str, Any] | None = None) -> ImageFile:
    """Read an image log: CSV if the name ends in `.csv`, JSON Lines otherwise.

    Args:
        path: the file, UTF-8.
        defaults: fields of `ImageRecord` that lines may leave out, such as the installation's own model.

    Raises:
        NotFound: there is no such file.
        Invalid: the file cannot be read at all, or has no header.
    """
    lines: list[ImageLine] = []
    bad: list[BadLine] = []
    try:
        # Bytes that are not UTF-8 spoil their own line only.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as handle:
            for number, payload in _csv(handle) if path.suffix.lower() == ".csv" else json_lines(handle):
                if isinstance(payload, str):
                    bad.append(BadLine(number, payload))
                    continue
                try:
                    record, sale = parse_image(payload, defaults)
                except Invalid as error:
                    bad.append(BadLine(number, error.message))
                else:
                    lines.append(ImageLine(number, record, sale))
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}; check the name") from error
    except (OSError, csv.Error) as error:
        raise Invalid(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return ImageFile(lines, bad)


def parse_image(
    payload: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> tuple[ImageRecord, Mapping[str, Any] | None]:
    """One image as it arrives, and the sale that rides along.

    Raises:
        Invalid: with every field that is wrong, in one line.
    """
    given = {**(defaults or {}), **{name: value for name, value in payload.items() if value is not None}}
    sale = given.pop("sale", None)
    if sale is not None and not isinstance(sale, Mapping):
        raise Invalid("sale: must be an object")
    try:
        return ImageRecord.model_validate(given), sale
    except ValidationError as error:
        raise Invalid(reasons(error)) from error


def reasons(error: ValidationError) -> str:
    """What a validation found wrong, field by field in one line, without the values."""
    found = []
    for problem in error.errors(include_url=False, include_input=False):
        field = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "missing":
            found.append(f"{field} is missing")
        elif problem["type"] == "extra_forbidden":
            found.append(f"{field} is not a known field")
        elif problem["type"] == "string_unicode":
            found.append(f"{field} is not UTF-8")
        else:
            found.append(f"{field}: {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(found)


def json_lines(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Line number and object of each line that is not blank, or the reason why there is none."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            payload = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            yield number, f"is not JSON: {reason}"
        else:
            yield number, payload if isinstance(payload, dict) else "is not a JSON object"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _csv(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    reader = csv.reader(lines)
    header = next(reader, None)
    if header is None:
        raise csv.Error("it is empty; its first line must name the columns")
    number = reader.line_num + 1
    for cells in reader:
        # A quoted cell may go over several lines: the number is the first one's.
        first, number = number, reader.line_num + 1
        if not cells:
            continue
        if len(cells) != len(header):
            yield first, f"has {len(cells)} cells where the header names {len(header)}"
        else:
            yield first, _row(dict(zip(header, cells, strict=True)))


def _row(cells: dict[str, str]) -> dict[str, Any] | str:
    row: dict[str, Any] = {}
    for name, cell in cells.items():
        # An empty cell is a field left out; an empty prompt is refused like a missing one.
        if cell == "":
            continue
        field, _, part = name.strip().partition(".")
        if part:
            row.setdefault(field, {})[part] = cell
        elif field in _DOCUMENTS or field == "sale":
            try:
                row[field] = json.loads(cell, parse_constant=_refuse_constant)
            except ValueError:
                return f"{field}: is not JSON"
        else:
            row[field] = cell
    return row
