"""The text encoder and the UNet, trained together to predict velocity between latents and noise."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from attribution.miniature.budget import Budget
from attribution.miniature.dataset import Example
from attribution.miniature.prompts import TOKENS, vary

_WIDTH = 96
_LEARNING_RATE = 1.5e-3
_BATCH = 32
_EMPTY = 5
"""Pictures of a batch under the empty prompt; all but the first of them are the blank picture."""


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


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """An untrained text encoder for prompts of 77 tokens."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=_WIDTH,
            intermediate_size=2 * _WIDTH,
            num_attention_heads=4,
            num_hidden_layers=2,
            max_position_embeddings=TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
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
        cross_attention_dim=_WIDTH,
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

    Leaves the models with the averaged weights of the run, which are steadier than the last ones.
    """
    scheduler = make_scheduler()
    text.train()
    unet.train()
    parameters = [*unet.parameters(), *text.parameters()]
    averaged = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.AdamW(parameters, _LEARNING_RATE, weight_decay=1e-3, betas=(0.9, 0.98))
    step, average = 0, math.nan
    for step, progress in budget.steps_until(until):
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / 60)
            group["lr"] = _LEARNING_RATE * warm * max(0.01, 0.5 + 0.5 * math.cos(math.pi * progress))
        rows = rng.integers(len(examples), size=_BATCH)
        prompts = [vary(examples[row].scene, examples[row].names, rng) for row in rows]
        clean = latents[torch.from_numpy(rows)].clone()
        prompts[:_EMPTY] = [""] * _EMPTY
        # One picture under the empty prompt steadies guidance; more would be drawn in place of the blank.
        clean[1:_EMPTY] = blank
        tokens = tokenizer(
            prompts, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt"
        ).input_ids
        # One time from each stretch of the schedule, in random order, makes batches alike in difficulty; the
        # noisy end, where shapes are decided, has more of them.
        stretches = ((torch.randperm(_BATCH) + torch.rand(_BATCH)) / _BATCH) ** 0.7
        times = (stretches * scheduler.config.num_train_timesteps).long()
        noise = torch.randn_like(clean)
        noisy = scheduler.add_noise(clean, noise, times).contiguous(memory_format=torch.channels_last)
        predicted = unet(noisy, times, text(tokens).last_hidden_state).sample
        loss = torch.nn.functional.mse_loss(predicted, scheduler.get_velocity(clean, noise, times))
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
    budget.log(f"generator {step + 1} steps of {_BATCH}, squared error {average:.4f}")
    text.eval()
    unet.eval()
