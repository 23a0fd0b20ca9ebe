"""The table of docs/plans.md: shipped configurations compiled for TPUs that are not here.

    python benchmarks/plans.py [--compile] [--only NAME...] [--topologies v5e:2x4...]

Prints the table of what benchmarks/results/plans.json holds, and puts it into docs/plans.md. With
--compile, what is missing there is compiled first, minutes each, one after another; what is known
is kept at once, with the commit that it was compiled with, and the command goes on where it was
stopped. Needs jaxbert[plan] and git.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import contest

from jaxbert.config import load_config
from jaxbert.errors import UserError
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.pretrain import Pretrain
from jaxbert.plan.planning import plan

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "plans.md"
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
    topologies: tuple[str, ...] = TOPOLOGIES

    def words(self, topology: str) -> list[str]:
        """Overrides of the configuration."""
        chips = math.prod(int(size) for size in topology.partition(":")[2].split("x"))
        words = list(self.settings)
        if self.rows is not None:
            words.append(f"batch_size={self.rows * chips}")
        return words + list(self.on_256 if chips == 256 else ())


ONE, AT_512 = "phases=[]", ("data.max_seq_length=512", "data.masking.max_predictions=76")
PACKED = ("data.max_seq_length=512", "data.masking.max_predictions=null", "data.packing=true")
CASES = {
    "BERT-base, phase 1": Case("pretrain/bert_base.yaml", (ONE,)),
    "BERT-base, phase 2": Case("pretrain/bert_base.yaml", (ONE, *AT_512)),
    "BERT-large, phase 1": Case("pretrain/bert_large.yaml", (ONE,)),
    "BERT-large, phase 2": Case("pretrain/bert_large.yaml", (ONE, *AT_512)),
    "BERT-base, SQuAD": Case("finetune/squad.yaml", on_256=("batch_size=256",)),
    "DeBERTa-v3-large": Case("finetune/deberta_v3_large.yaml", on_256=("mesh.tensor=4",)),
    "ModernBERT-large": Case("finetune/modernbert_large.yaml", on_256=("mesh.tensor=4",)),
    "BERT-base, 128 rows a chip": Case(
        "pretrain/bert_base.yaml", (ONE,), 128, topologies=("v5e:2x4",)
    ),
    "BERT-base, 32 packed rows a chip": Case(
        "pretrain/bert_base.yaml", (ONE, *PACKED), 32, topologies=("v5e:2x4",)
    ),
    "ModernBERT-base, last phase": Case(
        "pretrain/modernbert_base.yaml", (ONE, "batch_size=4608"), topologies=("v5e:16x16",)
    ),
}
"""Phases one by one, so that less is lost where the command is stopped."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compile", action="store_true", help="compile what is missing")
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--topologies", nargs="+", default=list(TOPOLOGIES))
    arguments = parser.parse_args()
    wanted = [
        (name, each)
        for each in arguments.topologies
        for name in arguments.only
        if each in CASES[name].topologies
    ]
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    for name, topology in wanted if arguments.compile else ():
        if not is_whole(known.setdefault(name, {}).get(topology, {})):
            known[name][topology] = compiled(CASES[name], topology)
            RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    lines = table(known)
    print("\n".join(lines))
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), lines), encoding="utf-8")


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
    config, commit = load_config(kind, ROOT / "configs" / case.config, words), contest.commit()
    try:
        found = plan(config, topology)
    except UserError as error:
        return {"settings": words, "commit": commit, "refused": str(error)}
    phases = []
    for phase in found.phases:
        figures = {name: figure.value for name, figure in phase.figures.items()}
        phases.append({**asdict(phase), "figures": figures, "most_expensive": []})
    return {
        "settings": words,
        "commit": commit,
        "versions": found.versions,
        "phases": phases,
    }


def table(known: dict[str, Any]) -> list[str]:
    """Lines of Markdown."""
    names = ("configuration", "TPU", "rows x tokens of a chip", "fits", "GiB of a chip")
    names += ("executed / model FLOPs", "step, ms", "tokens/s", "MFU", "settings added", "commit")
    lines = [_row(names), _row(["---"] * len(names))]
    for name, case in CASES.items():
        for topology in case.topologies:
            found = known.get(name, {}).get(topology, {})
            added = [" ".join(found.get("settings", ())), found.get("commit", "")]
            if not found.get("phases"):
                said = f"refused: {found['refused']}" if found else "not compiled yet"
                lines.append(_row([name, topology, "", said, *[""] * (len(names) - 6), *added]))
            for phase in found.get("phases", ()):
                lines.append(_row([name, topology, *_cells(phase), *added]))
    return lines


def _cells(phase: dict[str, Any]) -> list[str]:
    figures = phase["figures"]
    needed = figures.get("peak_memory", figures.get("temporaries", math.nan)) / GIB
    shown = (
        ("flops_ratio", 1, "{:.3f}"),
        ("step_time", 1000, "{:.1f}"),
        ("tokens_per_second", 1, "{:,.0f}"),
        ("model_flops_utilization", 100, "{:.0f} %"),
    )
    return [
        f"{phase['rows']} x {phase['tokens']}",
        "yes" if phase["fits"] else "**no**",
        f"{needed:.1f} of {figures['memory'] / GIB:.1f}",
        *(form.format(figures[key] * by) if key in figures else "" for key, by, form in shown),
    ]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def with_table(page: str, lines: list[str]) -> str:
    """The page with these lines in the place of its first table."""
    rows = page.splitlines()
    first = next(number for number, row in enumerate(rows) if row.startswith("|"))
    length = next(number for number, row in enumerate(rows[first:]) if not row.startswith("|"))
    return "\n".join([*rows[:first], *lines, *rows[first + length :]]) + "\n"


if __name__ == "__main__":
    main()
