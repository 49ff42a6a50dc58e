"""The image files of this installation: PNGs under `ROYALTY_HOME/images`."""

import base64
import hashlib
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as Picture

from database.errors import Invalid, Unavailable
from database.settings import get_settings


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A file under the images directory."""

    name: str
    sha256: bytes


def images_directory() -> Path:
    """Where files named in the generation log lie."""
    return get_settings().royalty_home / "images"


def store_picture(external_id: str, picture: Picture.Image) -> StoredPicture:
    """Write a picture as PNG, whole or not at all. The name comes from the external id and the picture's own digest:
    storing it again changes nothing, and another picture under the same id never takes the place of one that is logged.

    Raises:
        Unavailable: the images directory cannot be written.
    """
    written = io.BytesIO()
    picture.save(written, format="PNG")
    sha256 = hashlib.sha256(written.getbuffer())
    digest = hashlib.sha256(external_id.encode()).hexdigest()
    # Folders of a two-hundred-and-fifty-sixth each: a directory of a million files is slow to list.
    name = f"{digest[:2]}/{digest[2:32]}-{sha256.hexdigest()[:16]}.png"
    path = images_directory() / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            part = Path(scratch) / path.name
            part.write_bytes(written.getbuffer())
            part.replace(path)
    except OSError as error:
        raise Unavailable(
            f"{path.parent} cannot be written ({error.strerror}); free some disk space or set ROYALTY_HOME"
        ) from error
    return StoredPicture(name, sha256.digest())


def open_picture(name: str, sha256: bytes | None) -> Picture.Image | None:
    """The picture of a log entry as RGB; None if the file is not here.

    Raises:
        Invalid: a file is here, and it is damaged or another one than was logged.
    """
    try:
        content = (images_directory() / name).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "its name is none"
        raise Invalid(f"the logged file {name} cannot be read ({why}): put it back, then retry") from error
    if sha256 is not None and hashlib.sha256(content).digest() != sha256:
        raise Invalid(f"the file {name} is not the one that was logged: put that one back, then retry")
    try:
        return Picture.open(io.BytesIO(content)).convert("RGB")
    except (OSError, ValueError, SyntaxError, Picture.DecompressionBombError) as error:
        raise Invalid(
            f"the logged file {name} is no picture that can be opened: log the right one"
        ) from error


SHOWN = 384
"""Longest side of a picture in a page, in pixels: larger ones are scaled down."""


def data_uri(picture: Picture.Image) -> str:
    """A picture as a `data:` address for a page that stands alone; small ones exactly, large ones scaled down."""
    written = io.BytesIO()
    if max(picture.size) <= SHOWN:
        picture.save(written, format="PNG", optimize=True)
        kind = "png"
    else:
        smaller = picture.convert("RGB")
        smaller.thumbnail((SHOWN, SHOWN))
        smaller.save(written, format="JPEG", quality=88)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(written.getbuffer()).decode()}"
