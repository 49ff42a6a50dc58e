"""Statements: the canonical body, and its renderings as CSV and PDF."""
