"""From a logged image to exact shares. Knows nothing about money."""

import os

# Read when transformers is first imported: its notes about optional packages would land between what a person reads.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
