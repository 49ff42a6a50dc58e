"""A statement as a PDF for its payee's paper and eyes: its body set by typst, with the body's bytes attached.

The same input gives the same bytes: no clock, and only the fonts that come with typst and those named. The files are
tagged (PDF/UA-1) and made for keeping (PDF/A-3a, ISO 19005-3).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typst

from settlement.money import from_decimal, minor_exponent, to_decimal
from settlement.party import Party
from settlement.statements.body import identity, parse
from settlement.statements.locale import reader

if TYPE_CHECKING:  # typst names its types in its stubs only
    from typst import PDFStandard

_TEMPLATE = Path(__file__).with_name("template.typ")
_YEARLY = Path(__file__).with_name("yearly.typ")
_ARCHIVAL: list[PDFStandard] = ["ua-1", "a-3a"]
_ERASED = Party("(erased)")
MOST_ROWS = 5_000
"""Rows of one table that are set: some 150 pages. The rest is counted and summed in words; the CSV has every row."""

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


class Renderer:
    """Renders statements, one after the other; give each thread its own.

    Args:
        fonts: directories of further fonts, for names in scripts that typst's own fonts lack (Chinese, Japanese,
            Korean, Thai, emoji). Without them such letters show as boxes, in a file that is still whole but tagged
            only, because PDF/A and PDF/UA forbid that.
    """

    def __init__(self, fonts: Sequence[Path] = ()) -> None:
        self._fonts = typst.Fonts(include_system_fonts=False, font_paths=[str(path) for path in fonts])
        self._compilers: dict[Path, typst.Compiler] = {}

    def pdf(self, body: bytes, *, number: int, issued: date, payee: Party | None, platform: Party) -> bytes:
        """The statement whose canonical body is ``body``.

        Args:
            body: the bytes as issued; they are attached as `statement.json` and their SHA-256 is on every page.
            number: the statement's gapless number.
            issued: the day of issue.
            payee: None if her personal data has been erased.
            platform: who issues the statement.
        """
        return self._document(_TEMPLATE, body, "statement.json", number, issued, payee, platform)

    def yearly(
        self, report: bytes, *, number: int, issued: date, payee: Party | None, platform: Party
    ) -> bytes:
        """The transparency report (`settlement.statements.yearly`) in these bytes, which are attached.

        Args:
            report: its canonical JSON.
            number: of the last statement in it.
            issued: the day on which that statement was issued.
            payee: None if her personal data has been erased.
            platform: who issues it.
        """
        return self._document(_YEARLY, report, "transparency.json", number, issued, payee, platform)

    def _document(
        self,
        template: Path,
        body: bytes,
        attached: str,
        number: int,
        issued: date,
        payee: Party | None,
        platform: Party,
    ) -> bytes:
        document = parse(body)
        reads = reader(payee)
        currency = document["header"]["currency"]
        frame = {
            "number": number,
            "issued": issued.isoformat(),
            "sha256": identity(body),
            "attached": attached,
            "currency": currency,
            "minor_exponent": minor_exponent(currency),
            "reader": asdict(reads),
            "days": reads.days([issued, *_days(document)]),
            "payee": _printed(payee or _ERASED),
            "platform": _printed(platform),
        }
        more = _shorten(document)
        inputs = {"body": body.decode(), "frame": json.dumps(frame | {"more": more})}
        if more:
            inputs["shown"] = json.dumps(document)
        try:
            return self._compile(template, inputs, _ARCHIVAL)
        except typst.TypstError as error:
            if "could not be displayed" not in error.message:
                raise
            return self._compile(template, inputs, [])

    def _compile(self, template: Path, inputs: dict[str, str], standards: list[PDFStandard]) -> bytes:
        compiler = self._compilers.get(template)
        if compiler is None:
            compiler = typst.Compiler(
                template, template.parent, font_paths=self._fonts, ignore_system_fonts=True
            )
            self._compilers[template] = compiler
        file = compiler.compile(format="pdf", sys_inputs=inputs, pdf_standards=standards)
        if not isinstance(file, bytes):
            raise TypeError(f"typst returned {type(file)} for a PDF")
        return file


@dataclass(frozen=True, slots=True)
class PdfInput:
    """Everything that a statement's PDF follows from; see `Renderer.pdf`."""

    body: bytes
    number: int
    issued: date
    payee: Party | None
    platform: Party

    def render(self, renderer: Renderer) -> bytes:
        """The file."""
        return renderer.pdf(
            self.body, number=self.number, issued=self.issued, payee=self.payee, platform=self.platform
        )


def write_whole(path: Path, content: bytes) -> None:
    """Write a file; one that is there is replaced whole, never half."""
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_bytes(content)
    unfinished.replace(path)


_renderer: Renderer


def start_renderer() -> None:
    """A process's one renderer, with its fonts and its compiled template."""
    global _renderer
    _renderer = Renderer()


def render_file(given: PdfInput, path: Path) -> Path:
    """Render and write a PDF in a process that `start_renderer` began; the path."""
    write_whole(path, given.render(_renderer))
    return path


def _shorten(document: dict[str, Any]) -> dict[str, object]:
    """Take the rows away that are too many, and say how many of which section, and what they come to."""
    more: dict[str, object] = {}
    # A transparency report has no such sections.
    entries = document.get("entries", {})
    sections = [(document, "earnings", "amount"), (document, "adjustments", "difference")]
    for holder, name, field in sections + [(entries, name, "amount") for name in entries]:
        rest = holder.get(name, [])[MOST_ROWS:]
        if not rest:
            continue
        del holder[name][MOST_ROWS:]
        sums: Counter[str] = Counter()
        for row in rest:
            sums[row["currency"]] += from_decimal(row[field])
        more[name] = {"rows": len(rest), "sums": [(c, to_decimal(amount)) for c, amount in sums.items()]}
    return more


def _days(part: object) -> Iterator[date]:
    """Every date in a document."""
    if isinstance(part, dict):
        part = list(part.values())
    if isinstance(part, list):
        for item in part:
            yield from _days(item)
    elif isinstance(part, str) and _DAY.fullmatch(part):
        with suppress(ValueError):
            day = date.fromisoformat(part)
            yield from (day, day - timedelta(days=1))  # a period's last day is the one before its end


def _printed(party: Party) -> dict[str, object]:
    contact = (party.email, f"Tax id {party.tax_id}" if party.tax_id else None)
    return {
        "name": party.name,
        "address": party.address.lines() if party.address else [],
        "contact": [line for line in contact if line],
    }
