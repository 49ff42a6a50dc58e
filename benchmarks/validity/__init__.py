"""What the attribution can and cannot claim, measured on the miniature: see docs/validity.md."""
