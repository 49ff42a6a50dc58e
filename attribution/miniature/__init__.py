"""A tiny Stable Diffusion of fictional artists whose true contributions are known, with its weights."""

from pathlib import Path

MINIATURE_PATH = Path(__file__).resolve().parent / "weights"
"""The shipped pipeline: what `StableDiffusionPipeline.from_pretrained` takes in place of a model's name."""

VISION_PATH = MINIATURE_PATH / "vision"
"""The shipped image tower: what `from_pretrained` of its model and of its image processor takes."""

PLACEBO_PATH = MINIATURE_PATH / "placebo.json"
"""What made-up names do to the shipped pipeline's pictures: tables as `attribution.placebo` reads them."""

ADAPTER_PATH = MINIATURE_PATH.parent / "adapters" / "ottilie-brandt.safetensors"
"""A LoRA of a style that the shipped pipeline itself cannot draw (`attribution.miniature.adapt`)."""

IMAGE_ADAPTER_PATH = ADAPTER_PATH.parent / "pictures.safetensors"
"""An IP-Adapter that has the shipped pipeline take the style of pictures (`attribution.miniature.imitate`)."""
