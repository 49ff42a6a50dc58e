"""Attention for many denoising steps over the same texts on a CPU: the same numbers as diffusers', in less time.

What a layer makes of the texts (keys and values) is the same in every step and is computed once for a batch. Texts of
77 tokens are padded to whole vectors of the processor: the kernel takes the odd rest one number at a time.

Pictures that samples were prompted with are attended to beside the texts, as IP-Adapter does (arXiv 2308.06721). A
sample without pictures gets exactly nothing added.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch.nn import functional

from database.errors import Invalid

_LANES = 16
"""Numbers in fp32 that the widest vectors hold."""


class PictureSlot(NamedTuple):
    """What the samples of a batch see through one adapter."""

    tokens: torch.Tensor
    """What the adapter makes of the pictures, shape (samples, positions, width of texts)."""
    mask: torch.Tensor
    """0 where a sample has a picture, else -inf, shape (samples, 1, 1, positions)."""
    scales: torch.Tensor
    """How strongly each sample sees them, 0 where it has none, shape (samples, 1, 1, 1)."""
    layers: Sequence[tuple[torch.Tensor, torch.Tensor]]
    """The weights of each cross-attention that make keys and values of tokens, in the order of the UNet's layers."""


class _Pictures(NamedTuple):
    """What one layer makes of a slot."""

    keys: torch.Tensor
    values: torch.Tensor
    mask: torch.Tensor
    scales: torch.Tensor


class TextAttention(AttnProcessor2_0):
    """One layer's attention to the texts of a batch; it remembers what it made of the latest texts.

    The texts of a batch are one tensor that nobody writes to, so that the tensor itself says whether they are new.
    """

    def __init__(self) -> None:
        super().__init__()
        self._texts: torch.Tensor | None = None
        self._pictures: list[_Pictures] = []
        self._keys = self._values = torch.empty(0)
        self._mask: torch.Tensor | None = None

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Attend; shape (samples, positions, width) in and out."""
        if encoder_hidden_states is None or attention_mask is not None:
            attended: torch.Tensor = super().__call__(
                attn, hidden_states, encoder_hidden_states, attention_mask, *args, **kwargs
            )
            return attended
        if self._texts is not encoder_hidden_states:
            self._read(attn, encoder_hidden_states)
        query = _by_head(attn, attn.to_q(hidden_states))
        found = functional.scaled_dot_product_attention(query, self._keys, self._values, attn_mask=self._mask)
        for keys, values, mask, scales in self._pictures:
            seen = functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
            found = found + scales * seen
        result: torch.Tensor = attn.to_out[0](found.transpose(1, 2).flatten(2))
        return result / attn.rescale_output_factor

    def _read(self, attn: Attention, texts: torch.Tensor) -> None:
        odd = -texts.shape[1] % _LANES
        self._keys, self._values = (
            functional.pad(_by_head(attn, project(texts)), (0, 0, 0, odd))
            for project in (attn.to_k, attn.to_v)
        )
        self._mask = None
        if odd:
            self._mask = texts.new_zeros(texts.shape[1] + odd)
            self._mask[texts.shape[1] :] = -torch.inf  # padding weighs exactly nothing
            self._mask = self._mask.expand(1, 1, 1, -1)
        self._texts = texts

    def show(self, attn: Attention, slots: Sequence[PictureSlot], place: int) -> None:
        """Attend to pictures from now on; to none where there are no slots. `place` is the layer's."""
        self._pictures = []
        for slot in slots:
            keys, values = (
                _by_head(attn, functional.linear(slot.tokens, part)) for part in slot.layers[place]
            )
            self._pictures.append(_Pictures(keys, values, slot.mask, slot.scales))


@contextmanager
def showing(unet: torch.nn.Module, slots: Sequence[PictureSlot]) -> Iterator[None]:
    """A UNet that attends to pictures beside the texts, if there are slots; afterwards it is what it was.

    Raises:
        Invalid: its attention is of another kind.
    """
    layers = text_layers(unet) if slots else []
    before = [layer.processor for layer in layers]
    try:
        for place, layer in enumerate(layers):
            if not isinstance(layer.processor, TextAttention):
                if not _is_plain(layer):
                    raise Invalid(
                        "this model's attention is not Stable Diffusion's: it takes no image prompts"
                    )
                layer.set_processor(TextAttention())
            layer.processor.show(layer, slots, place)
        yield
    finally:
        for place, (layer, processor) in enumerate(zip(layers, before, strict=True)):
            layer.set_processor(processor)
            if isinstance(processor, TextAttention):
                processor.show(layer, (), place)


def text_layers(unet: torch.nn.Module) -> list[Attention]:
    """The layers of a UNet that attend to texts, in the order in which adapters number them."""
    return [
        module for module in unet.modules() if isinstance(module, Attention) and module.is_cross_attention
    ]


def remember_texts(unet: torch.nn.Module) -> None:
    """Give every plain cross-attention of a UNet a `TextAttention`; adapters' and others' are left as they are."""
    for module in unet.modules():
        if isinstance(module, Attention) and _is_plain(module):
            module.set_processor(TextAttention())


def _is_plain(attn: Attention) -> bool:
    unusual = (attn.spatial_norm, attn.group_norm, attn.norm_cross, attn.norm_q, attn.norm_k)
    return (
        type(attn.processor) is AttnProcessor2_0
        and bool(attn.is_cross_attention)
        and not any(unusual)
        and not attn.residual_connection
    )


def _by_head(attn: Attention, tensor: torch.Tensor) -> torch.Tensor:
    """From (samples, positions, width) to (samples, heads, positions, width of a head)."""
    return tensor.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
