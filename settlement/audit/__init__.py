"""What an auditor reads and runs: views, checks, and the way from a cent to its coalition values."""
