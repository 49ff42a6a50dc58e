"""What the attribution can and cannot claim: known outcomes played anew, and the kept true game.

python -m benchmarks.validity [--quick] [--json FILE]
"""

import sys

from benchmarks.harness import run
from benchmarks.validity.figures import measure

if __name__ == "__main__":
    sys.exit(run("validity", measure))
