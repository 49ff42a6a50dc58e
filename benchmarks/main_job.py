"""The main job by stage, on the miniature and an embedded server of its own: log, attribute, sell, close, write files.

python -m benchmarks.main_job [--quick] [--json FILE]
"""

import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from benchmarks.harness import Bench, run

_PERIOD = "2026-09"


def measure(bench: Bench) -> None:
    """Run every stage once, in a data directory that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="royalty-benchmark-") as home:
        Path(home).chmod(0o755)  # as root the server runs as a user of its own
        os.environ["ROYALTY_HOME"] = home
        for name in ("DATABASE_URL", "BROKER_URL", "ROYALTY_MODEL", "DATABASE_NAME"):
            os.environ.pop(name, None)
        from database.engine import embedded_server

        try:
            _measure(bench)
        finally:
            embedded_server().stop()


def _measure(bench: Bench) -> None:
    # Imported here: the settings are read at the first use, which must be after the directory is chosen.
    from dataclasses import replace

    from attribution.generate import pipeline_settings
    from attribution.generation import ImageRecord
    from attribution.ingest import log_images
    from attribution.prompt_file import read_prompts
    from attribution.results import attributed_images
    from cli.images import generate
    from cli.model import configured_model
    from cli.periods import approve_draft, close_period, hand_in
    from cli.statements import export_statements
    from database.engine import session
    from database.migrate import migrate
    from database.roles import Role
    from settlement.audit.verify import verify
    from settlement.catalogue_file import load_catalogue
    from settlement.sales import SaleRecord, record_sales

    bundled = Path(__file__).parent.parent / "cli" / "bundled" / "miniature"
    images = 16 if bench.quick else 60
    logged = 2_000 if bench.quick else 20_000
    sales = 2_000 if bench.quick else 50_000

    with bench.stage("set up"):
        migrate()
        with session(Role.SETTLEMENT) as opened:
            load_catalogue(opened, bundled / "catalogue.yaml", actor="benchmark", reason="benchmark")
        with session(Role.AUDITOR) as opened:
            bench.note_server(opened)
        model = configured_model()

    prompts = read_prompts(bundled / "prompts.txt")
    with bench.stage("generate and log") as stage:
        made = generate(replace(prompts, lines=prompts.lines[:images]))
    bench.add("images generated and logged", stage.rate(images), "images/s")

    names = [line.external_id for line in made.lines]
    with bench.stage("attribute, in a worker process, its start included") as stage:
        worker = subprocess.Popen(
            [sys.executable, "-m", "attribution.worker"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            done = 0
            while done < images:
                time.sleep(0.2)
                if worker.poll() is not None:
                    raise RuntimeError(f"the worker ended with {worker.returncode}")
                with session(Role.ATTRIBUTION) as opened:
                    done = len(attributed_images(opened, names))
        finally:
            worker.terminate()
            worker.wait()
    bench.add("images attributed", stage.rate(images), "images/s", at_least=1.0)

    fixed = pipeline_settings(model)
    records = [
        ImageRecord(
            external_id=f"elsewhere-{number}",
            prompt=prompts.lines[number % len(prompts.lines)].request.prompt,
            seed=number,
            steps=12,
            guidance=Decimal(3),
            **fixed,
        )
        for number in range(logged)
    ]
    with bench.stage("log images made elsewhere") as stage, session(Role.ATTRIBUTION) as opened:
        log_images(opened, records)
    bench.add("images logged", stage.rate(logged), "images/s", at_least=2_000)

    events = [
        SaleRecord.model_validate(
            {
                "external_id": f"sale-{number}",
                "image": names[number % images],
                "sold_at": datetime(2026, 9, 1 + number % 28, 12, tzinfo=UTC),
                "territory": "DE",
                "currency": "EUR",
                "price": "11.90",
                "tax": "1.90",
            }
        )
        for number in range(sales)
    ]
    with bench.stage("record and post sales") as stage, session(Role.SETTLEMENT) as opened:
        record_sales(opened, events, actor="benchmark")
    bench.add("sales recorded and posted", stage.rate(sales), "sales/s")

    with bench.stage("calculate and approve") as stage:
        draft = hand_in(_PERIOD, "maker")
        approve_draft(_PERIOD, "checker", draft.sha256.hex())
    bench.add("sales calculated", stage.rate(sales), "sales/s")
    with bench.stage("close") as stage:
        closing = close_period(_PERIOD, "maker")
    bench.add("sales settled", stage.rate(sales), "sales/s")

    with tempfile.TemporaryDirectory() as directory, bench.stage("write JSON, CSV and PDF") as stage:
        export_statements(_PERIOD, Path(directory))
    bench.add("statements written", stage.rate(closing.statements), "statements/s")

    with bench.stage("verify") as stage, session(Role.AUDITOR) as opened:
        report = verify(opened)
    if not report.ok:
        raise RuntimeError("the books do not verify")
    bench.add("lines verified", stage.rate(closing.totals.lines), "lines/s")


if __name__ == "__main__":
    sys.exit(run("main_job", measure))
