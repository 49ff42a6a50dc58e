"""From a logged image to exact shares. Knows nothing about money."""

import os

# OpenMP reads this when torch is loaded. By default its threads spin while they wait for one another: on cores that are
# shared with a database or another worker that makes rendering several times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Its notes about image processors that nobody here uses would stand above everything a command prints.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
