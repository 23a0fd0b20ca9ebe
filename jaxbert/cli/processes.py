"""Several processes of one command: how they find each other, and how they end together."""

import argparse
import os
import sys
import threading
import time
import traceback
from types import TracebackType
from typing import Any

from jaxbert.cli.reporting import line_of, printable
from jaxbert.cli.watch import Watch
from jaxbert.errors import UserError

_PEERS = ("Gloo", "NCCL", "UNAVAILABLE", "CoordinationService", "Barrier")
"""What errors speak of that come from another process having ended."""


def add_process_arguments(parser: argparse.ArgumentParser) -> None:
    """--coordinator, --num-processes, --process-id and two limits in seconds."""
    group = parser.add_argument_group(
        "several processes",
        "found without these on Cloud TPU, Slurm and Open MPI; elsewhere start the same command "
        "in every process, each with its own --process-id",
    )
    group.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        default=os.environ.get("JAX_COORDINATOR_ADDRESS"),
        help="a free port of process 0's host; or JAX_COORDINATOR_ADDRESS",
    )
    group.add_argument("--num-processes", type=int, metavar="N", help="or JAX_NUM_PROCESSES")
    group.add_argument("--process-id", type=int, metavar="I", help="from 0; or JAX_PROCESS_ID")
    group.add_argument(
        "--join-timeout",
        type=int,
        default=300,
        metavar="SECONDS",
        help="how long to wait for all processes to start (300)",
    )
    group.add_argument(
        "--heartbeat-timeout",
        type=int,
        default=100,
        metavar="SECONDS",
        help="silence after which a process is given up, and the run ends (100)",
    )


class Processes:
    """The processes of a command, while it runs: `with` joins them, and leaves them together.

    Where one ends with an error, all do: each prints one line, and none waits for the other's
    part of a computation. Alone it does nothing. A program that has joined its processes already
    stays in charge of how they end.
    """

    def __init__(self, arguments: argparse.Namespace):
        self._arguments = arguments
        self._watch: Watch | None = None
        self.is_first = True
        """Whether this is the one that prints and writes."""
        self.is_alone = True
        """Whether there are no others."""

    def __enter__(self) -> "Processes":
        import jax

        from jaxbert.parallel.processes import in_first

        was_joined = jax.distributed.is_initialized()
        if not was_joined and not _join(self._arguments):
            return self
        self.is_first, self.is_alone = jax.process_index() == 0, jax.process_count() == 1
        if not was_joined and not self.is_alone:
            self._watch = Watch(self._arguments.verb, self._arguments.heartbeat_timeout)
            self._watch.start()
            # On CPUs the first meeting has 30 seconds, and from here on one may read much longer
            # than another.
            in_first(lambda: None)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._watch is None:
            return
        if error is not None:
            self._fail(self._watch, error)
        import jax

        self._watch.finish()
        jax.distributed.shutdown()
        self._watch.dismiss()

    def _fail(self, watch: Watch, error: BaseException) -> None:
        """Ends the process without its part in JAX's farewell, which would wait for all."""
        if not isinstance(error, UserError) and any(word in str(error) for word in _PEERS):
            # Most likely another process is gone: the watch finds out which, and says so.
            time.sleep(2 * self._arguments.heartbeat_timeout)
        watch.ignore()
        found = line_of(error)
        if found is None:
            traceback.print_exception(error)
            found = f"{type(error).__name__}: {error}".splitlines()[0], 1
        else:
            print(f"jaxbert {self._arguments.verb}: {printable(found[0])}", file=sys.stderr)
        watch.end_all(*found)


def _join(arguments: argparse.Namespace) -> bool:
    """Whether this is a process of a cluster; raises UserError for flags that do not fit."""
    import jax

    if _number(arguments.num_processes, "JAX_NUM_PROCESSES") == 1:
        return False
    # One signal handler is enough, and ours also asks processes that have not joined yet.
    jax.config.update("jax_enable_preemption_service", False)
    given = _given(arguments)
    limit = threading.Timer(arguments.join_timeout, _give_up, [arguments])
    limit.daemon = True
    limit.start()
    try:
        jax.distributed.initialize(
            **given,
            initialization_timeout=arguments.join_timeout + 60,
            # The watch, which says what has happened, comes first.
            heartbeat_timeout_seconds=2 * arguments.heartbeat_timeout + 20,
        )
    except (ValueError, RuntimeError) as error:
        # No cluster that JAX knows; or a program that uses JAX already has called the command.
        if given or not any(text in str(error) for text in ("be defined", "must be called before")):
            raise
        return False
    finally:
        limit.cancel()
    return True


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of jax.distributed.initialize, none where nothing is said."""
    num_processes = _number(arguments.num_processes, "JAX_NUM_PROCESSES")
    process_id = _number(arguments.process_id, "JAX_PROCESS_ID")
    values = {
        "--coordinator": arguments.coordinator,
        "--num-processes": num_processes,
        "--process-id": process_id,
    }
    missing = [name for name, value in values.items() if value is None]
    if len(missing) == 3:
        return {}
    if missing:
        raise UserError(f"several processes: {' and '.join(missing)} must be given too")
    host, _, port = arguments.coordinator.rpartition(":")
    if not (host and port.isdecimal()):
        raise UserError(f"--coordinator {arguments.coordinator}: expected HOST:PORT")
    assert num_processes is not None
    assert process_id is not None
    if not 0 <= process_id < num_processes:
        raise UserError(
            f"--process-id {process_id}: expected 0 to {num_processes - 1}, as there are "
            f"--num-processes {num_processes}"
        )
    return {
        "coordinator_address": arguments.coordinator,
        "num_processes": num_processes,
        "process_id": process_id,
        "cluster_detection_method": "deactivate",
    }


def _number(flag: int | None, name: str) -> int | None:
    text = os.environ.get(name)
    if flag is not None or text is None:
        return flag
    if not text.isdecimal():
        raise UserError(f"{name}={text}: expected a number")
    return int(text)


def _give_up(arguments: argparse.Namespace) -> None:
    """Called in a thread: JAX itself would abort with a stack trace."""
    at = f" at {arguments.coordinator}" if arguments.coordinator else ""
    print(
        f"jaxbert {arguments.verb}: not all processes have met{at} within "
        f"{arguments.join_timeout} s: start every process, with the same --coordinator, whose port "
        "must be free on the host of process 0 and open to the others",
        file=sys.stderr,
        flush=True,
    )
    # No 2, after which nobody tries again: the others may only be late.
    os._exit(1)
