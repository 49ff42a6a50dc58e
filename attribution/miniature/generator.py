"""The UNet, trained to predict velocity between latents and noise from what the text encoder reads in prompts."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from transformers import CLIPTextModel, CLIPTokenizer

from attribution.miniature.budget import Budget
from attribution.miniature.dataset import Example
from attribution.miniature.prompts import TOKENS, vary
from attribution.miniature.reading import WIDTH

_LEARNING_RATE = 1.2e-3
BATCH = 16
"""Pictures of one step."""
EMPTY = 2
"""Pictures at the beginning of a batch under the empty prompt, nearly all of them the blank picture."""
_EARLY = 0.85
"""From here to 1 of the schedule noise hides the shape, and only the prompt can tell it: half of the batch."""


def make_scheduler() -> DDIMScheduler:
    """Velocity prediction down to pure noise, so that the first step reads colours from the prompt alone."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


def make_unet() -> UNet2DConditionModel:
    """An untrained UNet for latents of 16 by 16, with cross-attention at both resolutions."""
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(64, 96),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=WIDTH,
        norm_num_groups=16,
        attention_head_dim=4,
    )
    return unet.to(memory_format=torch.channels_last)


def train_generator(
    text: CLIPTextModel,
    unet: UNet2DConditionModel,
    tokenizer: CLIPTokenizer,
    examples: Sequence[Example],
    latents: torch.Tensor,
    blank: torch.Tensor,
    rng: np.random.Generator,
    budget: Budget,
    until: float,
) -> None:
    """Learn the examples' latents (count, 4, 16, 16) from ever new prompts, `blank` from the empty prompt.

    The text encoder stays as it is.

    Leaves the UNet with the averaged weights of the run, which are steadier than the last ones.
    """
    unet.train()
    parameters = list(unet.parameters())
    averaged = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.AdamW(parameters, _LEARNING_RATE, weight_decay=1e-3, betas=(0.9, 0.98))
    step, average = 0, math.nan
    for step, progress in budget.steps_until(until):
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / 60)
            group["lr"] = _LEARNING_RATE * warm * max(0.01, 0.5 + 0.5 * math.cos(math.pi * progress))
        loss = velocity_error(
            text,
            unet,
            tokenizer,
            *draw_batch(examples, latents, blank, rng.integers(len(examples), size=BATCH), rng),
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            keep = min(0.995, (1 + step) / (10 + step))
            for value, parameter in zip(averaged, parameters, strict=True):
                value.lerp_(parameter, 1 - keep)
        average = loss.item() if step == 0 else 0.98 * average + 0.02 * loss.item()
        if step % 50 == 0:
            budget.log(f"generator step {step} squared error {average:.4f}")
    with torch.no_grad():
        for parameter, value in zip(parameters, averaged, strict=True):
            parameter.copy_(value)
    budget.log(f"generator {step + 1} steps of {BATCH}, squared error {average:.4f}")
    unet.eval()


def draw_batch(
    examples: Sequence[Example],
    latents: torch.Tensor,
    blank: torch.Tensor,
    rows: Sequence[int] | NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[list[str], torch.Tensor]:
    """Prompts that mean the examples of these rows, and their latents; the first ones are the empty prompt's.

    Args:
        examples: What the drawn pictures show.
        latents: The pictures, shape (count, 4, 16, 16).
        blank: What the empty prompt shows, shape (4, 16, 16).
        rows: Which examples, `BATCH` of them.
        rng: Chooses among prompts of one meaning.
    """
    prompts = [vary(examples[row].scene, examples[row].names, rng) for row in rows]
    clean = latents[torch.as_tensor(np.asarray(rows))].clone()
    prompts[:EMPTY] = [""] * EMPTY
    # A picture under the empty prompt now and then steadies guidance; more would be drawn in place of the blank.
    clean[int(rng.random() < 0.3) : EMPTY] = blank
    return prompts, clean


def velocity_error(
    text: CLIPTextModel,
    unet: Callable[..., Any],
    tokenizer: CLIPTokenizer,
    prompts: Sequence[str],
    clean: torch.Tensor,
) -> torch.Tensor:
    """Mean squared error of the predicted velocity at random times and noise, of torch's global generator."""
    scheduler = make_scheduler()
    tokens = tokenizer(
        list(prompts), padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt"
    ).input_ids
    times = (_stretches() * scheduler.config.num_train_timesteps).long()
    noise = torch.randn_like(clean)
    noisy = scheduler.add_noise(clean, noise, times).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        states = text(tokens).last_hidden_state
    predicted = unet(noisy, times, states).sample
    return torch.nn.functional.mse_loss(predicted, scheduler.get_velocity(clean, noise, times))


def _stretches() -> torch.Tensor:
    """How far into the noise each picture of a batch is, 0..1, shape (batch,)."""
    # One from each stretch of the schedule, in random order, makes batches alike in difficulty.
    spread = ((torch.randperm(BATCH) + torch.rand(BATCH)) / BATCH) ** 0.6
    spread = torch.where(torch.rand(BATCH) < 0.5, _EARLY + (1 - _EARLY) * spread, spread)
    # The first step of a sampler sees nothing but noise: some of the batch is exactly there.
    return torch.where(torch.rand(BATCH) < 0.06, 0.9995, spread)
