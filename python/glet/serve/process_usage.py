"""What this process uses of the machine."""

import resource

import psutil

from glet.observe.metrics import ProcessUsage


def process_usage() -> ProcessUsage:
    """As the operating system says now."""
    process = psutil.Process()
    with process.oneshot():
        cpu, memory = process.cpu_times(), process.memory_info()
        return ProcessUsage(
            cpu_s=cpu.user + cpu.system,
            resident_bytes=memory.rss,
            virtual_bytes=memory.vms,
            started_at_s=process.create_time(),
            threads=process.num_threads(),
            open_files=process.num_fds(),
            max_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        )
