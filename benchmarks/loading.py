"""Opening BERT-base from safetensors, by jaxbert and by transformers in PyTorch.

python benchmarks/loading.py [--repeats 7] [--out FILE.json]

A BERT-base of random numbers is written to a temporary directory in Hugging Face's layout. Fresh
processes open it in turn, so that the file is in the page cache for both. Times are medians:

import      importing the framework and the model's class, starting the device
open        from_pretrained, until every parameter is on the device
first use   open, and reading every parameter once

On the CPU transformers leaves the parameters in the mapped file, so `open` reads nothing and the
first use does; jaxbert has copied and transposed them by then. Where there is an accelerator both
put the model onto it, and first use is open.

Memory is the growth of the process between the end of the imports and the highest point of `open`,
in multiples of the file: `whole` is all of the resident set, which holds the parameters themselves
where the device is the CPU; `private` leaves out the pages of mapped files, which the kernel can
take back.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STARTED = time.perf_counter()
FRAMEWORKS = ("jaxbert", "transformers")
COLUMNS = ("import", "open", "first use", "import + first use")
MEMORY = ("whole", "private")

Figures = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, help="write every run's figures as JSON")
    parser.add_argument("--open", choices=FRAMEWORKS, help="only open --directory once")
    parser.add_argument("--directory", type=Path)
    arguments = parser.parse_args()
    if arguments.open:
        print(json.dumps(open_once(arguments.open, arguments.directory)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch, "bert-base")
        write_model(directory)
        runs = measure(directory, arguments.repeats)
        size = (directory / "model.safetensors").stat().st_size
    if arguments.out:
        arguments.out.write_text(json.dumps({"file_bytes": size, "runs": runs}, indent=2) + "\n")
    report(runs, size)


def write_model(directory: Path) -> None:
    """In a process of its own, so that no framework is in this one."""
    program = (
        "import sys, jaxbert; from jaxbert.families import preset; "
        "from jaxbert.hub.save import save_params; from jaxbert.nn.functional import init_params; "
        "config, head = preset('bert-base-uncased'), jaxbert.Head(); "
        "save_params(init_params(config, head, 0), config, head, None, sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", program, str(directory)], check=True)


def measure(directory: Path, repeats: int) -> dict[str, list[Figures]]:
    runs: dict[str, list[Figures]] = {name: [] for name in FRAMEWORKS}
    for _ in range(repeats):
        for name in FRAMEWORKS:
            command = [sys.executable, __file__, "--open", name, "--directory", str(directory)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            runs[name].append(json.loads(output.splitlines()[-1]))
    return runs


def open_once(name: str, directory: Path) -> Figures:
    """Seconds and bytes of one framework in this process."""
    load, read = {"jaxbert": prepare_jaxbert, "transformers": prepare_transformers}[name]()
    imported = time.perf_counter()
    with watched_memory() as memory:
        model = load(directory)
    opened = time.perf_counter()
    read(model)
    used = time.perf_counter()
    return {
        "import": imported - STARTED,
        "open": opened - imported,
        "first use": used - imported,
        "import + first use": used - STARTED,
        **memory,
    }


def prepare_jaxbert() -> tuple[Any, Any]:
    import jax
    import numpy as np

    import jaxbert
    from jaxbert.nn.functional import functional

    from_pretrained = jaxbert.from_pretrained
    jax.block_until_ready(jax.numpy.zeros(1))

    def load(directory: Path) -> Any:
        return jax.block_until_ready(functional(from_pretrained(directory))[1])

    def read(params: Any) -> None:
        if jax.default_backend() == "cpu":
            jax.tree.map(lambda leaf: np.asarray(leaf).sum(), params)

    return load, read


def prepare_transformers() -> tuple[Any, Any]:
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    from_pretrained = transformers.BertModel.from_pretrained
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.zeros(1, device=device)

    def load(directory: Path) -> Any:
        model = from_pretrained(directory, device_map=None if device == "cpu" else device)
        if device != "cpu":
            torch.cuda.synchronize()
        return model

    def read(model: Any) -> None:
        if device == "cpu":
            for parameter in model.parameters():
                parameter.detach().numpy().sum()

    return load, read


@contextmanager
def watched_memory() -> Iterator[Figures]:
    """Fills in how many bytes the process grew by at its highest, looked at every 2 ms."""
    before, peak, done = memory(), memory(), threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            for key, value in memory().items():
                peak[key] = max(peak[key], value)

    watcher = threading.Thread(target=watch)
    watcher.start()
    figures: Figures = {}
    yield figures
    done.set()
    watcher.join()
    figures.update({key: peak[key] - before[key] for key in before})


def memory() -> Figures:
    """Resident bytes: all of them, and without the pages of mapped files."""
    _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
    page = os.sysconf("SC_PAGESIZE")
    return {"whole": int(resident) * page, "private": (int(resident) - int(shared)) * page}


def report(runs: dict[str, list[Figures]], size: int) -> None:
    medians = {
        name: {key: statistics.median(run[key] for run in its_runs) for key in its_runs[0]}
        for name, its_runs in runs.items()
    }
    ours, theirs = (medians[name] for name in FRAMEWORKS)
    print(f"BERT-base, {size / 1e6:.0f} MB, medians of {len(runs['jaxbert'])} processes each\n")
    print(f"{'':20}{'jaxbert':>12}{'transformers':>14}{'times as fast':>15}")
    for key in COLUMNS:
        ratio = theirs[key] / ours[key]
        print(f"{key:20}{ours[key]:10.3f} s{theirs[key]:12.3f} s{ratio:15.2f}")
    for key in MEMORY:
        print(f"{key + ' memory':20}{ours[key] / size:11.2f}x{theirs[key] / size:13.2f}x")


if __name__ == "__main__":
    main()
