"""Payout runs: batches of payouts to payees, each with attempts that a bank hears of once."""
