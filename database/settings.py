"""Configuration: environment variables only, each with a default that works on one machine."""

import os
from functools import lru_cache
from pathlib import Path

import platformdirs
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from database.roles import Role


def _default_home() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/royalty")
    return Path(platformdirs.user_data_dir("royalty"))


class Settings(BaseSettings):
    """What may differ between deployments. Names are the environment variables'."""

    model_config = SettingsConfigDict(env_prefix="", extra="ignore", frozen=True)

    royalty_home: Path = Field(default_factory=_default_home)
    """Directory of everything this installation writes: embedded database, images, statements, keys."""
    royalty_token_file: Path | None = None
    """Where the command line keeps the operator's access token; None is the user's configuration directory."""
    royalty_model: str | None = None
    """Path or hub id of the Stable Diffusion pipeline; None is the bundled miniature."""
    royalty_embedding_model: str | None = None
    """Path or hub id of the CLIP vision model; None is the pipeline's own folder `vision`, else CLIP ViT-L/14."""
    royalty_dinov2: Path | None = None
    """Folder of a DINOv2 model, for method versions that embed pictures with it; None: there is none here."""
    royalty_download: bool = False
    """Whether models that are not on this machine may be fetched from the hub."""
    royalty_method: str = "exact"
    """The method version that a worker records when it starts: `exact`, `quick` (2 steps, for a first look), or one
    that is registered, by name. New images are attributed by the one that was recorded last."""
    portal_pictures: bool = False
    """Whether artists may see pictures of images that earned them something; operators and auditors always may."""
    database_url: str | None = None
    """postgresql://host:port/database of a server; None is the embedded PostgreSQL. Each process adds its role."""
    database_name: str = "royalty"
    """Name of the database on the embedded server."""
    database_admin_user: str = "postgres"
    """Superuser that migrations run as."""
    database_password_admin: str | None = None
    broker_url: str | None = None
    """Celery broker; None is the same PostgreSQL through kombu's pgmq transport."""
    payout_file_limit: int = Field(default=100_000, ge=1)
    """Payments in one file for the bank, as the bank limits them; a larger batch goes in several files."""
    payout_providers: dict[str, str] = Field(default_factory=dict)
    """Currencies that are paid by a provider's API, and its name, as JSON; the others are paid in files for a bank."""
    bank_details_key: SecretStr | None = None
    """Encrypts bank details: 32 bytes in base64. None is a key file under `ROYALTY_HOME`, for the embedded server."""
    bank_details_key_previous: SecretStr | None = None
    """Keys before that one, separated by commas: still read, until `royalty payout rekey` has run."""
    screening_list: Path | None = None
    """Names and accounts that are not paid, as CSV or JSON lines; None: payees are not screened."""
    log_origin: str | None = None
    """The log's name in its checkpoints: `royalties.example.org/log`; None draws one. Fixed by the first key."""
    token_issuer: str = "royalty"
    token_audience: str = "royalty-api"

    def password_of(self, role: Role) -> str | None:
        """The role's password, from `DATABASE_PASSWORD_<ROLE>`; None where the server trusts the local user."""
        if role is Role.ADMIN:
            return self.database_password_admin
        return os.environ.get(f"DATABASE_PASSWORD_{role.value.upper()}")


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The process's settings, read once."""
    return Settings()
