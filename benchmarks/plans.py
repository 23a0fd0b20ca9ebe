"""The table of docs/plans.md: shipped configurations compiled for TPUs that are not here.

    python benchmarks/plans.py [--compile] [--only NAME...] [--topologies v5e:2x4...]

Prints the table of what benchmarks/results/plans.json holds. With --compile, what is missing there
is compiled first, minutes each, one after another; what is known is kept at once, and the command
goes on where it was stopped. Needs jaxbert[plan].
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jaxbert.config import load_config
from jaxbert.errors import UserError
from jaxbert.experiment.finetune import Finetune
from jaxbert.experiment.pretrain import Pretrain
from jaxbert.plan.planning import plan

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "plans.json"
TOPOLOGIES = ("v5e:2x4", "v5e:16x16", "v5p:2x2x2", "v6e:2x4")
GIB = 2**30


@dataclass(frozen=True)
class Case:
    """A shipped configuration, and what is changed of it."""

    config: str
    settings: tuple[str, ...] = ()
    rows: int | None = None
    """Of a chip; None: batch_size is what the configuration says."""
    on_256: tuple[str, ...] = ()
    """Settings on 256 chips, which have no or few rows each."""

    def words(self, topology: str) -> list[str]:
        """Overrides of the configuration."""
        chips = math.prod(int(size) for size in topology.partition(":")[2].split("x"))
        words = list(self.settings)
        if self.rows is not None:
            words.append(f"batch_size={self.rows * chips}")
        return words + list(self.on_256 if chips == 256 else ())


ONE, AT_512 = "phases=[]", ("data.max_seq_length=512", "data.masking.max_predictions=76")
PACKED = ("data.max_seq_length=512", "data.masking.max_predictions=null", "data.packing=true")
WHOLE = ("step.accumulation_steps=1",)
CASES = {
    "BERT-base, phase 1": Case("pretrain/bert_base.yaml", (ONE,)),
    "BERT-base, phase 2": Case("pretrain/bert_base.yaml", (ONE, *AT_512)),
    "BERT-base, 128 rows a chip": Case("pretrain/bert_base.yaml", (ONE,), 128),
    "BERT-base, 32 packed rows a chip": Case("pretrain/bert_base.yaml", (ONE, *PACKED), 32),
    "BERT-large, phase 1": Case("pretrain/bert_large.yaml", (ONE,), on_256=WHOLE),
    "BERT-large, phase 2": Case("pretrain/bert_large.yaml", (ONE, *AT_512), on_256=WHOLE),
    "DeBERTa-v3-large": Case("finetune/deberta_v3_large.yaml", on_256=("mesh.tensor=4",)),
    "ModernBERT-large": Case("finetune/modernbert_large.yaml", on_256=("mesh.tensor=4",)),
}
"""Phases one by one, so that less is lost where the command is stopped."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compile", action="store_true", help="compile what is missing")
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--topologies", nargs="+", default=list(TOPOLOGIES))
    arguments = parser.parse_args()
    wanted = [(name, each) for each in arguments.topologies for name in arguments.only]
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    for name, topology in wanted if arguments.compile else ():
        if not is_whole(known.setdefault(name, {}).get(topology, {})):
            known[name][topology] = compiled(CASES[name], topology)
            RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    report(known)
    missing = [f"{name} on {each}" for name, each in wanted if each not in known.get(name, {})]
    if missing:
        print(f"\nNot compiled yet: {'; '.join(missing)}.")


def is_whole(found: dict[str, Any]) -> bool:
    """Nothing more can be learnt by compiling again."""
    phases = found.get("phases", ())
    whole = all("step_time" in phase["figures"] or not phase["fits"] for phase in phases)
    return bool(found) and whole


def compiled(case: Case, topology: str) -> dict[str, Any]:
    """What `jaxbert plan` says, without how it knows."""
    words = case.words(topology)
    print(f"{topology} {case.config} {' '.join(words)}", file=sys.stderr, flush=True)
    kind = Pretrain if case.config.startswith("pretrain/") else Finetune
    config = load_config(kind, ROOT / "configs" / case.config, words)
    try:
        found = plan(config, topology)
    except UserError as error:
        return {"settings": words, "refused": str(error)}
    phases = []
    for phase in found.phases:
        figures = {name: figure.value for name, figure in phase.figures.items()}
        phases.append({**asdict(phase), "figures": figures, "most_expensive": []})
    return {"settings": words, "versions": found.versions, "phases": phases}


def report(known: dict[str, Any]) -> None:
    """A Markdown table."""
    print(
        "| configuration | TPU | rows x tokens of a chip | fits | GiB of a chip | executed / model "
        "FLOPs | step, ms | tokens/s | settings added |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for line in _lines(known):
        print(line)


def _lines(known: dict[str, Any]) -> Iterator[str]:
    for name, by_topology in known.items():
        for topology, found in by_topology.items():
            for phase in found.get("phases", ()):
                yield _line(name, topology, phase, found["settings"])


def _line(name: str, topology: str, phase: dict[str, Any], settings: list[str]) -> str:
    figures = phase["figures"]
    needed = figures.get("peak_memory", figures.get("temporaries", math.nan)) / GIB
    cells = [name, topology, f"{phase['rows']} x {phase['tokens']}"]
    cells += ["yes" if phase["fits"] else "**no**"]
    cells += [f"{needed:.1f} of {figures['memory'] / GIB:.1f}"]
    for key, shown in (("flops_ratio", "{:.3f}"), ("step_time", "{:.1f}")):
        scale = 1000 if key == "step_time" else 1
        cells.append(shown.format(figures[key] * scale) if key in figures else "")
    cells.append(f"{figures['tokens_per_second']:,.0f}" if "step_time" in figures else "")
    return f"| {' | '.join(cells)} | {' '.join(settings)} |"


if __name__ == "__main__":
    main()
