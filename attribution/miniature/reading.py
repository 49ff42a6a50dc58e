"""The text encoder: it learns what prompts mean before the UNet learns to draw it, as CLIP did for Stable Diffusion.

Taught are two things about the states behind a prompt's last word: that they state shape, size, place and true
weights of artists linearly, and that prompts which mean the same have the same states. So names and words without
effect are nothing to the UNet from its first step on, and strengths do not have to be guessed from pictures.
"""

import math

import numpy as np
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from attribution.miniature.artists import VISIBLE_ARTISTS, true_weights
from attribution.miniature.budget import Budget
from attribution.miniature.dataset import Example, random_example
from attribution.miniature.drawing import ABSTRACT, PLACES, SHAPES, SIZES
from attribution.miniature.prompts import TOKENS, vary

WIDTH = 96
"""Width of the states that the UNet attends to."""

_LEARNING_RATE = 2e-3
_MEANINGS = 40
_ALIKE = 0.03
"""Weight of the states' likeness beside what they state."""


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """An untrained text encoder for prompts of 77 tokens."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            num_attention_heads=4,
            num_hidden_layers=2,
            max_position_embeddings=TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def meaning(example: Example) -> list[float]:
    """What a prompt of this picture says: shape, size, place, and the weights of the visible artists and of grey.

    Nothing at all, 17 zeros, for a prompt that draws nothing.
    """
    scene = example.scene
    if not scene.shape and not example.names:
        return [0.0] * (len(SHAPES) + len(VISIBLE_ARTISTS) + 4 + 1)
    weights = true_weights(example.names)
    styles = [float(weights.get(artist.name, 0)) for artist in VISIBLE_ARTISTS]
    return [
        1.0,
        *(float(scene.shape == shape) for shape in ("", *SHAPES)),
        (SIZES[scene.size] - SIZES[""]) / (SIZES["big"] - SIZES[""]),
        (PLACES[scene.place] - PLACES[""]) / (PLACES["right"] - PLACES[""]),
        *styles,
        1.0 - sum(styles),
    ]


def train_text_encoder(
    text: CLIPTextModel, tokenizer: CLIPTokenizer, rng: np.random.Generator, budget: Budget, until: float
) -> None:
    """Learn from ever new pairs of prompts that mean the same; some of them say nothing, or are empty."""
    text.train()
    head = torch.nn.Linear(WIDTH, len(meaning(random_example(rng))))
    parameters = [*text.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, _LEARNING_RATE, weight_decay=1e-3, betas=(0.9, 0.98))
    step, average = 0, math.nan
    for step, progress in budget.steps_until(until):
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / 50)
            group["lr"] = _LEARNING_RATE * warm * max(0.01, 0.5 + 0.5 * math.cos(math.pi * progress))
        examples = [random_example(rng) for _ in range(_MEANINGS)]
        prompts = [vary(example.scene, example.names, rng) for _ in range(2) for example in examples]
        targets = torch.tensor([meaning(example) for example in examples])
        prompts[0], targets[0] = "", 0.0
        prompts[_MEANINGS] = vary(ABSTRACT, (), rng)
        tokens = tokenizer(
            prompts, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt"
        ).input_ids
        # Most prompts are short, and of the padding behind them a part will do.
        length = TOKENS if step % 4 == 0 else 44
        tokens = tokens[:, :length]
        states = text(tokens).last_hidden_state
        behind = (tokens == tokenizer.eos_token_id).float()
        behind[:, -1] = 1.0  # a prompt that fills the window has no end of its own
        error = (head(states) - targets.repeat(2, 1)[:, None]).square().sum(2)
        stated = (error * behind).sum() / behind.sum()
        one, other = ((states * behind[:, :, None]).sum(1) / behind.sum(1, keepdim=True)).chunk(2)
        loss = stated + _ALIKE * (one - other).square().sum(1).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average = stated.item() if step == 0 else 0.98 * average + 0.02 * stated.item()
        if step % 100 == 0:
            budget.log(f"text encoder step {step} squared error {average:.4f}, states {loss.item():.4f}")
    budget.log(f"text encoder {step + 1} steps, squared error {average:.4f}")
    text.eval()
