"""The model that this installation is configured for, loaded once per process."""

from functools import cache

from attribution.pipeline import Model, load_model
from database.settings import get_settings


@cache
def configured_model() -> Model:
    """The model that `ROYALTY_MODEL` names, or the bundled miniature.

    Raises:
        NotFound, Unavailable, Invalid: it is not on this machine, or cannot be loaded.
    """
    settings = get_settings()
    return load_model(
        settings.royalty_model, embedding=settings.royalty_embedding_model, download=settings.royalty_download
    )
