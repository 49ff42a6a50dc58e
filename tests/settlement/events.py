"""Facts for settlement's tests: terms, images, attributions and sales, written as their owners write them."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from attribution.generation import Image
from attribution.results import Attribution, AttributionShare, CoalitionValue, MethodVersionRow
from settlement.catalogue_file import load_catalogue

CATALOGUE = """
platform:
  id: platform
  name: Lumen Pictures GmbH
  address: {street: Torstrasse, building: "1", postcode: "10119", town: Berlin, country: DE}
  iban: DE89370400440532013000
  bic: COBADEFFXXX
  currency: EUR
  valid_from: 2026-01-01
  zone: UTC
  default_rate_card: standard-1
  model_developer: pay-dev
  minimum_payout: {EUR: "0.10"}
  dispute: {contact: royalties@example.com, days: 365}
payees:
  - {id: pay-1, kind: person, currency: EUR, name: Mara Vell, iban: DE02120300000000202051, bic: BYLADEM1001}
  - {id: pay-2, kind: person, currency: EUR, name: Oskar Lindt, iban: DE02500105170137075030, bic: INGDDEFFXXX}
  - {id: pay-dev, kind: model_developer, currency: EUR, name: Model Makers Ltd}
artists:
  - {id: art-1, name: Mara Vell}
  - {id: art-2, name: Oskar Lindt}
  - {id: art-3, name: Tilde Ros}
contracts:
  - {id: contract-1, artist: art-1, valid_from: 2026-01-01, splits: {pay-1: "70", pay-2: "30"}}
  - {id: contract-2, artist: art-2, valid_from: 2026-01-01, splits: {pay-2: "100"}}
rate_cards:
  - {id: standard-1, valid_from: 2026-01-01, model: per_image, rate: "30", content_to: model_developer}
"""
"""The terms of the worked example."""


def load_terms(session: Session, catalogue: str = CATALOGUE) -> None:
    load_catalogue(session, catalogue, actor="mara", reason="test")


def add_images(session: Session, *names: str) -> None:
    """Images in the log, as far as settlement looks at them."""
    for name in names:
        digest = hashlib.sha256(name.encode()).digest()
        session.add(
            Image(
                external_id=name,
                content_sha256=digest,
                prompt_sha256=digest,
                seed=1,
                width=64,
                height=64,
                steps=2,
                guidance=7,
                scheduler="DDIMScheduler",
                scheduler_config={},
                model="sd-v1-5",
                weights_sha256=digest,
                generated_at=datetime(2026, 9, 1, tzinfo=UTC),
            )
        )
    session.flush()


def method(session: Session, name: str = "exact-1") -> int:
    """Id of a method version of this name."""
    digest = hashlib.sha256(name.encode()).digest()
    row = session.query(MethodVersionRow).filter_by(sha256=digest).one_or_none()
    if row is None:
        row = MethodVersionRow(sha256=digest, name=name, document={"name": name})
        session.add(row)
        session.flush()
    return row.id


def attribute(
    session: Session,
    image: str,
    shares: Mapping[str, int],
    standard_error: int | None = None,
    by: str = "exact-1",
) -> None:
    """An attribution with these shares in ppb, content's included; its coalition values are not looked at here."""
    digest = hashlib.sha256(image.encode()).digest()
    row = Attribution(
        image_id=session.query(Image.id).filter_by(external_id=image).scalar(),
        method_id=method(session, by),
        status="attributed",
        players=len(shares),
        denominator=1,
        reading={"players": [player for player in shares if player != "C"]},
        environment={},
    )
    session.add(row)
    session.flush()
    players = ["C", *(player for player in shares if player != "C")]
    session.add_all(
        AttributionShare(
            attribution_id=row.id,
            slot=slot,
            player=player,
            phi_numerator=shares[player],
            adjusted_numerator=shares[player],
            placebo_mean=0 if slot else None,
            placebo_threshold=0 if slot else None,
            paid_numerator=shares[player],
            share_ppb=shares[player],
            prompt_share_ppb=None if standard_error is None else shares[player],
            prompt_standard_error_ppb=standard_error,
        )
        for slot, player in enumerate(players)
    )
    session.add_all(
        CoalitionValue(
            attribution_id=row.id, coalition=mask, value=mask, picture_sha256=digest, prompt_sha256=digest
        )
        for mask in range(1 << len(players))
    )
    session.flush()


def cannot_attribute(
    session: Session,
    image: str,
    reason: str = "no_artist_earns",
    recognised: Sequence[str] = (),
    by: str = "exact-1",
) -> None:
    """An attribution that pays nobody, of an image whose prompt names these artists."""
    row = Attribution(
        image_id=session.query(Image.id).filter_by(external_id=image).scalar(),
        method_id=method(session, by),
        status="unattributed",
        reason=reason,
        players=0,
        denominator=1,
        reading={"players": list(recognised)},
        environment={},
    )
    session.add(row)
    session.flush()
