"""The terminal surface: the `royalty` command. No business rules."""
