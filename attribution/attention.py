"""Attention for many denoising steps over the same texts on a CPU: the same numbers as diffusers', in less time.

What a layer makes of the texts (keys and values) is the same in every step and is computed once for a batch. Texts of
77 tokens are padded to whole vectors of the processor: the kernel takes the odd rest one number at a time.
"""

from typing import Any

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch.nn import functional

_LANES = 16
"""Numbers in fp32 that the widest vectors hold."""


class TextAttention(AttnProcessor2_0):
    """One layer's attention to the texts of a batch; it remembers what it made of the latest texts.

    The texts of a batch are one tensor that nobody writes to, so that the tensor itself says whether they are new.
    """

    def __init__(self) -> None:
        super().__init__()
        self._texts: torch.Tensor | None = None
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
