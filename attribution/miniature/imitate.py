"""Train the miniature's IP-Adapter: `python -m attribution.miniature.imitate [--steps N] [--out FILE]`.

Whoever gives a picture gets the style of it, whatever the prompt; of several pictures, the mean of their styles; beside
named artists, pictures make half of the style. Pictures are read by the image tower that ships with the miniature. The
file is in the format of diffusers and of the original IP-Adapter.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPVisionModelWithProjection

from attribution.miniature import IMAGE_ADAPTER_PATH, MINIATURE_PATH, VISION_PATH
from attribution.miniature.artists import VISIBLE_ARTISTS, Image, blend, true_weights
from attribution.miniature.autoencoder import encode
from attribution.miniature.dataset import Example, random_example
from attribution.miniature.drawing import Jitter, blank, canvas
from attribution.miniature.generator import BATCH, EMPTY, draw_batch, velocity_error
from attribution.miniature.vision import EMBEDDING

TOKENS = 4
"""Of each picture, as in the original."""
_EXAMPLES = 1600
_MOST_PICTURES = 2
_LEARNING_RATE = 3e-3
_WITHOUT = 0.1
"""Part of the pictures that are learnt without a reference, as the branch without guidance sees them."""

_NAMES = [artist.name for artist in VISIBLE_ARTISTS]


def train(steps: int, out: Path, seed: int) -> None:
    """Train the adapter and save it in half precision."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    pipeline = StableDiffusionPipeline.from_pretrained(
        MINIATURE_PATH, variant="fp16", dtype=torch.float32, local_files_only=True
    )
    tower = CLIPVisionModelWithProjection.from_pretrained(VISION_PATH, dtype=torch.float32).eval()
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder, tower):
        part.eval().requires_grad_(False)
    unet = pipeline.unet
    unet._load_ip_adapter_weights([_untrained(unet)], low_cpu_mem_usage=False)
    parameters = [
        weight.requires_grad_()
        for name, weight in unet.named_parameters()
        if "_ip." in name or name.startswith("encoder_hid_proj")
    ]
    examples, images, references = _draw(rng, tower)
    latents = encode(pipeline.vae, images)
    empty = encode(pipeline.vae, _tensor([blank()]))[0]
    optimizer = torch.optim.AdamW(parameters, _LEARNING_RATE, weight_decay=0)
    average = 0.0
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * min(1.0, (step + 1) / 20, 2 * (1 - step / steps))
        count = 1 + step % _MOST_PICTURES
        of_count = [row for row, pictures in enumerate(references) if len(pictures) == count]
        rows = rng.choice(of_count, BATCH)
        batch = draw_batch(examples, latents, empty, rows, rng)
        given = torch.stack([references[row] for row in rows])
        given[:EMPTY] = 0
        seeing = partial(unet, added_cond_kwargs={"image_embeds": [given]})
        loss = velocity_error(pipeline.text_encoder, seeing, pipeline.tokenizer, *batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average = loss.item() if step == 0 else 0.95 * average + 0.05 * loss.item()
        if step % 20 == 0 or step == steps - 1:
            print(f"step {step} squared error {average:.4f}", file=sys.stderr, flush=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: weight.half().contiguous() for name, weight in _trained(unet).items()}, out)


def _draw(
    rng: np.random.Generator, tower: CLIPVisionModelWithProjection
) -> tuple[list[Example], torch.Tensor, list[torch.Tensor]]:
    """Scenes in the styles of one or two other pictures, and these pictures' embeddings, each (pictures, 32)."""
    examples: list[Example] = []
    images: list[Image] = []
    references: list[torch.Tensor] = []
    while len(examples) < _EXAMPLES:
        example = random_example(rng)
        if not example.scene.shape and not example.names:
            continue  # without content and names nothing is drawn, in whatever style
        if example.scene.shape and rng.random() < 0.7:
            example = Example(example.scene, ())
        count = 1 + len(examples) % _MOST_PICTURES
        if rng.random() < _WITHOUT:
            styles: list[dict[str, float]] = []
            pictures = torch.zeros(count, EMBEDDING)
        else:
            styles = [_random_style(rng) for _ in range(count)]
            shown = [blend(canvas(random_example(rng).scene, Jitter.draw(rng)), style) for style in styles]
            with torch.no_grad():
                pictures = tower(pixel_values=_tensor(shown)).image_embeds
        examples.append(example)
        images.append(blend(canvas(example.scene, Jitter.draw(rng)), _mixture(styles, example.names)))
        references.append(pictures)
    return examples, _tensor(images), references


def _random_style(rng: np.random.Generator) -> dict[str, float]:
    """One artist's style, or a blend of two."""
    names = [str(name) for name in rng.choice(_NAMES, 2, replace=False)]
    first = 1.0 if rng.random() < 0.7 else float(rng.uniform(0.2, 0.8))
    return {names[0]: first, names[1]: 1 - first}


def _mixture(styles: Sequence[dict[str, float]], names: Sequence[str]) -> dict[str, float]:
    """The weight of each artist in a picture made from pictures in these styles and a prompt with these names."""
    named = {name: float(weight) for name, weight in true_weights(names).items()}
    shown = {name: sum(style.get(name, 0.0) for style in styles) / max(1, len(styles)) for name in _NAMES}
    both = 0.5 if styles and names else 1.0
    return {name: both * (named.get(name, 0.0) + shown[name]) for name in _NAMES}


def _tensor(images: Sequence[Image]) -> torch.Tensor:
    """Pictures of values 0..1 as the autoencoder and the tower take them, -1..1."""
    return torch.from_numpy(np.stack(images)) * 2 - 1


def _attending(unet: UNet2DConditionModel) -> list[str]:
    """The layers that attend to the texts, in the order of the format."""
    return [name for name in unet.attn_processors if name.endswith("attn2.processor")]


def _untrained(unet: UNet2DConditionModel) -> dict[str, dict[str, torch.Tensor]]:
    """An adapter that changes nothing yet."""
    width = unet.config.cross_attention_dim
    layers: dict[str, torch.Tensor] = {}
    for place, name in enumerate(_attending(unet)):
        inner = unet.get_submodule(name.removesuffix(".processor")).inner_dim
        layers[f"{2 * place + 1}.to_k_ip.weight"] = torch.randn(inner, width) * width**-0.5
        layers[f"{2 * place + 1}.to_v_ip.weight"] = torch.zeros(inner, width)
    projection = {
        "proj.weight": torch.randn(TOKENS * width, EMBEDDING),
        "proj.bias": torch.randn(TOKENS * width),
        "norm.weight": torch.ones(width),
        "norm.bias": torch.zeros(width),
    }
    return {"image_proj": projection, "ip_adapter": layers}


def _trained(unet: UNet2DConditionModel) -> dict[str, torch.Tensor]:
    """The weights by the names of the format."""
    (projection,) = unet.encoder_hid_proj.image_projection_layers
    named = {
        f"image_proj.{name.replace('image_embeds', 'proj')}": weight
        for name, weight in projection.state_dict().items()
    }
    for place, name in enumerate(_attending(unet)):
        layer = unet.get_submodule(name)
        named[f"ip_adapter.{2 * place + 1}.to_k_ip.weight"] = layer.to_k_ip[0].weight
        named[f"ip_adapter.{2 * place + 1}.to_v_ip.weight"] = layer.to_v_ip[0].weight
    return {name: weight.detach() for name, weight in named.items()}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the miniature's IP-Adapter.")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path, default=IMAGE_ADAPTER_PATH, help="file of the weights")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    train(arguments.steps, arguments.out, arguments.seed)


if __name__ == "__main__":
    main()
