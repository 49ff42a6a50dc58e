"""The harness: figures, targets, table and JSON."""

import io
import json
import signal
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy.orm import Session

from benchmarks.harness import Bench, Figure, describe_machine, run


@pytest.fixture
def bench() -> Bench:
    return Bench(quick=True, console=Console(file=io.StringIO()), machine={})


@pytest.mark.parametrize(
    ("value", "bounds", "target", "met"),
    [
        (5, {}, "", None),
        (5, {"at_least": 5}, ">= 5", True),
        (5, {"at_least": 6}, ">= 6", False),
        (5, {"at_most": 5}, "<= 5", True),
        (5, {"at_most": 4.5}, "<= 4.5", False),
        (5, {"at_least": 6, "at_most": 7}, ">= 6 and <= 7", False),
        (8, {"at_least": 6, "at_most": 7}, ">= 6 and <= 7", False),
        (6.5, {"at_least": 6, "at_most": 7}, ">= 6 and <= 7", True),
    ],
)
def test_a_target_is_met_or_not(
    bench: Bench, value: float, bounds: dict, target: str, met: bool | None
) -> None:
    assert bench.add("speed", value, "images/s", **bounds) == Figure("speed", value, "images/s", target, met)


def test_a_figure_is_noted_once(bench: Bench) -> None:
    bench.add("speed", 1, "images/s")
    with pytest.raises(ValueError, match="speed"):
        bench.add("speed", 2, "images/s")


def test_a_stage_is_timed_also_when_it_fails(bench: Bench) -> None:
    with pytest.raises(RuntimeError), bench.stage("render") as stage:
        raise RuntimeError
    assert stage.seconds > 0
    stage.seconds = 0.5
    assert stage.rate(10) == 20


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_cleans_up_and_prints_what_it_has(told: signal.Signals) -> None:
    output, cleaned = io.StringIO(), []

    def measure(bench: Bench) -> None:
        bench.add("counted", 7, "apples")
        assert "counted: 7 apples" in output.getvalue()
        try:
            signal.raise_signal(told)
        finally:
            cleaned.append(told)

    before = signal.getsignal(signal.SIGTERM)
    # Whoever runs the tests in the background of a script has Ctrl-C ignored.
    ctrl_c = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert run("numbers", measure, [], Console(file=output, width=120)) == 130
    finally:
        signal.signal(signal.SIGINT, ctrl_c)
    assert cleaned == [told] and signal.getsignal(signal.SIGTERM) is before
    shown = output.getvalue()
    assert shown.count("counted") == 2 and "Interrupted: these are the figures so far." in shown


def test_run_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    def measure(bench: Bench) -> None:
        with bench.stage("count") as stage:
            total = sum(range(1000 if bench.quick else 10**9))
        bench.add("counted", total, "", at_least=1)
        bench.add("time", stage.seconds, "s", at_most=0)
        bench.machine["server"] = "embedded"

    output = io.StringIO()
    file = tmp_path / "figures.json"
    assert run("counting", measure, ["--quick", "--json", str(file)], Console(file=output, width=120)) == 0

    written = json.loads(file.read_text())
    assert written["benchmark"] == "counting"
    assert written["quick"] is True
    assert written["machine"]["server"] == "embedded"
    assert written["figures"][0] == {
        "name": "counted",
        "value": 499500,
        "unit": "",
        "target": ">= 1",
        "met": True,
    }
    assert written["figures"][1]["met"] is False
    printed = output.getvalue()
    for word in ("counting (quick)", "figure", "value", "unit", "target", "met", "499,500", "yes", "no"):
        assert word in printed


def test_a_missing_directory_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(bench: Bench) -> None:
        raise AssertionError("measured first")

    with pytest.raises(SystemExit) as stop:
        run("counting", measure, ["--json", str(tmp_path / "missing" / "figures.json")])
    assert stop.value.code == 2
    assert "does not exist" in capsys.readouterr().err


def test_whole_numbers_above_zero_say_how_much(capsys: pytest.CaptureFixture[str]) -> None:
    given: list[dict[str, int]] = []

    def measure(bench: Bench) -> None:
        given.append(bench.numbers)

    console = Console(file=io.StringIO())
    numbers = {"images": "how many", "payees": "how many"}
    assert run("counting", measure, ["--images", "7"], console, numbers=numbers) == 0
    assert given == [{"images": 7}]
    for wrong in ("0", "-1", "x"):
        with pytest.raises(SystemExit):
            run("counting", measure, ["--images", wrong], console, numbers=numbers)
    assert "above zero" in capsys.readouterr().err


def test_the_machine_is_described() -> None:
    machine = describe_machine()
    assert str(machine["torch"]).startswith("2.13")
    assert int(machine["cores"]) >= 1
    assert int(machine["memory_bytes"]) > 2**28
    json.dumps(machine)


def test_the_server_is_noted(bench: Bench, db: Session) -> None:
    bench.note_server(db)
    assert str(bench.machine["postgres"]).startswith("18.")
    assert bench.machine["postgres_fsync"] in ("on", "off")
