"""Child processes of a daemon."""

import os
import signal
import sys

from glet.serve.child import STOPPED_LIMIT_S, Child, was_killed


def test_a_child_that_stays_stopped_is_held() -> None:
    child = Child([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        assert not child.is_held(0.0)
        child.signal(signal.SIGSTOP)
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert not child.is_held(1.0)
        assert not child.is_held(1.0 + 0.9 * STOPPED_LIMIT_S)
        assert child.is_held(1.0 + STOPPED_LIMIT_S)
        child.signal(signal.SIGCONT)
        _, status = os.waitpid(child.pid, os.WCONTINUED)
        assert os.WIFCONTINUED(status)
        assert not child.is_held(9.0)
        child.signal(signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
        assert not child.is_held(9.5)
    finally:
        child.close()
    assert not child.is_held(20.0)


def test_a_kill_is_told_from_a_crash() -> None:
    assert was_killed(-signal.SIGKILL)
    assert was_killed(-signal.SIGTERM)
    assert not any(was_killed(code) for code in (0, 1, 9, -signal.SIGSEGV, -signal.SIGABRT))
