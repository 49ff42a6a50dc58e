"""A double-entry ledger inside PostgreSQL: accounts, journals, postings, and nothing of what they are about."""
