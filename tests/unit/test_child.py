"""Child processes of a daemon."""

import os
import signal
import sys

from glet.serve.child import Child, was_killed


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


def test_a_kill_is_told_from_a_crash() -> None:
    assert was_killed(-signal.SIGKILL)
    assert was_killed(-signal.SIGTERM)
    assert not any(was_killed(code) for code in (0, 1, 9, -signal.SIGSEGV, -signal.SIGABRT))
