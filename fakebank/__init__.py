"""FakeBank: a model bank for tests and the demonstration. It moves no money, and no real bank is reached through it.

A process of its own with a store of its own, that imports nothing of the system which tells it of payments. What
becomes of a payment is decided by the last two digits of the account it goes to (`fakebank.courses`).
"""
