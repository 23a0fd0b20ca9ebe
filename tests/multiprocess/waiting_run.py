"""One process of several that asks the others again and again, until something ends it.

Words: directory, and what process 1 does there: wait, or fail.
"""

import argparse
import sys
import time
from pathlib import Path

from launching import HEARTBEAT

from jaxbert.cli.processes import Processes, add_process_arguments
from jaxbert.errors import UserError


def main(directory: Path, what: str) -> None:
    parser = argparse.ArgumentParser()
    add_process_arguments(parser)
    arguments = parser.parse_args(["--heartbeat-timeout", str(HEARTBEAT)])
    arguments.verb = "pretrain"
    with Processes(arguments):
        import jax

        from jaxbert.parallel.processes import Agreement

        is_asked = Agreement(lambda: False)
        while not is_asked():
            (directory / f"ready_{jax.process_index()}").touch()
            time.sleep(0.05)
            if what == "fail" and jax.process_index() == 1:
                raise UserError("train.tsv: no such file")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
