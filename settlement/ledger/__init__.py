"""A double-entry ledger inside PostgreSQL. Knows accounts, journals and postings, and nothing of what they are about."""
