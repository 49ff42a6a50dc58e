"""What anybody could try on the ledger by raw SQL, and what comes of it."""
