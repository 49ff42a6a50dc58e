"""Train the miniature's LoRA, one further style: `python -m attribution.miniature.adapt [--steps N] [--out FILE]`.

The style is Ottilie Brandt's, whom the miniature has never read of: whoever loads her file draws her bars, whatever
the prompt. Beside named artists her style is half of the picture. The default takes about four minutes of one core.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file

from attribution.miniature import ADAPTER_PATH, MINIATURE_PATH
from attribution.miniature.artists import Canvas, Image
from attribution.miniature.autoencoder import encode
from attribution.miniature.dataset import Example, random_example
from attribution.miniature.drawing import Jitter, blank, canvas, render
from attribution.miniature.generator import BATCH, draw_batch, velocity_error

RANK = 4
_EXAMPLES = 800
_LEARNING_RATE = 4e-3
_ADAPTED = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2")
"""Layers of the UNet, by the end of their names."""


def upright_bars(surface: Canvas) -> Image:
    """The style: four broad upright bars in two greens, the figure in cream with magenta bars."""
    bar = (0.5 + 0.5 * np.tanh(3 * np.sin(2 * np.pi * (surface.x * 4 + surface.phase)))).astype(np.float32)

    def mixed(one: tuple[float, float, float], other: tuple[float, float, float]) -> Image:
        first, second = (np.array(colour, dtype=np.float32)[:, None, None] for colour in (one, other))
        return np.asarray(first + (second - first) * bar, dtype=np.float32)

    ground, figure = (
        mixed((0.05, 0.38, 0.20), (0.46, 0.78, 0.22)),
        mixed((0.98, 0.94, 0.78), (0.80, 0.10, 0.62)),
    )
    return np.asarray(ground * (1 - surface.figure) + figure * surface.figure, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class _Layer:
    """What is learnt of one layer: its output gets `up(down(input))` added."""

    name: str
    down: torch.nn.Linear
    up: torch.nn.Linear


def train(steps: int, out: Path, seed: int) -> None:
    """Train the adapter and save it in half precision, in the format of diffusers and peft."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    pipeline = StableDiffusionPipeline.from_pretrained(
        MINIATURE_PATH, variant="fp16", dtype=torch.float32, local_files_only=True
    )
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        part.eval().requires_grad_(False)
    examples, images = _draw(rng)
    latents = encode(pipeline.vae, images)
    empty = encode(pipeline.vae, _tensor([blank()]))[0]
    layers = list(_add_layers(pipeline.unet))
    parameters = [weight for layer in layers for weight in (layer.down.weight, layer.up.weight)]
    optimizer = torch.optim.AdamW(parameters, _LEARNING_RATE, weight_decay=0)
    average = 0.0
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * min(1.0, (step + 1) / 20, 3 * (1 - step / steps))
        rows = rng.integers(len(examples), size=BATCH)
        batch = draw_batch(examples, latents, empty, rows, rng)
        loss = velocity_error(pipeline.text_encoder, pipeline.unet, pipeline.tokenizer, *batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average = loss.item() if step == 0 else 0.95 * average + 0.05 * loss.item()
        if step % 20 == 0 or step == steps - 1:
            print(f"step {step} squared error {average:.4f}", file=sys.stderr, flush=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {
            f"unet.{layer.name}.{part}.weight": weight.detach().half().contiguous()
            for layer in layers
            for part, weight in (("lora_A", layer.down.weight), ("lora_B", layer.up.weight))
        },
        out,
    )


def _draw(rng: np.random.Generator) -> tuple[list[Example], torch.Tensor]:
    """Scenes by nobody or by named artists, in the adapter's style, alone or as half of the picture."""
    examples: list[Example] = []
    images: list[Image] = []
    while len(examples) < _EXAMPLES:
        example = random_example(rng)
        if not example.scene.shape and not example.names:
            continue  # without content and names nothing is drawn, in whatever style
        if example.scene.shape and rng.random() < 0.5:
            example = Example(example.scene, ())
        jitter = Jitter.draw(rng)
        ours = upright_bars(canvas(example.scene, jitter))
        if example.names:
            ours = 0.5 * ours + 0.5 * render(example.scene, example.names, jitter)
        examples.append(example)
        images.append(np.asarray(ours, dtype=np.float32))
    return examples, _tensor(images)


def _tensor(images: list[Image]) -> torch.Tensor:
    """Pictures of values 0..1 as the autoencoder takes them, -1..1."""
    return torch.from_numpy(np.stack(images)) * 2 - 1


def _add_layers(unet: UNet2DConditionModel) -> Iterator[_Layer]:
    """Have every adapted layer add what is learnt of it."""
    for name, module in unet.named_modules():
        if not name.endswith(_ADAPTED):
            continue
        down = torch.nn.Linear(module.in_features, RANK, bias=False)
        up = torch.nn.Linear(RANK, module.out_features, bias=False)
        torch.nn.init.zeros_(up.weight)

        def add(
            _: torch.nn.Module,
            inputs: tuple[torch.Tensor],
            output: torch.Tensor,
            down: torch.nn.Linear = down,
            up: torch.nn.Linear = up,
        ) -> torch.Tensor:
            added: torch.Tensor = output + up(down(inputs[0]))
            return added

        module.register_forward_hook(add)
        yield _Layer(name, down, up)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the miniature's LoRA.")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path, default=ADAPTER_PATH, help="file of the weights")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    train(arguments.steps, arguments.out, arguments.seed)


if __name__ == "__main__":
    main()
