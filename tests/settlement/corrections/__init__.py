"""Corrections of closed periods."""
