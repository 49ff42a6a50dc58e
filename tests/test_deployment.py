"""The server deployment: its files parse, hold no secrets, and name only what the program knows."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from database.roles import Role
from database.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
OURS = ("migrate", "api", "worker", "beat", "payer", "cli")
PASSWORD = "DATABASE_PASSWORD_"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_every_process_of_the_deployment_is_there(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"postgres", "rabbitmq", *OURS}
    assert compose["services"]["postgres"]["image"] == "postgres:18"


def test_no_secret_has_a_default(compose: dict[str, Any]) -> None:
    """A secret comes from the environment, and compose stops with a message where it is missing."""
    for name, service in compose["services"].items():
        for variable, value in service.get("environment", {}).items():
            if "PASS" in variable or variable == "BANK_DETAILS_KEY":
                assert re.fullmatch(r"\$\{\w+:\?set \w+ in \.env\}", value), f"{name}: {variable}"
            elif value and "@" in value:
                assert re.search(r"://\w+:\$\{\w+:\?set \w+ in \.env\}@", value), f"{name}: {variable}"


def test_the_example_names_every_secret_and_gives_none(compose: dict[str, Any]) -> None:
    example = (ROOT / ".env.example").read_text()
    wanted = set(re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text()))
    assert set(re.findall(r"^(\w+)=$", example, re.MULTILINE)) == wanted
    assert not re.findall(r"^\w+=.+$", example, re.MULTILINE)


def test_variables_are_those_that_the_program_reads(
    compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {name.upper() for name in Settings.model_fields}
    for service in OURS:
        for variable in compose["services"][service]["environment"]:
            if variable.startswith(PASSWORD):
                role = Role(variable.removeprefix(PASSWORD).lower())
                monkeypatch.setenv(variable, "of this role")
                assert Settings().password_of(role) == "of this role"
            else:
                assert variable in settings, f"{service}: {variable}"


def test_only_migrations_and_operators_hold_every_password(compose: dict[str, Any]) -> None:
    every = {PASSWORD + role.value.upper() for role in Role}
    held = {
        service: {name for name in compose["services"][service]["environment"] if name.startswith(PASSWORD)}
        for service in OURS
    }
    assert held["migrate"] == held["cli"] == every
    assert held["payer"] == {PASSWORD + "PAYER"}
    assert held["worker"] == held["beat"] == {PASSWORD + "ATTRIBUTION"}
    assert not held["api"] & {PASSWORD + role for role in ("ADMIN", "PAYER", "APPROVER")}
    with_key = {
        service
        for service in compose["services"]
        if "BANK_DETAILS_KEY" in compose["services"][service].get("environment", {})
    }
    assert with_key == {"migrate", "cli"}


def test_only_the_api_is_published_and_only_on_loopback(compose: dict[str, Any]) -> None:
    published = {
        name: service["ports"] for name, service in compose["services"].items() if "ports" in service
    }
    assert list(published) == ["api"]
    assert all(port.startswith("127.0.0.1:") for port in published["api"])


def test_the_gpu_file_changes_workers_only() -> None:
    override = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text())
    assert list(override["services"]) == ["worker"]
    devices = override["services"]["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices[0]["capabilities"] == ["gpu"]


def test_the_image_does_not_run_as_root() -> None:
    instructions = re.findall(r"^([A-Z]+) (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    last_stage = max(place for place, (word, _) in enumerate(instructions) if word == "FROM")
    users = [argument for word, argument in instructions[last_stage:] if word == "USER"]
    assert users == ["royalty"]


def test_what_continuous_integration_runs_is_executable() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert os.access(ROOT / ".ci" / "install-tools", os.X_OK)


def test_workers_see_pictures_and_models_and_nothing_else_of_the_data_directory(
    compose: dict[str, Any],
) -> None:
    """The key that signs tokens is the API's and the operators', payment files are the operators' alone."""
    mounted = {
        name: {volume.split(":")[0] for volume in compose["services"][name]["volumes"]} for name in OURS
    }
    assert mounted["worker"] == mounted["beat"] == mounted["migrate"] == {"images", "models"}
    assert mounted["payer"] == set()
    assert mounted["api"] == {"images", "models", "keys"}
    assert mounted["cli"] == {"images", "keys", "office"}
