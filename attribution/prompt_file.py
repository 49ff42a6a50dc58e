"""Files of prompts to generate from: one prompt a line, or JSON Lines with settings; bad lines listed with reasons."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from attribution.generation import Name, Words
from attribution.image_file import BadLine, json_lines, reasons
from database.errors import Invalid, NotFound
from database.moments import Moment


class PromptRequest(BaseModel):
    """A picture to make. What is left out, the generator decides."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: Words
    negative_prompt: Words = ""
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    guidance: Annotated[Decimal, Field(ge=0, le=1000, allow_inf_nan=False, max_digits=12)] | None = None
    width: Annotated[int, Field(ge=8, le=4096, multiple_of=8)] | None = None
    """Pixels."""
    height: Annotated[int, Field(ge=8, le=4096, multiple_of=8)] | None = None
    external_id: Name | None = None
    customer: Name | None = None
    artists: list[Name] | None = None
    generated_at: Moment | None = None

    @field_validator("prompt")
    @classmethod
    def _not_empty(cls, prompt: str) -> str:
        if not prompt.strip():
            raise ValueError("is empty")
        return prompt


@dataclass(frozen=True, slots=True)
class PromptLine:
    """A line that can be generated."""

    number: int
    """Of the line in the file, from 1."""
    request: PromptRequest
    sale: Mapping[str, Any] | None = None
    """What the line says about a sale, unread."""


@dataclass(frozen=True, slots=True)
class PromptFile:
    """What a file of prompts holds."""

    name: str
    """Takes part in the images' external ids: the same line of the same file is the same image."""
    lines: list[PromptLine]
    bad: list[BadLine]


def read_prompts(path: Path) -> PromptFile:
    """Read prompts: JSON Lines if the name ends in `.jsonl` or `.json`, otherwise each line is a prompt as it stands.

    Raises:
        NotFound: there is no such file.
        Invalid: the file cannot be read.
    """
    lines: list[PromptLine] = []
    bad: list[BadLine] = []
    try:
        # Bytes that are not UTF-8 spoil their own line only.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline=None) as handle:
            for number, payload in (
                json_lines(handle) if path.suffix.lower() in (".jsonl", ".json") else _text(handle)
            ):
                if isinstance(payload, str):
                    bad.append(BadLine(number, payload))
                    continue
                given = {name: value for name, value in payload.items() if value is not None}
                sale = given.pop("sale", None)
                if sale is not None and not isinstance(sale, Mapping):
                    bad.append(BadLine(number, "sale: must be an object"))
                    continue
                try:
                    lines.append(PromptLine(number, PromptRequest.model_validate(given), sale))
                except ValidationError as error:
                    bad.append(BadLine(number, reasons(error)))
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}; check the name") from error
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}") from error
    return PromptFile(path.name, lines, bad)


def _text(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        yield number, {"prompt": line.rstrip("\n")}
