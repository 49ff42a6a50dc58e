"""Images as a platform would report them."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from attribution.generation import ImageRecord

SCHEDULER_CONFIG = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "_diffusers_version": "0.42.1",
}


def payload(external_id: str = "img-1", **changes: Any) -> dict[str, Any]:
    """An image's fields as JSON carries them."""
    return {
        "external_id": external_id,
        "prompt": "a castle by Gustav Klimt",
        "seed": 7,
        "steps": 2,
        "guidance": 7.5,
        "width": 64,
        "height": 64,
        "scheduler": "DDIMScheduler",
        "scheduler_config": SCHEDULER_CONFIG,
        "model": "miniature",
        "weights_sha256": "ab" * 32,
        **changes,
    }


def record(external_id: str = "img-1", **changes: Any) -> ImageRecord:
    return ImageRecord.model_validate(payload(external_id, **changes))


def a_method(session: Session) -> int:
    """A registered method version, for tests that compute nothing."""
    return int(
        session.scalar(
            text(
                "INSERT INTO attribution.method_version (sha256, name, document)"
                " VALUES (sha256('test'), 'test', '{}') RETURNING id"
            )
        )
    )
