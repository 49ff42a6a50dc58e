"""Load a Stable Diffusion pipeline with its image embedding, and say exactly which weights they are.

The bundled miniature, a folder and a model of the Hugging Face hub go through the same code; nothing is downloaded
unless that is allowed.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from transformers import CLIPVisionModelWithProjection
from transformers.utils import logging as transformers_logging

from attribution.miniature import MINIATURE_PATH
from database.errors import Invalid, NotFound, Unavailable

CLIP_LARGE = "openai/clip-vit-large-patch14"
"""The embedding of models that bring none of their own."""

_WEIGHTED = ("unet", "vae", "text_encoder")
_PIPELINE_FILES = [
    "model_index.json",
    "scheduler/*.json",
    "tokenizer/*",
    *(f"{part}/config.json" for part in _WEIGHTED),
    *(f"{part}/*.fp16.safetensors" for part in _WEIGHTED),
]
_EMBEDDING_FILES = ["config.json", "preprocessor_config.json", "model.safetensors"]

_digests: dict[tuple[Path, int, int], bytes] = {}
"""SHA-256 of files read before, by path, time of change and size."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What an image tower wants done to a picture: shortest edge, crop, mean and deviation of each channel."""

    edge: int
    """Length the shortest edge is scaled to, in pixels."""
    crop: tuple[int, int]
    """Height and width of the crop from the centre, in pixels."""
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


@dataclass(frozen=True)
class Model:
    """A loaded pipeline, the image tower that judges its pictures, and the hashes that identify both."""

    source: str
    """Path or hub id, for people; `weights_sha256` is what counts."""
    pipeline: StableDiffusionPipeline
    tower: CLIPVisionModelWithProjection
    preprocessing: Preprocessing
    weights_sha256: bytes
    embedding_sha256: bytes
    embedding_folder: Path
    """Where the image tower lies; the folder of a whole CLIP has its text tower too."""
    device: torch.device
    dtype: torch.dtype

    @cached_property
    def token_limit(self) -> int:
        """Length of the text window in tokens, start and end included."""
        return int(self.pipeline.tokenizer.model_max_length)

    def token_ids(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of each text, cut and padded to the window."""
        encoded = self.pipeline.tokenizer(
            list(texts), padding="max_length", max_length=self.token_limit, truncation=True
        )
        return [tuple(ids) for ids in encoded.input_ids]

    def window_end(self, prompt: str) -> int:
        """How many characters of a prompt the model sees."""
        encoded = self.pipeline.tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)
        room = self.token_limit - 2
        if len(encoded.input_ids) <= room:
            return len(prompt)
        return int(encoded.offset_mapping[room - 1][1])

    def environment(self) -> dict[str, Any]:
        """What the numbers depend on besides the method: device, precision, hashes, versions of libraries."""
        on_gpu = self.device.type == "cuda"
        return {
            "device": torch.cuda.get_device_name(self.device) if on_gpu else "cpu",
            "dtype": str(self.dtype).removeprefix("torch."),
            "weights_sha256": self.weights_sha256.hex(),
            "embedding_sha256": self.embedding_sha256.hex(),
            "torch": torch.__version__,
            "diffusers": version("diffusers"),
            "transformers": version("transformers"),
        }


def load_model(
    source: str | Path | None = None,
    *,
    embedding: str | Path | None = None,
    device: str | None = None,
    download: bool = False,
) -> Model:
    """Load a pipeline for rendering coalitions: no safety checker, half precision on CUDA, single on CPU.

    Args:
        source: Folder or hub id such as `stable-diffusion-v1-5/stable-diffusion-v1-5`; None is the miniature.
        embedding: Folder or hub id of a CLIP vision model; None is the pipeline's own folder `vision`, or else
            CLIP ViT-L/14.
        device: `cuda`, `cuda:1`, `cpu`; None takes a GPU if there is one.
        download: Whether models that are not on this machine may be fetched.

    Raises:
        NotFound, Unavailable: the model is not there; the message says what to do.
        Invalid: the folder is not a pipeline, or its tokenizer takes all prompts for the same.
    """
    name = str(MINIATURE_PATH if source is None else source)
    folder = _folder(name, _PIPELINE_FILES, "model", download)
    if not (folder / "model_index.json").is_file():
        raise Invalid(f"{folder} is not a Stable Diffusion pipeline: it has no model_index.json.")
    if embedding is None and (folder / "vision").is_dir():
        embedding = folder / "vision"
    embedding_folder = _folder(str(embedding or CLIP_LARGE), _EMBEDDING_FILES, "embedding model", download)

    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = torch.float16 if target.type == "cuda" else torch.float32
    if target.type == "cuda":
        # The same picture from the same inputs comes before the last per cent of speed.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False
    variant = _variant(folder)
    # Bars and notes of the libraries would land between what a person reads.
    for library_logging in (diffusers_logging, transformers_logging):
        library_logging.disable_progress_bar()
        library_logging.set_verbosity_error()
    try:
        pipeline = StableDiffusionPipeline.from_pretrained(
            folder,
            variant=variant,
            dtype=dtype,
            safety_checker=None,  # a blacked-out coalition would be a wrong value
            requires_safety_checker=False,
            feature_extractor=None,
            use_safetensors=True,
            local_files_only=True,
        )
        tower = CLIPVisionModelWithProjection.from_pretrained(
            embedding_folder, dtype=dtype, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise Invalid(f"{name} cannot be loaded: {_first_line(error)}") from error
    pipeline.set_progress_bar_config(disable=True)
    for module in (pipeline.unet, pipeline.vae, pipeline.text_encoder, tower):
        module.eval().requires_grad_(False)
    pipeline.unet.to(memory_format=torch.channels_last)
    pipeline.vae.to(memory_format=torch.channels_last)
    model = Model(
        source=name,
        pipeline=pipeline.to(target),
        tower=tower.to(target),
        preprocessing=read_preprocessing(embedding_folder),
        weights_sha256=weights_sha256(folder),
        embedding_sha256=embedding_digest(embedding_folder),
        embedding_folder=embedding_folder,
        device=target,
        dtype=dtype,
    )
    check_tokenizer(model)
    return model


def check_tokenizer(model: Model) -> None:
    """Refuse a tokenizer that reads two artists' prompts as one: every share would be zero without a sign of it.

    `CLIPTokenizer(vocab_file=..., merges_file=...)`, for one, silently knows two tokens only.
    """
    prompts = ("", "art by Amara Diallo", "art by Bruno Keller")
    if len(set(model.token_ids(prompts))) != len(prompts):
        raise Invalid(f"{model.source}: its tokenizer takes different prompts for the same; save it again.")


def weights_sha256(folder: Path) -> bytes:
    """Hash of the pipeline in a folder: weights and configurations of UNet, VAE and text encoder, and the tokenizer.

    Of files in two precisions the half precision ones are meant, as when loading. The scheduler is not part of it:
    it is logged with each image.
    """
    variant = ".fp16" if _variant(folder) else ""
    patterns = ["tokenizer/*", *(f"{part}/config.json" for part in _WEIGHTED)]
    patterns += [f"{part}/*{variant}.safetensors" for part in _WEIGHTED]
    return _digest_of(folder, _existing(folder, patterns))


def public_name(source: str | Path) -> str:
    """What logs and statements call a model: its hub id, or its folder's name without the way to it.

    A path would say where somebody keeps things, and would be another one on another machine.
    """
    if Path(source) == MINIATURE_PATH:
        return "miniature"
    folder = Path(source).expanduser()
    return folder.resolve().name if folder.is_dir() else str(source)


def loggable_config(scheduler: Any) -> dict[str, Any]:
    """A diffusers scheduler's configuration as JSON holds it.

    Infinity is left out, which JSON has no word for: it stands only where it is the default anyway
    (`lambda_min_clipped` of DPM-Solver++), so that a scheduler made of the rest is the same.
    """
    config: dict[str, Any] = json.loads(json.dumps(dict(scheduler.config)))  # tuples become lists
    return {name: value for name, value in config.items() if value not in (math.inf, -math.inf)}


def pipeline_folder(source: str | Path) -> Path:
    """The folder of a pipeline that is on this machine already, by folder or hub id.

    Raises:
        NotFound, Unavailable, Invalid: it is not there; the message says what to do.
    """
    return _folder(str(source), _PIPELINE_FILES, "model", download=False)


def _folder(source: str, files: list[str], what: str, download: bool) -> Path:
    """The folder of a model on this machine."""
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if path.is_absolute() or source.startswith(("./", "../", "~")) or source.count("/") != 1:
        raise NotFound(f"There is no {what} at {source}; give a folder or a hub id such as owner/name.")
    try:
        return Path(snapshot_download(source, allow_patterns=files, local_files_only=not download))
    except HFValidationError as error:
        raise Invalid(f"{source!r} is no folder and no hub id: {_first_line(error)}") from error
    except LocalEntryNotFoundError as error:
        if download:
            raise Unavailable(f"The {what} {source} cannot be downloaded: is this machine online?") from error
        raise Unavailable(
            f"The {what} {source} is not on this machine: set ROYALTY_DOWNLOAD=1 to fetch it once, or give a folder."
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise Unavailable(f"The {what} {source} cannot be downloaded: {_first_line(error)}") from error


def _variant(folder: Path) -> str | None:
    return "fp16" if any((folder / "unet").glob("*.fp16.safetensors")) else None


def _existing(folder: Path, patterns: list[str]) -> list[Path]:
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})


def _digest_of(folder: Path, files: list[Path]) -> bytes:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file_digest(file))
    return digest.digest()


def file_digest(file: Path) -> bytes:
    """SHA-256 of a file; one that has not changed since is not read again."""
    stat = file.stat()
    key = (file.resolve(), stat.st_mtime_ns, stat.st_size)
    if key not in _digests:
        with file.open("rb") as stream:
            _digests[key] = hashlib.file_digest(stream, "sha256").digest()
    return _digests[key]


def embedding_digest(folder: Path) -> bytes:
    """Hash of an image tower and its preprocessing."""
    return _digest_of(folder, _existing(folder, _EMBEDDING_FILES))


def read_preprocessing(folder: Path) -> Preprocessing:
    """What `preprocessor_config.json` asks for; sizes are numbers in old files and objects in new ones.

    Raises:
        Invalid: it is not there, or asks for something else.
    """
    try:
        given = json.loads((folder / "preprocessor_config.json").read_text())
        size, crop = given["size"], given.get("crop_size", given["size"])
        edge = size["shortest_edge"] if isinstance(size, dict) else size
        height, width = (crop["height"], crop["width"]) if isinstance(crop, dict) else (crop, crop)
        mean, deviation = given["image_mean"], given["image_std"]
    except (OSError, ValueError, KeyError) as error:
        raise Invalid(f"{folder} has no usable preprocessor_config.json: {_first_line(error)}") from error
    return Preprocessing(int(edge), (int(height), int(width)), tuple(mean), tuple(deviation))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
