"""Several processes on this machine that make one run, with collectives over TCP (Gloo)."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

HEARTBEAT = 8


@dataclass(frozen=True)
class Started:
    """Running processes and the files that they print to."""

    processes: list[subprocess.Popen[bytes]]
    logs: list[Path]

    def wait(self, timeout: float) -> list[int]:
        """Their statuses in order; fails the test, with all that they printed, after `timeout`."""
        end = time.monotonic() + timeout
        try:
            return [p.wait(max(0.0, end - time.monotonic())) for p in self.processes]
        except subprocess.TimeoutExpired:
            pytest.fail(f"not over after {timeout} s{self.printed()}")
        finally:
            self.kill()

    def wait_for(self, happened: Callable[[], object], timeout: float) -> None:
        """Waits for something that they do."""
        end = time.monotonic() + timeout
        while not happened():
            if time.monotonic() > end or any(p.poll() is not None for p in self.processes):
                self.kill()
                pytest.fail(f"it did not happen{self.printed()}")
            time.sleep(0.05)

    def kill(self) -> None:
        """Ends those that still run."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()

    def log(self, process: int) -> str:
        """What a process printed so far."""
        return self.logs[process].read_text(errors="replace")

    def printed(self) -> str:
        """What all of them printed, for the message of a test that fails."""
        return "".join(
            f"\n--- process {i}, status {p.poll()}\n{self.log(i)}"
            for i, p in enumerate(self.processes)
        )


def start(script: str, directory: Path, count: int, *words: object, devices: int = 1) -> Started:
    """`count` processes of a script beside this file, each with `devices` CPU devices."""
    tests = Path(__file__).parents[1]
    coordinator = f"127.0.0.1:{free_port()}"
    started = Started([], [])
    for process in range(count):
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)]),
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(directory / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_COORDINATOR_ADDRESS": coordinator,
            "JAX_NUM_PROCESSES": str(count),
            "JAX_PROCESS_ID": str(process),
        }
        log = directory / f"{Path(script).stem}_{process}.log"
        with log.open("wb") as output:
            started.processes.append(
                subprocess.Popen(
                    [sys.executable, str(Path(__file__).parent / script), *map(str, words)],
                    env=environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            )
        started.logs.append(log)
    return started


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
