"""`royalty images`: make and log images, or take the log of a platform that makes them elsewhere."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attribution.ingest import Outcome, Status, log_images
from cli.import_report import report
from cli.operator import operator
from cli.screen import progress, show, table
from database.engine import session
from database.errors import Invalid
from database.roles import Role
from settlement.sales import SaleRecord, parse_sale, record_sales

if TYPE_CHECKING:
    from attribution.generate import Generated
    from attribution.prompt_file import PromptFile

group = typer.Typer(no_args_is_help=True, help="Images: generate and log, or import a log.")


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    app.add_typer(group, name="images")


@group.command("generate")
def generate_command(
    file: Annotated[
        Path, typer.Argument(help="A prompt on each line, or JSON Lines with settings; docs/images.md.")
    ],
    steps: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Denoising steps (default: the model's usual).")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(min=0, help="Guidance scale (default: the model's usual).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Line n is made with seed + n.")] = 0,
    customer: Annotated[
        str | None, typer.Option(help="The platform's opaque id of who ordered them.")
    ] = None,
) -> None:
    """Make an image of every prompt and log it. Stopped half-way, run it again: nothing is made twice."""
    from attribution.prompt_file import read_prompts

    actor = operator("images:write").username
    made = generate(
        read_prompts(file),
        steps=steps,
        guidance=None if guidance is None else Decimal(str(guidance)),
        seed=seed,
        customer=customer,
    )
    if made.bad:
        show(
            table(
                "Lines left out",
                ("line", "why"),
                [(bad.number, bad.reason) for bad in made.bad],
                right=("line",),
            )
        )
    recorded = sum(1 for line in made.lines if line.status is Status.RECORDED)
    known = len(made.lines) - recorded
    show(f"images: {recorded} made and logged, {known} known already, {len(made.bad)} lines left out")
    _record_inline_sales(
        [(line.number, line.external_id, line.sale) for line in made.lines if line.sale], actor
    )
    if recorded:
        show("next: `royalty worker` attributes them, `royalty attribution status` shows how far it is")


def generate(
    prompts: "PromptFile",
    *,
    steps: int | None = None,
    guidance: Decimal | None = None,
    seed: int = 0,
    customer: str | None = None,
) -> "Generated":
    """Make and log the images of a prompt file on the configured model, with a progress bar."""
    from attribution.generate import generate_images
    from attribution.registration import configured_method
    from attribution.render import RenderEngine
    from cli.model import configured_model, usual_settings

    model = configured_model()
    with session(Role.ATTRIBUTION) as opened:
        method = configured_method(opened, model)
    usual_steps, usual_guidance = usual_settings(model)
    with progress("rendering") as advance:
        return generate_images(
            prompts,
            # The batch shape that attribution renders with, so that it finds the very same picture again.
            RenderEngine(model, bucket=method.buckets[0], threads=method.threads),
            steps=steps or usual_steps,
            guidance=usual_guidance if guidance is None else guidance,
            seed=seed,
            customer=customer,
            progress=advance,
        )


@group.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(help="JSON Lines or CSV; docs/images.md has the fields.")],
    this_model: Annotated[
        bool,
        typer.Option(
            "--this-model",
            help="Lines that leave out model, weights, scheduler or size were made with the configured model as it is.",
        ),
    ] = False,
) -> None:
    """Log images that were made elsewhere, with their sales where a line carries one."""
    from attribution.image_file import read_images

    actor = operator("images:write").username
    given = read_images(file, _settings_of_this_model() if this_model else None)
    with session(Role.ATTRIBUTION) as opened:
        outcomes = log_images(opened, [line.record for line in given.lines])
    report("images", [line.number for line in given.lines], outcomes, given.bad)
    taken = [
        (line.number, outcome.external_id, line.sale)
        for line, outcome in zip(given.lines, outcomes, strict=True)
        if line.sale and outcome.status is not Status.REFUSED
    ]
    _record_inline_sales(taken, actor)


def _settings_of_this_model() -> dict[str, Any]:
    from attribution.generate import pipeline_settings
    from cli.model import configured_model

    return pipeline_settings(configured_model())


def _record_inline_sales(sales: Sequence[tuple[int, str, Mapping[str, Any] | None]], actor: str) -> None:
    """Record the sales that rode along with images: a second file's worth of outcomes."""
    numbers: list[int] = []
    records: list[SaleRecord] = []
    refused: list[tuple[int, Outcome]] = []
    for number, image, sale in sales:
        try:
            records.append(parse_sale(sale or {}, image))
            numbers.append(number)
        except Invalid as error:
            refused.append((number, Outcome(image, Status.REFUSED, f"its sale: {error.message}")))
    if not sales:
        return
    with session(Role.SETTLEMENT) as opened:
        outcomes = record_sales(opened, records, actor=actor)
    report(
        "sales",
        [*numbers, *(number for number, _ in refused)],
        [*outcomes, *(outcome for _, outcome in refused)],
        [],
    )
