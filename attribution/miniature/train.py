"""Train the miniature: `python -m attribution.miniature.train [--minutes N] [--out DIR] [--seed N] [--resume]`.

The budget is wall-clock time, 22 minutes on two threads by default; how many steps fit into it depends on the
machine, so two runs with one seed are alike but not equal. Of the budget the autoencoder has a fifth, the image
tower and the text encoder a tenth each, and the UNet the rest. `--resume` keeps the autoencoder and the image tower
of an earlier run and trains the other parts further.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline

from attribution.miniature import MINIATURE_PATH
from attribution.miniature.autoencoder import encode, train_autoencoder
from attribution.miniature.budget import Budget
from attribution.miniature.dataset import draw_examples, draw_mixtures
from attribution.miniature.generator import make_scheduler, make_unet, train_generator
from attribution.miniature.prompts import TOKENS, known_words
from attribution.miniature.reading import make_text_encoder, train_text_encoder
from attribution.miniature.tokenizer import build_tokenizer
from attribution.miniature.vision import blank_image, image_processor, make_tower, train_tower

THREADS = 2
_AUTOENCODER_UNTIL, _TOWER_UNTIL, _TEXT_UNTIL, _RESUMED_TEXT_UNTIL = 0.18, 0.28, 0.38, 0.12
_EXAMPLES, _MIXTURES = 8000, 6000


def train(minutes: float, out: Path, resume: bool, seed: int) -> None:
    """Train all parts within `minutes` of wall-clock time and save them in half precision under `out`."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    budget = Budget(minutes)
    budget.log(f"budget {minutes:g} minutes on {THREADS} threads, seed {seed}")
    examples, images = draw_examples(_EXAMPLES, rng)
    budget.log(f"drew {len(images)} examples")

    if resume:
        pipeline = StableDiffusionPipeline.from_pretrained(
            out, variant="fp16", dtype=torch.float32, local_files_only=True
        )
    else:
        pipeline = _assemble(train_autoencoder(_with_blanks(images), budget, _AUTOENCODER_UNTIL))
    vae = pipeline.vae.to(memory_format=torch.channels_last)
    if not resume:
        tower = make_tower()
        train_tower(tower, vae, *draw_mixtures(_MIXTURES, rng), budget, _TOWER_UNTIL)
        tower.half().save_pretrained(out / "vision")
        image_processor().save_pretrained(out / "vision")
    text_until = _RESUMED_TEXT_UNTIL if resume else _TEXT_UNTIL
    train_text_encoder(pipeline.text_encoder, pipeline.tokenizer, rng, budget, text_until)

    latents, blank = encode(vae, images), encode(vae, blank_image()[None])[0]
    budget.log("encoded the examples")
    unet = pipeline.unet.to(memory_format=torch.channels_last)
    train_generator(
        pipeline.text_encoder, unet, pipeline.tokenizer, examples, latents, blank, rng, budget, until=1.0
    )
    pipeline.to(torch.float16).save_pretrained(out, variant="fp16")
    _forget_origin(out)
    budget.log(f"saved {out}")


def _forget_origin(folder: Path) -> None:
    """Strike the folder a resumed model was read from out of the saved configurations."""
    for file in (folder / "model_index.json", *folder.glob("*/config.json")):
        config = json.loads(file.read_text())
        config.pop("_name_or_path", None)
        file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _with_blanks(images: torch.Tensor) -> torch.Tensor:
    """The pictures and, one in a hundred, the picture of the empty prompt."""
    return torch.cat([images, blank_image().expand(len(images) // 100, -1, -1, -1)])


def _assemble(vae: AutoencoderKL) -> StableDiffusionPipeline:
    """A pipeline of the trained autoencoder and an untrained rest."""
    tokenizer = build_tokenizer(known_words(), TOKENS)
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=make_text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=make_unet(),
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the miniature Stable Diffusion.")
    parser.add_argument("--minutes", type=float, default=22.0, help="wall-clock budget of the training")
    parser.add_argument("--out", type=Path, default=MINIATURE_PATH, help="folder of the weights")
    parser.add_argument("--resume", action="store_true", help="train on from the weights that --out holds")
    parser.add_argument(
        "--seed", type=int, default=0, help="another one for a resumed run shows it other examples"
    )
    arguments = parser.parse_args()
    train(arguments.minutes, arguments.out, arguments.resume, arguments.seed)


if __name__ == "__main__":
    main()
