"""Child processes of a daemon."""

import os
import signal
import sys

from glet.serve.child import Child


def test_a_stopped_child_is_known_as_such() -> None:
    child = Child([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        assert not child.is_stopped()
        child.signal(signal.SIGSTOP)
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert child.is_stopped()
    finally:
        child.close()
    assert not child.is_stopped()
