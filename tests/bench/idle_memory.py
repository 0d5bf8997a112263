"""Memory of the daemons that serve lenet and have nothing to do.

PSS counts a page that several processes share in parts; USS only what a process has alone.
"""

import argparse
import time

import psutil
from result import emit
from rig import Poisson, open_loop, serve

IDLE_S = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    with serve("lenet") as served:
        open_loop(served.endpoint, "lenet", Poisson(100.0, 1.0))
        time.sleep(IDLE_S)
        for role, pid in served.pids.items():
            process = psutil.Process(pid)
            used = process.memory_full_info()
            emit(
                "idle_memory",
                {"role": role, "model": "lenet"},
                pss_mb=used.pss / 1e6,
                rss_mb=used.rss / 1e6,
                uss_mb=used.uss / 1e6,
                threads=process.num_threads(),
            )


if __name__ == "__main__":
    main()
