from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from attribution import broker
from attribution.catalogue import record_artists
from attribution.method import quick_method
from attribution.pipeline import Model, load_model
from attribution.registration import ensure_method
from attribution.worker import Worker
from database.engine import session
from database.roles import Role
from database.settings import get_settings
from tests.attribution.tiny import save_tiny_pipeline
from tests.attribution.worker_process import ARTISTS, all_known, no_effect


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


@pytest.fixture
def world(database: str, tiny: Model) -> Iterator[str]:
    """A catalogue and a calibrated method; yields a superuser's conninfo."""
    with session(Role.ATTRIBUTION) as opened:
        record_artists(opened, ARTISTS, actor="test", reason="test")
        ensure_method(opened, quick_method(tiny), [no_effect(tiny)], [all_known(tiny)])
    yield database
    broker.disconnect()


@pytest.fixture
def worker(database: str, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """A worker in this process, without Celery: for what it does, not for how it is run."""
    monkeypatch.setenv("ROYALTY_MODEL", str(tiny_folder))
    monkeypatch.setenv("ROYALTY_METHOD", "quick")
    get_settings.cache_clear()
    made = Worker()
    yield made
    made.close()
    broker.disconnect()
