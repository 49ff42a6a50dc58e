"""Payouts by a provider's API instead of files: told attempt by attempt, asked about, and heard by signed webhooks."""
