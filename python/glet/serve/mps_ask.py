"""Questions to an MPS daemon beside a daemon's loop, which must not wait for one that hangs."""

from concurrent.futures import Future, ThreadPoolExecutor

from glet.errors import DeviceError
from glet.serve.mps_control import MpsControl

# A loop that stands still for longer is taken for a frozen daemon.
TERMINATE_LIMIT_S = 1.5


class MpsAsk:
    """Asks in threads; at most one question whether the daemon lives is under way."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="mps")
        self._question: Future[bool] | None = None

    @property
    def waits(self) -> bool:
        """Whether a question is under way, or its answer not taken yet."""
        return self._question is not None

    def answers(self, control: MpsControl) -> bool | None:
        """Whether the daemon answered; None, at first and until it is known: ask again later."""
        if self._question is None:
            self._question = self._threads.submit(control.answers)
            return None
        if not self._question.done():
            return None
        question, self._question = self._question, None
        return question.result()

    def forget(self) -> None:
        """The question under way is about a daemon that is of no interest any more."""
        self._question = None

    def terminate(self, control: MpsControl, pid: int) -> bool:
        """As the control's. Raises DeviceError also when that takes over TERMINATE_LIMIT_S."""
        try:
            return self._threads.submit(control.terminate, pid).result(TERMINATE_LIMIT_S)
        except TimeoutError:
            raise DeviceError(f"the MPS daemon at {control.pipes} takes too long") from None

    def close(self) -> None:
        """Does not wait: each question has a limit of its own."""
        self._threads.shutdown(wait=False, cancel_futures=True)
