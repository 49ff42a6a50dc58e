"""`royalty images`: make and log images, or take the log of a platform that makes them elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from pydantic import ValidationError

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
    from attribution.generation import Adapter, ImagePrompt
    from attribution.pipeline import Model
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
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ARTIST=FILE[@SCALE]",
            help="Make them with a LoRA that belongs to this artist; several times.",
        ),
    ] = None,
    image_prompt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ARTIST=FILE[@SCALE]", help="Make them from a picture of this artist; several times."
        ),
    ] = None,
    image_adapter: Annotated[
        Path | None,
        typer.Option(help="The IP-Adapter that sees --image-prompt (default for the miniature: its own)."),
    ] = None,
    image_encoder: Annotated[
        Path | None,
        typer.Option(help="Folder of the CLIP that reads --image-prompt (default: the model's image tower)."),
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
        adapters=[_owned(given, "--adapter") for given in adapter or ()],
        image_prompts=[_owned(given, "--image-prompt") for given in image_prompt or ()],
        image_adapter=image_adapter,
        image_encoder=image_encoder,
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


@dataclass(frozen=True, slots=True)
class OwnedFile:
    """A LoRA or a picture to make images with, and whose it is."""

    artist: str
    """Id of the artist it belongs to."""
    file: Path
    scale: Decimal = Decimal(1)


def _owned(given: str, option: str) -> OwnedFile:
    artist, _, named = given.partition("=")
    file, at, scale = named.rpartition("@")
    try:
        found = OwnedFile(artist, Path(file), Decimal(scale)) if at else OwnedFile(artist, Path(named))
    except InvalidOperation:
        found = OwnedFile(artist, Path(named))  # an @ of the file's own name
    if not artist or not named:
        raise Invalid(f"{option} {given!r} says not whose it is: write ARTIST=FILE or ARTIST=FILE@SCALE")
    return found


def generate(
    prompts: "PromptFile",
    *,
    steps: int | None = None,
    guidance: Decimal | None = None,
    seed: int = 0,
    customer: str | None = None,
    adapters: Sequence[OwnedFile] = (),
    image_prompts: Sequence[OwnedFile] = (),
    image_adapter: Path | None = None,
    image_encoder: Path | None = None,
) -> "Generated":
    """Make and log the images of a prompt file on the configured model, with a progress bar.

    Args:
        prompts: as read.
        steps: of lines that name none; None is the model's usual number.
        guidance: likewise.
        seed: line n is made with this plus n, unless it names one.
        customer: the platform's opaque id of who ordered them.
        adapters: LoRA files to make all of them with; each is kept where workers find it.
        image_prompts: pictures to make all of them from; only their embeddings are kept.
        image_adapter: the IP-Adapter that sees pictures; None is the miniature's.
        image_encoder: folder of the CLIP that reads them; None is the model's image tower.

    Raises:
        NotFound, Invalid: a file is not there, or not for this model.
    """
    from attribution.generate import generate_images
    from attribution.image_file import reasons
    from attribution.registration import configured_method
    from attribution.render import RenderEngine
    from cli.model import configured_model, usual_settings

    model = configured_model()
    made_with = _made_with(model, adapters, image_prompts, image_adapter, image_encoder)
    with session(Role.ATTRIBUTION) as opened:
        method = configured_method(opened, model)
    usual_steps, usual_guidance = usual_settings(model)
    try:
        with progress("rendering") as advance:
            return generate_images(
                prompts,
                # The batch shape that attribution renders with, so that it finds the very same picture again.
                RenderEngine(model, bucket=method.buckets[0], threads=method.threads),
                steps=steps or usual_steps,
                guidance=usual_guidance if guidance is None else guidance,
                seed=seed,
                customer=customer,
                adapters=made_with.adapters,
                image_prompts=made_with.image_prompts,
                progress=advance,
            )
    except ValidationError as error:  # such as a picture named twice
        raise Invalid(reasons(error)) from error


class _MadeWith(NamedTuple):
    """What images are made with, as it is logged."""

    adapters: "list[Adapter]"
    image_prompts: "list[ImagePrompt]"


def _made_with(
    model: "Model",
    adapters: Sequence[OwnedFile],
    image_prompts: Sequence[OwnedFile],
    image_adapter: Path | None,
    image_encoder: Path | None,
) -> _MadeWith:
    """Keep the files where workers find them, and read the pictures."""
    from attribution.adapters import Adapters, store_adapter
    from attribution.generation import Adapter, ImagePrompt
    from attribution.image_encoder import ImageEncoder
    from attribution.image_file import reasons
    from attribution.image_prompts import AppliedImagePrompt, ImageAdapters
    from attribution.miniature import IMAGE_ADAPTER_PATH
    from attribution.pipeline import public_name

    try:
        used = [
            Adapter(sha256=store_adapter(one.file), scale=one.scale, artist=one.artist) for one in adapters
        ]
        loras = Adapters(model.pipeline)
        for adapter in used:
            loras.load(adapter.sha256.hex())
        if not image_prompts:
            return _MadeWith(used, [])
        if image_adapter is None and public_name(model.source) != "miniature":
            raise Invalid("--image-prompt needs an IP-Adapter for this model: --image-adapter FILE")
        sha256 = store_adapter(image_adapter or IMAGE_ADAPTER_PATH)
        encoder = ImageEncoder(model, image_encoder)
        shown = []
        for one in image_prompts:
            embedding, picture_sha256 = encoder.embed_file(one.file)
            shown.append(
                ImagePrompt(
                    adapter_sha256=sha256,
                    embedding=embedding,
                    picture_sha256=picture_sha256,
                    scale=one.scale,
                    artist=one.artist,
                )
            )
    except ValidationError as error:
        raise Invalid(reasons(error)) from error
    ImageAdapters(model).check(
        [AppliedImagePrompt(sha256.hex(), float(one.scale), one.embedding) for one in shown]
    )
    return _MadeWith(used, shown)


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
