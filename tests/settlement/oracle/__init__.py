"""An independent recomputation of the books from raw events, in plain Python and integers.

It is written from the specification of settlements alone and imports nothing of the system that it judges: what both
say the same about was understood the same way twice.
"""
