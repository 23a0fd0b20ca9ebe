"""Several processes on this machine that make one run, with collectives over TCP (Gloo)."""

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import quick_programs
from quick_programs import XLA_FLAGS

HEARTBEAT = 8

Cluster = Callable[[int], Callable[[int], dict[str, str]]]
"""Number of processes -> a process -> its environment variables."""


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


def start(
    script: str,
    directory: Path,
    count: int,
    *words: object,
    devices: int = 1,
    cluster: Cluster | None = None,
) -> Started:
    """`count` processes of a script beside this file, each with `devices` CPU devices.

    `cluster` gives the variables by which a process finds the others, by default JAX's own.
    """
    tests = Path(__file__).parents[1]
    variables = (cluster or of_jax)(count)
    started = Started([], [])
    for process in range(count):
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)]),
            **quick_programs.ENVIRONMENT,
            "XLA_FLAGS": f"{XLA_FLAGS} --xla_force_host_platform_device_count={devices}",
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(directory / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            **variables(process),
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


def of_jax(count: int) -> Callable[[int], dict[str, str]]:
    """What a user sets."""
    common = {
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}",
        "JAX_NUM_PROCESSES": str(count),
    }
    return lambda process: common | {"JAX_PROCESS_ID": str(process)}


def of_slurm(count: int) -> Callable[[int], dict[str, str]]:
    """What `srun` sets; the number of the job tells the port."""
    common = {
        "SLURM_JOB_ID": str(free_port(range(65535 - 2**12 + 1, 65536))),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_NTASKS": str(count),
    }
    return lambda process: common | {"SLURM_PROCID": str(process), "SLURM_LOCALID": str(process)}


def free_port(among: range | None = None) -> int:
    """A TCP port that nobody listens on."""
    for port in (0,) if among is None else random.sample(among, len(among)):
        with socket.socket() as found, contextlib.suppress(OSError):
            found.bind(("127.0.0.1", port))
            return found.getsockname()[1]
    raise AssertionError("every port is in use")
