"""Corrections of closed periods: proposed with a preview, approved by another person, applied by the next close."""
