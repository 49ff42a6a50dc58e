"""Files of images: good lines in, bad ones with number and reason, sales passed on unread."""

import csv
import json
from pathlib import Path

import pytest

from attribution.image_file import ImageFile, read_images
from database.errors import Invalid, NotFound
from tests.attribution.image_examples import payload


def bad(read: ImageFile) -> dict[int, str]:
    return {line.number: line.reason for line in read.bad}


def test_json_lines_good_and_bad(tmp_path: Path) -> None:
    without_seed = payload("no-seed")
    del without_seed["seed"]
    lines = [
        json.dumps(payload("plain")).encode(),
        b'{"external_id": "broken", ',
        json.dumps(payload("empty", prompt="")).encode(),
        json.dumps(payload("emoji", prompt="🎨🐈 by Klimt"), ensure_ascii=False).encode(),
        b"",
        json.dumps(payload("long", prompt="word " * 200)).encode(),
        json.dumps(without_seed).encode(),
        json.dumps(payload("latin", prompt="caf?")).encode().replace(b"caf?", b"caf\xe9"),
        b"[1, 2]",
        b'{"external_id": NaN}',
        json.dumps(payload("typo", promt="x", steps="many")).encode(),
        json.dumps(payload("surrogate", prompt="\ud83d")).encode(),
        b"[" * 100_000,
        json.dumps(payload("last", seed=str(2**62))).encode(),
    ]
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines) + b"\n")
    read = read_images(path)
    assert [(line.number, line.record.external_id) for line in read.lines] == [
        (1, "plain"), (4, "emoji"), (6, "long"), (14, "last"),
    ]  # fmt: skip
    reasons = bad(read)
    assert list(reasons) == [2, 3, 7, 8, 9, 10, 11, 12, 13]
    assert reasons[2].startswith("is not JSON")
    assert reasons[3] == "prompt: is empty"
    assert reasons[7] == "seed is missing"
    assert reasons[8] == "prompt is not UTF-8"
    assert reasons[9] == "is not a JSON object"
    assert "steps: " in reasons[11] and "promt is not a known field" in reasons[11]
    assert read.lines[-1].record.seed == 2**62


def test_csv_with_settings_a_sale_and_cells_over_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.CSV"
    fields = [*payload(), "artists", "sale.external_id", "sale.amount"]
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(fields)
        for external_id, prompt in (("one", 'two\nlines, quoted "x"'), ("two", ""), ("three", "a cat")):
            cells = payload(external_id, prompt=prompt)
            cells["scheduler_config"] = json.dumps(cells["scheduler_config"])
            writer.writerow([*cells.values(), '["klimt"]' if external_id == "one" else "", "s-1", "9.99"])
        handle.write("four,too short\n")
    read = read_images(path)
    assert [(line.number, line.record.external_id) for line in read.lines] == [(2, "one"), (5, "three")]
    assert read.lines[0].record.prompt == 'two\nlines, quoted "x"'
    assert read.lines[0].record.artists == ["klimt"] and read.lines[1].record.artists is None
    assert read.lines[0].sale == {"external_id": "s-1", "amount": "9.99"}
    assert bad(read) == {4: "prompt is missing", 6: f"has 2 cells where the header names {len(fields)}"}


def test_lines_may_leave_out_what_the_installation_knows(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"external_id": "a", "prompt": "a cat", "seed": 1, "sale": {"amount": 1}}\n')
    defaults = {
        name: value for name, value in payload().items() if name not in ("external_id", "prompt", "seed")
    }
    (line,) = read_images(path, defaults).lines
    assert (line.record.model, line.sale) == ("miniature", {"amount": 1})
    assert "steps is missing" in bad(read_images(path))[1]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no file"):
        read_images(tmp_path / "absent.jsonl")
    with pytest.raises(Invalid, match="cannot be read: Is a directory"):
        read_images(tmp_path)
    (tmp_path / "empty.csv").touch()
    with pytest.raises(Invalid, match="empty; its first line must name the columns"):
        read_images(tmp_path / "empty.csv")
