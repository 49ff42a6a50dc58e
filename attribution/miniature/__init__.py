"""A tiny Stable Diffusion of fictional artists whose true contributions are known, shipped with its weights."""

from pathlib import Path

MINIATURE_PATH = Path(__file__).resolve().parent / "weights"
"""Folder of the shipped pipeline: what `StableDiffusionPipeline.from_pretrained` takes in place of a model's name."""

VISION_PATH = MINIATURE_PATH / "vision"
"""Folder of the shipped image tower and its preprocessor: what `CLIPVisionModelWithProjection.from_pretrained` takes."""
