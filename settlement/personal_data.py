"""Every column of the database that can hold text or bytes, and whether it may hold a person's data.

A new column fails a test until somebody has said here what becomes of it when a person is erased.
"""

from collections.abc import Mapping

ERASED: Mapping[str, str] = {
    "access.payee_access": "payee_id",
    "access.user": "username password_hash scopes",
    "attribution.image_prompt_embedding": "embedding",
    "attribution.prompt_text": "salt prompt negative_prompt",
    "party.bank_account_version": "payee_id key_id ciphertext masked fingerprint content actor reason",
    "party.dispute_words": "words",
    "party.party_version": "payee_id salt details actor reason digest",
    "party.screening_finding": "payee_id entry_id entry_sha256 matched list_sha256 actor",
    "settlement.payee_customer": "payee_id customer_sha256 actor reason",
    "settlement.sale_buyer": "customer_sha256",
}
"""Personal data: erased with the person they are of (`guard.erase_payee`, `guard.erase_customer`)."""

_WORDS: Mapping[str, str] = {
    "attribution.artist_merge": "reason",
    "attribution.artist_version": "reason",
    "attribution.attribution": "reason",
    "attribution.attribution_job": "last_error",
    "attribution.image": "external_id model file extra",
    "settlement.advance": "reason",
    "settlement.bank_entry": "reference status reason bank_reference problem",
    "settlement.bank_match": "reason",
    "settlement.bank_message": "message_id name",
    "settlement.claim_decision": "reason",
    "settlement.contract_version": "reason",
    "settlement.dispute": "subject",
    "settlement.dispute_answer": "reason",
    "settlement.fx_rate": "source reason",
    "settlement.gate_acceptance": "reason",
    "settlement.hold": "reason",
    "settlement.hold_release": "reason",
    "settlement.ownership_claim": "reason evidence",
    "settlement.payout_correction": "reason",
    "settlement.payout_event": "detail",
    "settlement.platform_version": "reason",
    "settlement.provider_event": "reference reason",
    "settlement.rate_card_version": "reason",
    "settlement.refund": "external_id",
    "settlement.reserve_version": "reason",
    "settlement.sale": "external_id",
    "settlement.screening": "list_name",
    "settlement.statement": "body",
    "settlement.tax_profile_version": "reason",
    "party.privacy_request": "reason",
}

WORDS = tuple((table, column) for table, columns in _WORDS.items() for column in columns.split())
"""Words of operators, shops and banks, which stay: who writes them names nobody. An erasure looks, and says where."""

KEPT: Mapping[str, str] = {
    "attribution.artist_merge": "artist_id into_id actor",
    "attribution.artist_version": "artist_id name aliases actor",
    "attribution.attribution": "status reading environment further_seeds",
    "attribution.attribution_job": "state leased_by",
    "attribution.attribution_share": "player",
    "attribution.coalition_value": "picture_sha256 prompt_sha256",
    "attribution.image": (
        "content_sha256 prompt_sha256 scheduler scheduler_config weights_sha256 "
        "latents_sha256 file_sha256 customer artists"
    ),
    "attribution.image_adapter": "sha256 artist",
    "attribution.image_prompt": "adapter_sha256 embedding_sha256 picture_sha256 artist",
    "attribution.material": "sha256 kind artist",
    "attribution.method_version": "sha256 name document",
    "attribution.placebo": "weights_sha256 evidence",
    "attribution.recognition": "name taken_for",
    "attribution.recognition_measure": "name moves",
    "attribution.recognition_scale": "sha256 recognition_sha256 weights_sha256 document",
    "ledger.account": "code class currency",
    "ledger.checkpoint": "origin root note actor created_by",
    "ledger.closing_balance": "seal",
    "ledger.journal": "kind key content_sha256 actor approved_by created_by",
    "ledger.log_leaf": "kind reference sha256",
    "ledger.log_node": "hash",
    "ledger.posting": "currency",
    "ledger.schema_change": (
        "revision_from revision_to server before_sha256 after_sha256 unrecorded manifest actor created_by"
    ),
    "ledger.seal": "name actor log_root",
    "party.privacy_request": "request kind subject actor",
    "pgmq.meta": "queue_name",
    "pgmq.notify_insert_throttle": "queue_name",
    "pgmq.topic_bindings": "pattern queue_name compiled_regex",
    "public.alembic_version": "version_num",
    "settlement.advance": "advance_id payee_id currency content_sha256 actor",
    "settlement.approval": "kind subject content_sha256 maker checker",
    "settlement.bank_entry": "says attempt_id batch_id currency",
    "settlement.bank_match": "attempt_id result actor",
    "settlement.bank_message": "sha256 kind version actor",
    "settlement.bank_statement": "statement_id account currency",
    "settlement.batch_event": "batch_id state actor",
    "settlement.batch_progress": "batch_id",
    "settlement.claim_decision": "claim_id content_sha256 maker",
    "settlement.contract_split": "payee_id",
    "settlement.contract_version": "contract_id artist_id status actor",
    "settlement.conversion": "period_id payee_id currency",
    "settlement.dispute": "payee_id statement_id about actor",
    "settlement.dispute_answer": "outcome correction_id actor",
    "settlement.fx_rate": "source_currency target_currency actor",
    "settlement.gate_acceptance": "period_id draft_sha256 gate findings checker",
    "settlement.hold": "payee_id actor",
    "settlement.hold_release": "actor",
    "settlement.ownership_claim": "claim_id payee_id claimant_id currency actor",
    "settlement.payee": "payee_id kind currency actor",
    "settlement.payout": "payout_id batch_id payee_id currency decision",
    "settlement.payout_attempt": "attempt_id payout_id",
    "settlement.payout_batch": "batch_id currency debtor_id content_sha256 maker",
    "settlement.payout_correction": "attempt_id maker content_sha256",
    "settlement.payout_event": "payout_id attempt_id state actor",
    "settlement.payout_file": "batch_id name sha256",
    "settlement.period": "period_id zone state",
    "settlement.platform_version": (
        "platform_payee_id model_developer_id default_rate_card_id zone minimum_payout "
        "dispute_contact actor fallback_key"
    ),
    "settlement.provider_batch": "batch_id provider actor",
    "settlement.provider_event": "provider event_id attempt_id says currency source actor",
    "settlement.provider_match": "result actor",
    "settlement.provider_position": "provider cursor",
    "settlement.rate_card_version": (
        "rate_card_id model currency content_to distribution_key terms actor weights public_domain_payee_id"
    ),
    "settlement.recoupment": "period_id advance_id",
    "settlement.refund": "content_sha256 kind actor",
    "settlement.refund_reversal": "period_id",
    "settlement.reserve": "period_id payee_id currency",
    "settlement.reserve_use": "period_id payee_id currency taken_in",
    "settlement.reserve_version": "payee_id release actor",
    "settlement.royalty_line": "period_id kind player destination payee_id currency distribution_key",
    "settlement.royalty_run": "period_id inputs_sha256 draft_sha256 totals closed_by code_version",
    "settlement.run_draft": "period_id inputs_sha256 draft_sha256 totals gates calculated_by",
    "settlement.sale": "content_sha256 territory currency rate_card_id actor",
    "settlement.sale_slice": "period_id usage_period currency",
    "settlement.screening": "batch_id stage list_sha256 actor",
    "settlement.statement": "statement_id period_id payee_id currency sha256",
    "settlement.statement_column": "period_id payee_id currency statement_id",
    "settlement.tax_determination": "period_id payee_id currency territory",
    "settlement.tax_profile_version": "payee_id rates actor",
    "settlement.tax_reversal": "period_id payee_id taxed_in currency territory",
}
"""Opaque ids, codes, digests, names of operators, an artist's public name: what stays after an erasure."""
