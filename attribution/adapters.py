"""Adapters: files of low-rank updates (LoRA) that are added to a model's weights while some pictures are rendered.

They are found by the SHA-256 of their content, in the folder `adapters` under `ROYALTY_HOME` and among those shipped
with the miniature. Merged weights render as fast as the model's own, in the same shapes, and go back to the last bit.
"""

import hashlib
import json
import math
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import StableDiffusionPipeline
from safetensors import SafetensorError, safe_open
from safetensors.torch import load

from attribution.miniature import ADAPTER_PATH
from attribution.pipeline import file_digest
from database.errors import Invalid, NotFound, Unavailable
from database.settings import get_settings

MOST_RANK = 512
_MOST_BYTES = 2**31
_KEPT = 16
"""Files kept in memory, as factors."""

_FACTOR = re.compile(
    r"(?P<module>.+?)(?P<style>\.lora_A|\.lora_B|\.lora\.down|\.lora\.up|\.lora_linear_layer\.down|\.lora_linear_layer\.up"
    r"|_lora\.down|_lora\.up)\.weight"
)
"""What diffusers and peft have called the two factors of a layer's update."""


class AppliedAdapter(NamedTuple):
    """An adapter as a picture is rendered with it."""

    sha256: str
    """Of the file, hexadecimal."""
    scale: float


@dataclass(frozen=True, slots=True)
class _Update:
    """What one layer's weights get added, at scale 1: `up @ down * strength`."""

    weight: torch.nn.Parameter
    down: torch.Tensor
    """Shape (rank, inputs)."""
    up: torch.Tensor
    """Shape (outputs, rank)."""
    strength: float

    def delta(self) -> torch.Tensor:
        """In fp32, in the shape of the weights."""
        return (self.up @ self.down).reshape(self.weight.shape) * self.strength


def adapters_directory() -> Path:
    """Where files of adapters are put."""
    return get_settings().royalty_home / "adapters"


def find_adapter(sha256: str) -> Path | None:
    """The file of an adapter on this machine; its name does not matter."""
    for folder in (adapters_directory(), ADAPTER_PATH.parent):
        for file in sorted(folder.glob("*.safetensors")):
            try:
                if file_digest(file).hex() == sha256:
                    return file
            except OSError:
                continue  # taken away at this moment, or not ours to read
    return None


def store_adapter(file: Path) -> bytes:
    """Copy an adapter's file to where workers find it, whole or not at all; its SHA-256.

    Raises:
        NotFound: there is no such file.
        Unavailable: the folder cannot be written.
    """
    try:
        sha256 = file_digest(file)
    except OSError as error:
        raise NotFound(f"there is no adapter {file}; give the path of its .safetensors file") from error
    if find_adapter(sha256.hex()) is None:
        folder = adapters_directory()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                part = Path(scratch) / "part"
                shutil.copyfile(file, part)
                part.replace(folder / f"{sha256.hex()}.safetensors")
        except OSError as error:
            raise Unavailable(
                f"{folder} cannot be written ({error.strerror}); free some disk space or set ROYALTY_HOME"
            ) from error
    return sha256


class Adapters:
    """The adapters that one pipeline has rendered with."""

    def __init__(self, pipeline: StableDiffusionPipeline) -> None:
        self._pipeline = pipeline
        self._known: dict[str, list[_Update]] = {}

    def load(self, sha256: str) -> list[_Update]:
        """The updates of an adapter.

        Raises:
            Unavailable: the file is not on this machine.
            Invalid: it is no LoRA, or not one for this model.
        """
        if sha256 not in self._known:
            file = find_adapter(sha256)
            if file is None:
                raise Unavailable(missing_adapter(sha256))
            while len(self._known) >= _KEPT:
                del self._known[next(iter(self._known))]
            self._known[sha256] = self._read(file, sha256)
        return self._known[sha256]

    @contextmanager
    def applied(self, adapters: Sequence[AppliedAdapter]) -> Iterator[None]:
        """The model with adapters merged into its weights; afterwards these are what they were, to the last bit.

        Raises:
            Unavailable, Invalid: see `load`.
        """
        loaded = [(self.load(adapter.sha256), adapter.scale) for adapter in adapters]
        deltas: dict[torch.nn.Parameter, torch.Tensor] = {}
        with torch.inference_mode(False), torch.no_grad():
            for updates, scale in loaded:
                for update in updates:
                    delta = scale * update.delta()
                    before = deltas.get(update.weight)
                    deltas[update.weight] = delta if before is None else before + delta
            originals = {weight: weight.detach().clone() for weight in deltas}
        try:
            with torch.inference_mode(False), torch.no_grad():
                for weight, delta in deltas.items():
                    weight.copy_(originals[weight].float() + delta)
            yield
        finally:
            with torch.inference_mode(False), torch.no_grad():
                for weight, original in originals.items():
                    weight.copy_(original)

    def _read(self, file: Path, sha256: str) -> list[_Update]:
        name = f"the adapter {sha256[:12]}"
        if file.stat().st_size > _MOST_BYTES:
            raise Invalid(f"{name} is larger than {_MOST_BYTES} bytes: an adapter of low rank is not")
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise Unavailable(f"{name} was replaced while it was read: try again")
        try:
            alphas = _alphas_of_metadata(file)
            held = load(content)
            # diffusers drops these factors with a warning, and what it then renders is another adapter.
            if any("dora_scale" in key for key in held):
                raise Invalid(f"{name} is a DoRA, which is not rendered: log a plain LoRA in its place")
            state, given = StableDiffusionPipeline.lora_state_dict(held)
            network = {
                _module(key.removesuffix(".alpha")): float(alpha) for key, alpha in (given or {}).items()
            }
        except (SafetensorError, ValueError, KeyError) as error:
            raise Invalid(f"{name} is no LoRA file that diffusers reads: {type(error).__name__}") from error
        updates = []
        for module, (down, up) in _factors(state, name).items():
            part, _, layer = module.partition(".")
            alpha = network.get(module, alphas.get(part))
            updates.append(self._update(part, layer, down, up, alpha, name))
        if not updates:
            raise Invalid(f"{name} holds no low-rank update: was the right file logged?")
        return updates

    def _update(
        self, part: str, layer: str, down: torch.Tensor, up: torch.Tensor, alpha: float | None, name: str
    ) -> _Update:
        rank = down.shape[0]
        if not 1 <= rank <= MOST_RANK:
            raise Invalid(f"{name} has rank {rank}; 1 to {MOST_RANK} is rendered")
        root = {"unet": self._pipeline.unet, "text_encoder": self._pipeline.text_encoder}.get(part)
        target = None if root is None else _submodule(root, layer)
        weight = getattr(target, "weight", None)
        if not isinstance(weight, torch.nn.Parameter):
            raise Invalid(f"{name} is for another model: this one has no layer {part}.{layer}"[:300])
        down, up = down.float().flatten(1), up.float().flatten(1)
        if up.shape[1] != rank or (up.shape[0], down.shape[1]) != (weight.shape[0], weight[0].numel()):
            raise Invalid(f"{name} is for another model: {part}.{layer} has another size"[:300])
        strength = 1.0 if alpha is None else alpha / rank
        if not (down.isfinite().all() and up.isfinite().all() and math.isfinite(strength)):
            raise Invalid(f"{name} has weights that are no numbers: put the right file back")
        return _Update(weight, down.to(weight.device), up.to(weight.device), strength)


def missing_adapter(sha256: str) -> str:
    """What to say, and to do, where an adapter's file is not here."""
    return (
        f"made with the adapter {sha256[:12]}, which is not on this machine: put its .safetensors file into the folder"
        " adapters under ROYALTY_HOME"
    )


def _alphas_of_metadata(file: Path) -> dict[str, float]:
    """The alpha of each part, where the file was saved with its configuration."""
    with safe_open(file, framework="pt") as opened:
        written = (opened.metadata() or {}).get("lora_adapter_metadata")
    config: Mapping[str, Any] = json.loads(written) if written else {}
    for part in ("unet", "text_encoder"):
        if config.get(f"{part}.alpha_pattern") or config.get(f"{part}.use_rslora"):
            raise ValueError("layers of different alpha")
    return {
        part: float(config[f"{part}.lora_alpha"])
        for part in ("unet", "text_encoder")
        if f"{part}.lora_alpha" in config
    }


def _factors(state: Mapping[str, torch.Tensor], name: str) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """The two factors of each layer, by the layer's name."""
    downs: dict[str, torch.Tensor] = {}
    ups: dict[str, torch.Tensor] = {}
    for key, tensor in state.items():
        found = _FACTOR.fullmatch(key)
        if found is None or tensor.ndim not in (2, 4):
            raise Invalid(
                f"{name} holds {key[:100]}, which is no low-rank update of a layer: it cannot be rendered"
            )
        (downs if found["style"].endswith(("A", "down")) else ups)[_module(key)] = tensor
    if downs.keys() != ups.keys():
        raise Invalid(f"{name} lacks half of a layer's update: put the right file back")
    return {module: (down, ups[module]) for module, down in downs.items()}


def _module(key: str) -> str:
    """The layer that a factor, or an alpha named like one, belongs to."""
    found = _FACTOR.fullmatch(key)
    module = (found["module"] if found else key).replace(".processor", "")
    return f"{module}.0" if module.endswith(".to_out") else module


def _submodule(root: torch.nn.Module, name: str) -> torch.nn.Module | None:
    """A layer by its name; text encoders have been saved with and without the prefix `text_model`."""
    for candidate in (name, name.removeprefix("text_model."), f"text_model.{name}"):
        try:
            return root.get_submodule(candidate)
        except AttributeError:
            continue
    return None
