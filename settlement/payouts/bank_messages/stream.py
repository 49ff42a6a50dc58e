"""XML from outside, read as a stream and with nothing that reaches out of it.

A document type is refused before anything else is read, and with it every entity of the file's own: what remains is the
text itself. Files are limited in size and depth. A reader empties the elements that it has done with, so that memory
hardly grows with the file.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from functools import lru_cache
from typing import BinaryIO
from xml.parsers import expat

from database.errors import Invalid

MAX_BYTES = 1 << 30
"""The largest file that is read: 1 GiB, several times what a bank writes of 100,000 payments."""
MAX_DEPTH = 64
_CHUNK = 1 << 14
_REPEATED = frozenset({"TxInfAndSts", "OrgnlPmtInfAndSts", "TxDtls", "Ntry", "Stmt", "Ntfctn"})
"""Elements that a file may have any number of: each leaves its parent once it has been given."""


def events(file: BinaryIO) -> Iterator[tuple[str, str, ET.Element]]:
    """`start` or `end`, the element's name without its namespace, and the element; its tag keeps the namespace.

    At `start` an element has its attributes only; what stands before its end in the file is there at its end.

    Raises:
        Invalid: no well-formed XML, with a document type, too large, or nested too deeply.
    """
    _check_prolog(file)
    parser: ET.XMLPullParser[ET.Element] = ET.XMLPullParser(("start", "end"))
    size = 0
    around: list[ET.Element] = []
    try:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            if size > MAX_BYTES:
                raise Invalid(f"the file has more than {MAX_BYTES >> 20} MiB: ask the bank for smaller ones")
            parser.feed(chunk)
            # What the stubs do not say: the queue holds (event, element).
            for event, element in parser.read_events():  # type: ignore[misc]
                assert isinstance(element, ET.Element)
                name = _local(element.tag)
                if event == "start":
                    around.append(element)
                    if len(around) > MAX_DEPTH:
                        raise Invalid(f"the file is nested more than {MAX_DEPTH} deep: no bank message is")
                yield str(event), name, element
                if event == "end":
                    around.pop()
                    if name in _REPEATED and around:
                        around[-1].remove(element)
        parser.close()
    except ET.ParseError as error:
        raise Invalid(f"the file is no whole XML ({error}): fetch it from the bank again") from None


def _check_prolog(file: BinaryIO) -> None:
    """Refuse a document type, which can only stand before the first element; the file is at its beginning again."""
    parser = expat.ParserCreate()

    class _Begun(Exception):
        pass

    def refuse(*_: object) -> None:
        raise Invalid("the file has a document type (DTD), as no bank's message has: it is not read")

    def begun(*_: object) -> None:
        raise _Begun

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = begun
    try:
        while chunk := file.read(_CHUNK):
            parser.Parse(chunk)
    except _Begun:
        pass
    except expat.ExpatError as error:
        raise Invalid(f"the file is no XML ({error}): fetch it from the bank again") from None
    file.seek(0)


def text_at(element: ET.Element | None, path: str) -> str | None:
    """The stripped text at a path of names without namespaces below ``element``; None if there is none."""
    for name in path.split("/"):
        element = child(element, name)
    text = element.text.strip() if element is not None and element.text else ""
    return text or None


def child(element: ET.Element | None, name: str) -> ET.Element | None:
    """The first child of a name without its namespace, from before the repeated ones."""
    if element is not None:
        for found in element:
            local = _local(found.tag)
            if local == name:
                return found
            if local in _REPEATED:
                break
    return None


def children(element: ET.Element | None, name: str) -> Iterator[ET.Element]:
    """Every child of a name without its namespace, from before the repeated ones: what describes them stands there."""
    if element is not None:
        for found in element:
            local = _local(found.tag)
            if local == name:
                yield found
            elif local in _REPEATED:
                return


@lru_cache(maxsize=1024)
def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
