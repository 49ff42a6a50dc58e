"""Accounting periods and their close: freeze, calculate, approve, post, issue."""
