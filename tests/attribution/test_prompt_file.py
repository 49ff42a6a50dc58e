"""Files of prompts: every line that can be generated is, every other is named."""

import json
from pathlib import Path

import pytest

from attribution.prompt_file import read_prompts
from database.errors import NotFound


def test_a_text_file_is_a_prompt_a_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(
        '\ufeffa cat by Klimt\r\n\r\n🎨 "quoted" # not a comment\n'.encode()
        + b"caf\xe9 at night\n"
        + ("word " * 200).encode()
        + b"\nnul \0\nx"
    )
    read = read_prompts(path)
    assert read.name == "mine.txt"
    assert [line.number for line in read.lines] == [1, 3, 5, 7]
    assert [line.request.prompt for line in read.lines[:2]] == [
        "a cat by Klimt",
        '🎨 "quoted" # not a comment',
    ]
    assert [(line.number, line.reason) for line in read.bad] == [
        (2, "prompt: is empty"),
        (4, "prompt is not UTF-8"),
        (6, "prompt: a NUL character cannot be stored"),
    ]


def test_json_lines_carry_settings_and_a_sale(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(
        json.dumps({"prompt": "a cat", "seed": 3, "steps": 4, "guidance": 2.5, "sale": {"price": "1.00"}})
        + '\n{"prompt": "a dog", "seed": null}\nnot json\n{"seed": 1}\n{"prompt": "x", "stepz": 1}\n'
        + '{"prompt": "x", "sale": 1}\n'
    )
    read = read_prompts(path)
    assert [(line.number, line.request.seed, line.sale) for line in read.lines] == [
        (1, 3, {"price": "1.00"}),
        (2, None, None),
    ]
    assert [(line.number, line.reason) for line in read.bad] == [
        (3, "is not JSON: Expecting value"),
        (4, "prompt is missing"),
        (5, "stepz is not a known field"),
        (6, "sale: must be an object"),
    ]


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"absent\.txt"):
        read_prompts(tmp_path / "absent.txt")
