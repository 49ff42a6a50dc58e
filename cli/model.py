"""The model that this installation is configured for, loaded once per process.

Torch and diffusers take seconds to import, so this and every command that needs them imports them when it runs.
"""

from decimal import Decimal
from typing import TYPE_CHECKING

from attribution.miniature import MINIATURE_PATH

if TYPE_CHECKING:
    from attribution.pipeline import Model


def configured_model() -> "Model":
    """The model that `ROYALTY_MODEL` names, or the bundled miniature, loaded once per process.

    Raises:
        NotFound, Unavailable: it is not on this machine, or cannot be loaded.
    """
    from attribution.configured import configured_model as load

    return load()


def usual_settings(model: "Model") -> tuple[int, Decimal]:
    """Steps and guidance that pictures of this model are made with unless somebody says otherwise."""
    from attribution.method import MINIATURE_GUIDANCE, MINIATURE_STEPS

    if model.source == str(MINIATURE_PATH):
        return MINIATURE_STEPS, Decimal(str(MINIATURE_GUIDANCE))
    return 50, Decimal("7.5")
