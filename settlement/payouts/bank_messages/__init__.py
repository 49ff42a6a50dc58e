"""What a bank answers in files: `pain.002`, `camt.053`, `camt.054`, read, kept, and applied to payouts."""
