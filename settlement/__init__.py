"""From shares to money: terms, sales, periods, statements, ledger, payouts, audit."""
