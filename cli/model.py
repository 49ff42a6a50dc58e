"""The model that this installation is configured for, loaded once per process."""

from decimal import Decimal
from functools import cache

from attribution.method import MINIATURE_GUIDANCE, MINIATURE_STEPS
from attribution.miniature import MINIATURE_PATH
from attribution.pipeline import Model, load_model
from database.settings import get_settings


@cache
def configured_model() -> Model:
    """The model that `ROYALTY_MODEL` names, or the bundled miniature.

    Raises:
        NotFound, Unavailable: it is not on this machine, or cannot be loaded.
    """
    settings = get_settings()
    return load_model(
        settings.royalty_model, embedding=settings.royalty_embedding_model, download=settings.royalty_download
    )


def usual_settings(model: Model) -> tuple[int, Decimal]:
    """Steps and guidance that pictures of this model are made with unless somebody says otherwise."""
    if model.source == str(MINIATURE_PATH):
        return MINIATURE_STEPS, Decimal(str(MINIATURE_GUIDANCE))
    return 50, Decimal("7.5")
