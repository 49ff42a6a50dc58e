from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from attribution.pipeline import Model, load_model
from tests.attribution.tiny import save_tiny_pipeline


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline of random weights with the classes of the real one: fast, and its pictures mean nothing."""
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_pipeline(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Iterator[Model]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield load_model(tiny_folder, device="cpu")
    torch.set_num_threads(threads)
