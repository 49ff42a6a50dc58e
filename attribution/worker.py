"""The worker: claims images, attributes them a batch at a time, writes each batch in one transaction.

No transaction is open while pictures are rendered. Being killed anywhere loses nothing: rows of a worker that is gone
are claimed again, and a result that is there already stands.
"""

import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import psycopg
import structlog
from sqlalchemy.orm import Session

from attribution import jobs
from attribution.attribute import Attributor, Catalogue, Fails, Waits
from attribution.catalogue import Artist, artists, catalogue_version, merged_artists
from attribution.generation import logged_images
from attribution.jobs import LEASE, Claim
from attribution.known_names import read_gate
from attribution.name_index import NameIndex
from attribution.pipeline import Model, load_model
from attribution.registration import (
    configured_method,
    ensure_method,
    runnable_methods,
    shipped_recognition,
    shipped_tables,
)
from attribution.results import ImageResult, attributed_among, current_method, placebo_levels, record_results
from database.engine import conninfo, session
from database.errors import UserError
from database.logs import described
from database.roles import Role
from database.settings import get_settings

BATCH_LIMIT = timedelta(minutes=20)
"""A batch that takes longer hangs: its lease is not renewed any more, and another worker takes it over."""

_log = structlog.get_logger(__name__)


class Presence:
    """A thread with a connection of its own that says this worker is alive, and renews its leases during a batch.

    Args:
        name: the worker's.
        lease: how long a lease is renewed for; it is renewed four times in that time.
    """

    def __init__(self, name: str, lease: timedelta = LEASE) -> None:
        self._name = name
        self._lease = lease
        self._announced = threading.Event()
        self._stopped = threading.Event()
        self._batch_began: float | None = None
        self._thread = threading.Thread(target=self._keep, name="presence", daemon=True)

    def start(self) -> None:
        """Announce the worker; on return nobody takes it for gone."""
        self._thread.start()
        # Without an announcement the sweeper takes rows back early: they are computed twice and written once.
        self._announced.wait(10)

    def stop(self) -> None:
        """End the thread and its connection."""
        self._stopped.set()
        self._thread.join(5)

    def batch_began(self) -> None:
        """Count the batch's time from now."""
        self._batch_began = time.monotonic()

    def batch_ended(self) -> None:
        """No batch is in hand."""
        self._batch_began = None

    def _hangs(self) -> bool:
        began = self._batch_began
        return began is not None and time.monotonic() - began > BATCH_LIMIT.total_seconds()

    def _keep(self) -> None:
        pause = self._lease.total_seconds() / 4
        while not self._stopped.is_set():
            if self._hangs():
                # Announced again when the batch is through after all: until then nobody is to count on this worker.
                self._stopped.wait(1)
                continue
            try:
                with psycopg.connect(
                    conninfo(Role.ATTRIBUTION), autocommit=True, connect_timeout=5
                ) as connection:
                    jobs.announce(connection, self._name)
                    self._announced.set()
                    while not self._stopped.wait(pause):
                        if self._hangs():
                            _log.error("batch hangs, its lease runs out", worker=self._name)
                            break
                        # Between two batches there is nothing to keep: a batch that could be neither written nor
                        # given back, as while the database was away, is to find another worker.
                        if self._batch_began is not None:
                            jobs.renew(connection, self._name, self._lease)
            except psycopg.Error as error:
                _log.warning("presence lost, connecting again", worker=self._name, error=type(error).__name__)
                self._stopped.wait(1)


class Worker:
    """Attributes what is due. Loads the model when it is first needed, and keeps it."""

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._stopping = threading.Event()
        self._presence = Presence(self.name)
        self._model: Model | None = None
        self._attributors: dict[int, Attributor] = {}
        self._catalogue: Catalogue | None = None
        self._artists: list[Artist] = []
        """Of the catalogue."""
        self._queued = 0
        """Every image up to this one is known to be queued."""

    def load(self) -> None:
        """Load the model, record the method version, and announce the worker; a second call does nothing.

        Raises:
            NotFound, Unavailable, Invalid: the model cannot be loaded.
        """
        if self._model is not None:
            return
        settings = get_settings()
        model = load_model(
            settings.royalty_model,
            embedding=settings.royalty_embedding_model,
            download=settings.royalty_download,
        )
        with session(Role.ATTRIBUTION) as opened:
            method = configured_method(opened, model)
            ensure_method(opened, method, shipped_tables(model), shipped_recognition(model))
        self._presence.start()
        self._model = model
        _log.info(
            "worker ready",
            worker=self.name,
            model=model.source,
            device=model.device.type,
            method=method.name,
            method_sha256=method.sha256.hex(),
        )

    def run(self, *, seconds: float, more: Callable[[], object]) -> bool:
        """Attribute batch after batch until nothing is due, the time is over, or `stop` was called.

        Args:
            seconds: after this time no further batch is begun.
            more: called once if there is more than one batch, so that other workers take part.

        Returns:
            True if there may be more to do.
        """
        self.load()
        ends = time.monotonic() + seconds
        shared = False
        while not self._stopping.is_set() and time.monotonic() < ends:
            attributor, method_id, claims = self._claim()
            if attributor is None:
                return False
            if len(claims) == attributor.batch and not shared:
                more()
                shared = True
            self._presence.batch_began()
            try:
                self._attribute(attributor, method_id, claims)
            except Exception as error:
                # This worker lives on and renews its leases: what it does not give back, nobody could take over.
                self._give_back(method_id, claims, error)
                raise
            finally:
                self._presence.batch_ended()
        return True

    def _give_back(self, method_id: int, claims: Sequence[Claim], error: Exception) -> None:
        """Hand a batch back that could not be attributed or written; the attempt counts."""
        reason = f"the batch could not be finished: {described(error)}"
        with session(Role.ATTRIBUTION) as opened:
            jobs.fail(opened, self.name, {claim.image_id: reason for claim in claims}, method_id)

    def _claim(self) -> tuple[Attributor | None, int, list[Claim]]:
        """A batch of one method version, the newest with work first; no attributor where nothing is due."""
        assert self._model is not None
        with session(Role.ATTRIBUTION) as opened:
            methods = runnable_methods(opened, self._model)
            current = current_method(opened)
            if current is not None:
                self._queued = jobs.enqueue_missing(opened, current, self._queued)
            for method_id, method in methods.items():
                if method_id not in self._attributors:
                    self._attributors[method_id] = Attributor(self._model, method)
                attributor = self._attributors[method_id]
                claims = jobs.claim(opened, self.name, method_id, attributor.batch)
                if claims:
                    return attributor, method_id, claims
        return None, 0, []

    def _attribute(self, attributor: Attributor, method_id: int, claims: Sequence[Claim]) -> None:
        began = time.perf_counter()
        ids = [claim.image_id for claim in claims]
        with session(Role.ATTRIBUTION) as opened:
            done = attributed_among(opened, method_id, ids)
            images = logged_images(opened, [image_id for image_id in ids if image_id not in done])
            levels = placebo_levels(opened, method_id, attributor.model.weights_sha256)
            known = self._refresh_catalogue(opened)
            gate = read_gate(opened, attributor.method, attributor.model.weights_sha256, self._artists)
            catalogue = replace(known, gate=gate)
        outcomes = attributor.attribute(images, catalogue, levels)
        results = [outcome for outcome in outcomes.values() if isinstance(outcome, ImageResult)]
        waiting = {key: outcome.reason for key, outcome in outcomes.items() if isinstance(outcome, Waits)}
        failed = {key: outcome.reason for key, outcome in outcomes.items() if isinstance(outcome, Fails)}
        with session(Role.ATTRIBUTION) as opened:
            record_results(opened, method_id, results)
            jobs.finish(opened, [*done, *(result.image_id for result in results)], method_id)
            jobs.wait(opened, self.name, waiting, method_id)
            jobs.fail(opened, self.name, failed, method_id)
        _log.info(
            "batch attributed",
            worker=self.name,
            images=len(claims),
            results=len(results),
            waiting=len(waiting),
            failed=len(failed),
            seconds=round(time.perf_counter() - began, 3),
        )

    def _refresh_catalogue(self, opened: Session) -> Catalogue:
        version = catalogue_version(opened)
        if self._catalogue is None or self._catalogue.version != version:
            self._artists = artists(opened)
            self._catalogue = Catalogue(NameIndex(self._artists), version, merged=merged_artists(opened))
        return self._catalogue

    def stop(self) -> None:
        """Begin no further batch."""
        self._stopping.set()

    def close(self) -> None:
        """Give back what is still claimed and leave."""
        self._stopping.set()
        if self._model is not None:
            with session(Role.ATTRIBUTION) as opened:
                jobs.release(opened, self.name)
            self._presence.stop()


def main() -> None:
    """`python -m attribution.worker`: a Celery worker with the schedule in it."""
    from attribution.tasks import run_worker

    try:
        run_worker()
    except UserError as error:
        sys.exit(f"attribution.worker: {error.message}")


if __name__ == "__main__":
    main()
