"""Attention to texts that is computed once a batch: diffusers' numbers, and never those of an earlier batch."""

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0

from attribution.attention import TextAttention, remember_texts
from attribution.pipeline import Model
from attribution.render import RenderEngine
from tests.attribution.test_same_pictures import drawn, request_for


def layer(**settings: object) -> Attention:
    torch.manual_seed(0)
    return Attention(query_dim=32, cross_attention_dim=24, heads=4, dim_head=8, **settings).eval()


@pytest.mark.parametrize("tokens", [1, 16, 77, 80])
@torch.inference_mode()
def test_the_same_numbers_as_diffusers(tokens: int) -> None:
    attention = layer(rescale_output_factor=2.0)
    positions, texts = torch.randn(3, 64, 32), torch.randn(3, tokens, 24)
    theirs = attention(positions, texts)
    attention.set_processor(TextAttention())
    for _ in range(2):
        assert (attention(positions, texts) - theirs).abs().max() < 1e-6


@torch.inference_mode()
def test_texts_are_read_once_and_new_ones_again() -> None:
    attention = layer()
    attention.set_processor(TextAttention())
    read: list[int] = []
    attention.to_k.register_forward_hook(lambda *_: read.append(1))
    positions, texts = torch.randn(2, 16, 32), torch.randn(2, 77, 24)
    first = attention(positions, texts)
    attention(positions + 1, texts)
    assert len(read) == 1
    other = attention(positions, texts + 1)
    assert len(read) == 2
    assert not torch.allclose(first, other)
    assert torch.equal(attention(positions, texts), first)
    masked = attention(positions, texts, attention_mask=torch.zeros(2 * 4, 1, 77))
    assert (masked - first).abs().max() < 1e-6


def test_only_plain_attention_to_texts_is_replaced() -> None:
    plain, unknown, normed, own = layer(), layer(), layer(qk_norm="layer_norm"), Attention(query_dim=32)
    unknown.set_processor(AttnProcessor())
    layers = torch.nn.ModuleList([plain, unknown, normed, own])
    remember_texts(layers)
    kinds = [type(attention.processor) for attention in layers]
    assert kinds == [TextAttention, AttnProcessor, AttnProcessor2_0, AttnProcessor2_0]


def test_the_engine_uses_it_and_its_batches_keep_apart(tiny: Model) -> None:
    engine = RenderEngine(tiny, bucket=4)
    kinds = [type(attention) for attention in tiny.pipeline.unet.attn_processors.values()]
    assert kinds.count(TextAttention) == len(kinds) // 2 > 0
    star, circle = (request_for(tiny, text, steps=2) for text in ("a star", "a circle"))
    [first], [second], [again] = (drawn(engine, [request]) for request in (star, circle, star))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
