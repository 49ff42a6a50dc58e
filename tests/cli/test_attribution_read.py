"""`royalty attribution read`: how a prompt is read, for a person."""

import pytest

from attribution.catalogue import Artist, record_artists
from database.engine import session
from database.roles import Role
from tests.cli.test_commands import royalty


@pytest.mark.usefixtures("database")
def test_a_person_sees_how_a_prompt_is_read() -> None:
    nobody = royalty("attribution", "read", "by Klimt")
    assert nobody.returncode != 0
    assert nobody.stderr.strip().endswith("`royalty catalogue load FILE`")
    with session(Role.SETTLEMENT) as opened:
        artists = [Artist("klimt", 1, "Gustav Klimt"), Artist("kahlo", 1, "Frida Kahlo")]
        record_artists(opened, artists, actor="mara", reason="test")
    read = royalty("attribution", "read", "portrait of Frida Kahlo by Gustav Klimpt")
    assert read.returncode == 0, read.stderr
    for words in (
        "Gustav Klimpt",
        "preceded by 'by'",
        "person in the picture",
        "artists: klimt",
        "content alone: 'portrait of Frida Kahlo'",
    ):
        assert words in read.stdout, read.stdout
