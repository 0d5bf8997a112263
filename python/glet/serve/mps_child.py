"""Becomes the MPS control daemon, and ends with whoever started it.

`python -m glet.serve.mps_child PARENT_PID PROGRAM ARGUMENT...`
"""

import os
import signal
import sys
from collections.abc import Sequence

from glet.errors import PeerLostError
from glet.serve.child import end_with_parent


def main(argv: Sequence[str]) -> int:
    """Returns only when it could not become the program."""
    parent, program, *arguments = argv
    try:
        end_with_parent(int(parent), signal.SIGTERM)
        os.execv(program, [program, *arguments])
    except (OSError, PeerLostError) as error:
        sys.stderr.write(f"{program}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
