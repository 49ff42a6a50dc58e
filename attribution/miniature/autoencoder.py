"""The autoencoder between pictures of 64 by 64 pixels and latents of 16 by 16 with four channels."""

import math

import torch
from diffusers import AutoencoderKL

from attribution.miniature.budget import Budget

_LEARNING_RATE = 2e-3
_LATENT_NOISE = 0.05
"""Noise on latents in training, so that the decoder forgives what the sampler gets slightly wrong."""


def train_autoencoder(images: torch.Tensor, budget: Budget, until: float) -> AutoencoderKL:
    """Learn to rebuild pictures (count, 3, 64, 64); the scaling factor gives latents of unit deviation."""
    vae = AutoencoderKL(
        block_out_channels=(16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=images.shape[-1],
    ).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(vae.parameters(), _LEARNING_RATE, weight_decay=1e-4)
    step = 0
    for step, progress in budget.steps_until(until):
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / 30)
            group["lr"] = _LEARNING_RATE * warm * (0.5 + 0.5 * math.cos(math.pi * progress)) + 1e-5
        batch = _crops(images, whole=progress > 0.75)
        latents = vae.encode(batch).latent_dist.mean
        rebuilt = vae.decode(latents + _LATENT_NOISE * torch.randn_like(latents)).sample
        error = rebuilt - batch
        loss = error.abs().mean() + error.square().mean() + 1e-3 * (latents.square().mean() - 1).square()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            budget.log(f"autoencoder step {step} loss {loss.item():.4f}")
    vae.eval()
    sample = images[:200]
    with torch.inference_mode():
        latents = vae.encode(sample).latent_dist.mean
        error = vae.decode(latents).sample - sample
    vae.register_to_config(scaling_factor=1 / latents.std().item())
    ratio = 10 * math.log10(4 / error.square().mean().item())
    budget.log(
        f"autoencoder {step + 1} steps, {ratio:.1f} dB, scaling factor {vae.config.scaling_factor:.4f}"
    )
    return vae


def _crops(images: torch.Tensor, whole: bool) -> torch.Tensor:
    """A batch of quarters, which is four times as quick, or of whole pictures, which teach the borders."""
    if whole:
        batch = images[torch.randint(0, len(images), (12,))]
    else:
        side = images.shape[-1] // 2
        top, left = (4 * int(torch.randint(0, side // 4 + 1, ()).item()) for _ in range(2))
        batch = images[torch.randint(0, len(images), (48,)), :, top : top + side, left : left + side]
    return batch.contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def encode(vae: AutoencoderKL, images: torch.Tensor) -> torch.Tensor:
    """Scaled latents of pictures, shape (count, 4, 16, 16)."""
    latents = [vae.encode(part).latent_dist.mean for part in images.split(100)]
    return torch.cat(latents) * vae.config.scaling_factor


@torch.inference_mode()
def decode(vae: AutoencoderKL, latents: torch.Tensor) -> torch.Tensor:
    """Pictures of scaled latents, shape (count, 3, 64, 64), values about -1..1."""
    return torch.cat([vae.decode(part / vae.config.scaling_factor).sample for part in latents.split(100)])
