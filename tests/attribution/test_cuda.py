"""The engine on a GPU: half precision, one compiled graph for the one batch shape, decoding in chunks."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from attribution.characteristic import Measurer, cosine
from attribution.miniature import MINIATURE_PATH
from attribution.pipeline import Model, load_model
from attribution.render import RenderEngine
from tests.attribution.test_same_pictures import drawn, drawn_by_diffusers, mixed, quiet, request_for

needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="no GPU that torch can use on this machine: its path is not exercised",
)


@pytest.fixture(scope="module")
def on_gpu() -> Model:
    return load_model(device="cuda")


@needs_gpu
def test_pictures_are_the_pipelines_in_half_precision(on_gpu: Model) -> None:
    plain = StableDiffusionPipeline.from_pretrained(MINIATURE_PATH, variant="fp16", dtype=torch.float16)
    plain = quiet(plain.to("cuda"))
    requests = mixed(on_gpu, "a big star", "Amara Diallo", width=64, height=64, steps=12)
    ours = drawn(RenderEngine(on_gpu, bucket=16), requests)
    for request, picture in zip(requests, ours, strict=True):
        assert picture.isfinite().all()
        [theirs] = drawn_by_diffusers(plain, request)  # noise of a generator on the CPU, like ours
        assert (picture - theirs).abs().mean() < 3e-3


@needs_gpu
def test_values_are_nearly_those_of_a_cpu(on_gpu: Model) -> None:
    prompts = ["", "a star", "art by Amara Diallo", "a star by Amara Diallo"]
    requests = [request_for(on_gpu, prompt, width=64, height=64, steps=12) for prompt in prompts]
    values = []
    for model in (on_gpu, load_model(device="cpu")):
        embeddings = [found.embedding for found in Measurer(RenderEngine(model)).measure(requests)]
        values.append([cosine(embedding, embeddings[-1]) for embedding in embeddings])
    assert max(abs(here - there) for here, there in zip(*values, strict=True)) < 10_000_000


@needs_gpu
def test_rows_do_not_depend_on_their_neighbours(on_gpu: Model) -> None:
    engine = RenderEngine(on_gpu, bucket=16)
    wanted = request_for(on_gpu, "a star by Bruno Keller", seed=7)
    others = [request_for(on_gpu, "a circle", seed=seed) for seed in range(7)]
    [alone] = drawn(engine, [wanted])
    assert torch.equal(drawn(engine, [*others, wanted])[-1], alone)


@pytest.mark.slow
def test_a_step_is_one_graph(tiny_folder: Path) -> None:
    """What a GPU needs of the UNet can be checked without one: nothing in a step falls out of the compiled graph."""
    unet = load_model(tiny_folder, device="cpu").pipeline.unet
    graph = torch.compile(unet, backend="eager", fullgraph=True, dynamic=False)
    inputs = torch.randn(4, 4, 8, 8).contiguous(memory_format=torch.channels_last)
    texts = torch.randn(4, 77, 32)
    with torch.inference_mode():
        for timestep in (torch.tensor(500), torch.tensor(3)):
            step = {"encoder_hidden_states": texts, "return_dict": False}
            assert torch.equal(graph(inputs, timestep, **step)[0], unet(inputs, timestep, **step)[0])
