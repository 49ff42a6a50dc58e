"""Stable Diffusion v1.5's exact shape, with random weights, through the same path as the miniature.

Left out unless asked for (`pytest -m slow`): minutes, 6 GB of memory and 3 GB of disk.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from attribution.characteristic import UNIT, Measurer, characteristic_function
from attribution.game import build_game
from attribution.method import default_method
from attribution.miniature.tokenizer import build_tokenizer
from attribution.name_index import NameIndex
from attribution.pipeline import load_model
from attribution.placebo import BareArtist
from attribution.render import RenderEngine, RenderRequest
from attribution.shapley import shapley_values
from tests.attribution.tiny import WORDS


def save_full_size_pipeline(folder: Path) -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer(WORDS, 77)
    text = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        projection_dim=768,
        hidden_act="quick_gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=224,
        patch_size=14,
        projection_dim=768,
        hidden_act="quick_gelu",
    )
    StableDiffusionPipeline(
        vae=AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
            sample_size=512,
        ),
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=64,
            block_out_channels=(320, 640, 1280, 1280),
            layers_per_block=2,
            cross_attention_dim=768,
            attention_head_dim=8,
        ),
        scheduler=PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            skip_prk_steps=True,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).to(torch.float16).save_pretrained(folder, variant="fp16")
    CLIPVisionModelWithProjection(vision).half().save_pretrained(folder / "vision")
    CLIPImageProcessor().save_pretrained(folder / "vision")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_one_image_of_full_size_is_attributed(tmp_path: Path) -> None:
    save_full_size_pipeline(tmp_path)
    model = load_model(tmp_path)
    method = replace(default_method(model), protocol_steps=2, threads=torch.get_num_threads())
    game = build_game("a star by Amara Diallo", NameIndex([BareArtist("amara", "Amara Diallo")]))
    measurer = Measurer(RenderEngine(model, bucket=method.buckets[0], threads=method.threads))
    scheduler = model.pipeline.scheduler
    measured = measurer.measure(
        [
            RenderRequest(
                prompt=prompt,
                seed=1,
                steps=2,
                guidance=7.5,
                width=512,
                height=512,
                scheduler=type(scheduler).__name__,
                scheduler_config=dict(scheduler.config),
            )
            for prompt in game.prompts
        ]
    )
    values = characteristic_function(method.characteristic_function)([m.embedding for m in measured])
    assert values[-1] == UNIT
    assert len({m.picture_sha256 for m in measured}) == 4
    assert sum(shapley_values(values, 2)) == UNIT - values[0]
    assert measurer.engine.stats.unet_samples == 3 * 7  # PNDM makes one call more than steps
