"""Stands in for nvidia-cuda-mps-control: the same words, files in place of a device.

In the pipe directory: `daemon` holds the process id of the daemon, `clients` a line `server client`
each. FAKE_MPS_LOG is a file that what happened is appended to. FAKE_MPS: `broken` daemons end at
once, `mute` ones never answer.
"""

import os
import signal
import sys
from pathlib import Path

PIPES = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"))
MODE = os.environ.get("FAKE_MPS", "")


def note(line: str) -> None:
    if "FAKE_MPS_LOG" in os.environ:
        with open(os.environ["FAKE_MPS_LOG"], "a") as log:
            log.write(line + "\n")


def daemon() -> int:
    if MODE == "broken":
        print("An instance of this daemon is already running")
        return 1
    note(f"daemon CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')}")
    (PIPES / "new").write_text(str(os.getpid()))
    (PIPES / "new").rename(PIPES / "daemon")
    signal.pause()
    return 0


def answer(words: list[str]) -> int:
    clients = [line.split() for line in text("clients").splitlines()]
    if words[0] == "get_server_list":
        print("\n".join(sorted({server for server, _ in clients})))
    elif words[0] == "get_client_list":
        print("\n".join(client for server, client in clients if server == words[1]))
    elif words[0] == "terminate_client":
        note(f"terminated {words[2]}")
    elif words[0] == "quit":
        note("quit")
        os.kill(int(text("daemon")), signal.SIGTERM)
    else:
        print("Unknown command")
        return 1
    return 0


def text(name: str) -> str:
    return (PIPES / name).read_text() if (PIPES / name).exists() else ""


def command() -> int:
    words = sys.stdin.readline().split()
    try:
        os.kill(int(text("daemon") or 0) or 1 << 30, 0)
    except OSError:
        print("Cannot find MPS control daemon process")
        return 1
    if MODE == "mute":
        signal.pause()
    return answer(words)


sys.exit(daemon() if "-f" in sys.argv else command())
