"""Read pictures for an IP-Adapter: the embeddings that image prompts are logged by."""

import hashlib
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Picture
from transformers import CLIPVisionModelWithProjection

from attribution.embedding import TowerEmbedder
from attribution.pipeline import Model, embedding_digest, read_preprocessing
from database.errors import Invalid, NotFound


class ImageEncoder:
    """Reads pictures for an IP-Adapter.

    Args:
        model: the loaded pipeline, whose device is used.
        folder: of a CLIP vision model with its `preprocessor_config.json`; None takes the model's own image tower.

    Raises:
        Invalid: the folder holds none.
    """

    def __init__(self, model: Model, folder: Path | None = None) -> None:
        tower, preprocessing, sha256 = model.tower, model.preprocessing, model.embedding_sha256
        if folder is not None:
            preprocessing, sha256 = read_preprocessing(folder), embedding_digest(folder)
            try:
                tower = CLIPVisionModelWithProjection.from_pretrained(
                    folder, dtype=model.dtype, local_files_only=True, use_safetensors=True
                )
            except (OSError, ValueError, KeyError) as error:
                raise Invalid(
                    f"{folder} holds no CLIP vision model: give the image encoder's folder"
                ) from error
            tower = tower.to(model.device).eval().requires_grad_(False)
        self._embedder = TowerEmbedder(
            lambda values: tower(pixel_values=values).image_embeds, preprocessing, model, sha256
        )

    def embed_file(self, file: Path) -> tuple[bytes, bytes]:
        """The embedding of a picture's file, and the SHA-256 of the file.

        Raises:
            NotFound: there is no such file.
            Invalid: it is no picture.
        """
        try:
            content = file.read_bytes()
        except OSError as error:
            raise NotFound(f"there is no picture {file}; check the name") from error
        try:
            picture = Picture.open(io.BytesIO(content)).convert("RGB")
        except (OSError, ValueError, SyntaxError, Picture.DecompressionBombError) as error:
            raise Invalid(f"{file} is no picture that can be opened: give a PNG or JPEG") from error
        return self.embed(picture), hashlib.sha256(content).digest()

    def embed(self, picture: Picture.Image) -> bytes:
        """The embedding of a picture as it is logged: fp32 little-endian, not normalised."""
        pixels = torch.from_numpy(np.array(picture.convert("RGB")))[None]
        return self._embedder.vectors(pixels)[0].numpy().astype("<f4").tobytes()
