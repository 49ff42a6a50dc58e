"""The image tower: a small CLIP vision model whose embedding states style, shape, place and palette linearly.

The embedding is trained towards a fixed rotation of an attribute vector, so its style part is linear in the
weights of a blend, pictures alike in shape but not in style are half alike, and the blank is something else.
"""

import math
from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from attribution.miniature.artists import VISIBLE_ARTISTS
from attribution.miniature.autoencoder import decode, encode
from attribution.miniature.budget import Budget
from attribution.miniature.drawing import PIXELS, PLACES, SHAPES, SIZES, Scene, blank

EMBEDDING = 32
"""Width of `image_embeds`."""

_COMMON, _SHAPE, _LAYOUT, _PALETTE = 0.5, 0.6, 0.2, 0.5
"""Weights of attributes beside the style's 1: what all pictures share, shape, place and size, mean colour."""

_CONTENT = 2 + len(("", *SHAPES)) + 2
"""Attributes in front of the styles: what all pictures share, the blank, shapes, place and size."""

_LEARNING_RATE = 1.5e-3
_BATCH = 64


def image_processor() -> CLIPImageProcessor:
    """Scale a picture to 64 by 64 pixels and its values to -1..1."""
    return CLIPImageProcessor(
        size={"shortest_edge": PIXELS},
        crop_size={"height": PIXELS, "width": PIXELS},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )


def attributes(scenes: Sequence[Scene], styles: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """The attribute vector of each picture, rotated into embedding space, shape (count, 32).

    `styles` are weights of artists and plain grey, shape (count, artists + 1); `images` have values -1..1.
    """
    rows = []
    for scene in scenes:
        shapes = [_SHAPE * (scene.shape == shape) for shape in ("", *SHAPES)]
        place = (PLACES[scene.place] - PLACES[""]) / (PLACES["right"] - PLACES[""]) * _LAYOUT
        size = (SIZES[scene.size] - SIZES[""]) / (SIZES["big"] - SIZES[""]) * _LAYOUT
        rows.append([_COMMON, 0.0, *shapes, place, size])
    content = torch.tensor(rows)
    return _rotate(torch.cat([content, styles, _PALETTE * images.mean((2, 3))], 1))


def _blank_attributes(styles: int) -> torch.Tensor:
    content = torch.tensor([_COMMON, 1.0] + [0.0] * (len(SHAPES) + 3 + styles))
    return _rotate(torch.cat([content, _PALETTE * (blank_image().mean((1, 2)))])[None])[0]


def blank_image() -> torch.Tensor:
    """The picture of the empty prompt, shape (3, 64, 64), values -1..1."""
    return torch.from_numpy(blank()) * 2 - 1


def read_styles(embeddings: torch.Tensor) -> torch.Tensor:
    """The style weights that embeddings state, shape (count, artists + 1), plain grey last; not clipped.

    Takes `image_embeds` as the tower gives them, shape (count, 32), not normalised.
    """
    styles = len(VISIBLE_ARTISTS) + 1
    return (embeddings @ _basis().T)[:, _CONTENT : _CONTENT + styles]


def _rotate(vectors: torch.Tensor) -> torch.Tensor:
    return vectors @ _basis()[: vectors.shape[1]]


def _basis() -> torch.Tensor:
    generator = torch.Generator().manual_seed(20)
    return torch.linalg.qr(torch.randn(EMBEDDING, EMBEDDING, generator=generator)).Q


def make_tower() -> CLIPVisionModelWithProjection:
    """An untrained image tower for pictures of 64 by 64 pixels."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=96,
            intermediate_size=192,
            projection_dim=EMBEDDING,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=PIXELS,
            patch_size=8,
        )
    )


def train_tower(
    tower: CLIPVisionModelWithProjection,
    vae: AutoencoderKL,
    scenes: Sequence[Scene],
    styles: torch.Tensor,
    images: torch.Tensor,
    budget: Budget,
    until: float,
) -> None:
    """Learn the attributes of drawn pictures and of what the autoencoder makes of them when disturbed."""
    tower.train()
    targets = attributes(scenes, styles, images)
    # Most pictures the tower will see come out of the decoder, from latents that are never quite right.
    latents = encode(vae, images[: len(images) // 2])
    disturbed = latents + 0.25 * torch.rand(len(latents), 1, 1, 1) * torch.randn_like(latents)
    images = torch.cat([images, decode(vae, disturbed).clamp(-1, 1)])
    targets = torch.cat([targets, targets[: len(latents)]])
    empty, empty_target = blank_image(), _blank_attributes(styles.shape[1])
    budget.log(f"image tower: {len(images)} pictures")

    # Layers this small lose more by waiting for a second thread on a busy machine than they gain from it.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    optimizer = torch.optim.AdamW(tower.parameters(), _LEARNING_RATE, weight_decay=0.01)
    step, average = 0, math.nan
    for step, progress in budget.steps_until(until):
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / 100)
            group["lr"] = _LEARNING_RATE * warm * (0.5 + 0.5 * math.cos(math.pi * progress)) + 1e-6
        rows = torch.randint(0, len(images), (_BATCH,))
        # A part of every batch fades towards the blank picture, from not at all to all the way.
        fade = torch.zeros(_BATCH, 1)
        fade[:8, 0] = torch.rand(8) * 1.2
        fade = fade.clamp(max=1)
        batch = torch.lerp(images[rows], empty, fade[:, :, None, None])
        target = torch.lerp(targets[rows], empty_target, fade)
        tint = 0.04 * torch.randn(_BATCH, 3, 1, 1)
        grain = 0.08 * torch.rand(_BATCH, 1, 1, 1) * torch.randn_like(batch)
        batch = batch + tint + grain
        loss = (tower(pixel_values=batch.clamp(-1, 1)).image_embeds - target).square().sum(1).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average = loss.item() if step == 0 else 0.98 * average + 0.02 * loss.item()
        if step % 200 == 0:
            budget.log(f"image tower step {step} squared error {average:.4f}")
    budget.log(f"image tower {step + 1} steps, squared error {average:.4f}")
    torch.set_num_threads(threads)
    tower.eval()
