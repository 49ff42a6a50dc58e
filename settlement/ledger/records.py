r"""Records as bytes: what a row is hashed as, read from the database by COPY and hashed here, never by the server.

A row's bytes are the line that COPY ... TO STDOUT emits for it in text format: columns in a fixed order separated by
tabs, ``\N`` for NULL, backslash escapes as COPY documents them, a newline at the end. Instants are in UTC and ISO,
bytea in hex. The rows come from the views `audit.record_*`, the same ones for who logs and for who verifies.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus

from settlement.ledger.merkle import LEAF, leaf_hash, stream_root

# Postings that are held in memory at a time, while their journals are hashed.
_BUCKET = 50_000


class Digest(NamedTuple):
    """A record's reference and the SHA-256 of its bytes."""

    reference: str
    sha256: bytes


class Row(NamedTuple):
    """One row of a tree of rows: the key that names it to people, and its leaf hash."""

    key: str
    hash: bytes


def copy_rows(connection: psycopg.Connection[Any], query: str) -> Iterator[bytes]:
    """Each row of a query as COPY's text line, with its newline. Read to the end, or the transaction is aborted."""
    # Of the transaction: COPY writes by them, and another session's habits must not change a hash.
    connection.execute(
        "SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL TimeZone = 'UTC'; SET LOCAL bytea_output = 'hex'"
    )
    # By libpq's own call, which gives a row at a time: psycopg's costs three times as much for each.
    pgconn = connection.pgconn
    result = pgconn.exec_(f"COPY ({query}) TO STDOUT".encode())
    if result.status != ExecStatus.COPY_OUT:
        raise error_from_result(result)
    read = pgconn.get_copy_data
    size = 1
    try:
        size, row = read(0)
        while size > 0:
            yield bytes(row)
            size, row = read(0)
    finally:
        if size > 0:  # left before the end
            pgconn.get_cancel().cancel()
            while read(0)[0] > 0:
                pass
        ended = pgconn.get_result()
        while pgconn.get_result() is not None:
            pass
    if ended is None or ended.status != ExecStatus.COMMAND_OK:
        raise error_from_result(ended) if ended is not None else psycopg.OperationalError("COPY was cut off")


def keyed_rows(connection: psycopg.Connection[Any], query: str) -> Iterator[Row]:
    """Key and leaf hash of each row of a query whose first column is the key; the record is what follows it."""
    for line in copy_rows(connection, query):
        key, record = line.split(b"\t", 1)
        yield Row(unescaped(key), leaf_hash(record))


def rows_root(connection: psycopg.Connection[Any], queries: Iterable[str]) -> bytes:
    """Root of the tree of the queries' rows, one query after the other, as `keyed_rows` hashes them."""
    # Not by its rows: a close hashes millions of them, whose keys nobody asks for.
    return stream_root(
        sha256(LEAF + line.split(b"\t", 1)[1]).digest()
        for query in queries
        for line in copy_rows(connection, query)
    )


def row_digests(connection: psycopg.Connection[Any], query: str) -> Iterator[Digest]:
    """Reference and SHA-256 of each row of a query whose first column is the reference; the record is what follows."""
    for line in copy_rows(connection, query):
        reference, record = line.split(b"\t", 1)
        yield Digest(unescaped(reference), sha256(record).digest())


def journal_digests(
    connection: psycopg.Connection[Any], condition: str = "true"
) -> Iterator[Sequence[Digest]]:
    """Every journal that a condition on `audit.record_journal` selects, in the order of ids, a batch at a time.

    A journal's record is its header row followed by its posting rows in the order of lines.
    """
    buckets = connection.execute(
        f"""
        SELECT array_agg(id ORDER BY id) FROM (
            SELECT id, div(sum(greatest(lines, 0)::bigint) OVER (ORDER BY id), {_BUCKET}) AS bucket
            FROM audit.record_journal AS j WHERE {condition}
        ) AS j GROUP BY bucket ORDER BY bucket
        """  # noqa: S608  (a condition of ours)
    ).fetchall()
    for (ids,) in buckets:
        yield _journals(connection, ids)


def _journals(connection: psycopg.Connection[Any], ids: list[int]) -> list[Digest]:
    whole = ids[-1] - ids[0] + 1 == len(ids)
    some = (
        f"BETWEEN {ids[0]} AND {ids[-1]}" if whole else f"= ANY ('{{{','.join(map(str, ids))}}}'::bigint[])"
    )
    # Headers first, because one connection reads one COPY at a time; the lines come in the same order.
    headers = list(copy_rows(connection, f"SELECT * FROM audit.record_journal WHERE id {some} ORDER BY id"))  # noqa: S608
    lines = copy_rows(
        connection,
        f"SELECT * FROM audit.record_posting WHERE journal_id {some} ORDER BY journal_id, line",  # noqa: S608
    )
    digests = []
    line = next(lines, None)
    for header in headers:
        reference, record = header.split(b"\t", 1)
        id, _, _ = record.partition(b"\t")
        mine = id + b"\t"
        digest = sha256(record)
        while line is not None:
            if line.startswith(mine):
                digest.update(line)
            elif int(line.partition(b"\t")[0]) > int(id):
                break
            # Lines of no journal are in no record; that there are none is a check of its own.
            line = next(lines, None)
        digests.append(Digest(unescaped(reference), digest.digest()))
    for _ in lines:  # of no journal either
        pass
    return digests


def unescaped(field: bytes) -> str:
    """A field of COPY's text format without control characters, which keys and references do not have."""
    return field.decode().replace("\\\\", "\\")


def escaped(field: str) -> str:
    """A field without control characters as COPY's text format writes it."""
    return field.replace("\\", "\\\\")
