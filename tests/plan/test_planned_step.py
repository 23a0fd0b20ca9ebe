"""A small model compiled for eight chips of a v5e: every figure against a count of its own."""

import importlib.util
import json
import math

import jax
import pytest
import yaml

from jaxbert.cli import main
from jaxbert.config import parse_config
from jaxbert.errors import UserError
from jaxbert.experiment.pretrain import Pretrain
from jaxbert.plan import compilation
from jaxbert.plan.chips import topology_of
from jaxbert.plan.collectives import Collective
from jaxbert.plan.compilation import DoesNotFit, tpu_mesh
from jaxbert.plan.estimate import time_figures
from jaxbert.plan.planning import plan
from jaxbert.plan.report import Figure
from jaxbert.plan.subject import subject_of

HAS_LIBTPU = importlib.util.find_spec("libtpu") is not None
needs_libtpu = pytest.mark.skipif(
    not HAS_LIBTPU, reason="libtpu, the compiler for TPUs, is not installed (extra `plan`)"
)

HIDDEN, MLP, HEADS, VOCAB, POSITIONS = 128, 256, 2, 1024, 64
LENGTH, PREDICTIONS, ROWS, CHIPS = 64, 10, 4, 8
VALUES = {
    "store": "stores/nowhere",
    "model": {
        "preset": "bert-tiny",
        "overrides": {
            "vocab_size": VOCAB,
            "hidden_size": HIDDEN,
            "num_hidden_layers": 1,
            "num_attention_heads": HEADS,
            "intermediate_size": MLP,
            "max_position_embeddings": POSITIONS,
        },
    },
    "data": {"max_seq_length": LENGTH, "masking": {"max_predictions": PREDICTIONS}},
    "num_steps": 3600,
    "batch_size": ROWS * CHIPS,
}

KERNELS = 4 * HIDDEN**2 + 2 * HIDDEN * MLP + 2 * HIDDEN**2 + 2 * HIDDEN
"""Of the layer, the pooler, the masked LM and the next sentence."""
BIASES = 5 * HIDDEN + MLP + 2 * HIDDEN + VOCAB + 2
NORMS = 4 * 2 * HIDDEN
EMBEDDINGS = (VOCAB + POSITIONS + 2) * HIDDEN
PARAMETERS = KERNELS + BIASES + NORMS + EMBEDDINGS


@pytest.fixture(scope="module")
def configuration(tmp_path_factory):
    path = tmp_path_factory.mktemp("plan") / "small.yaml"
    path.write_text(yaml.safe_dump(VALUES), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def planned(configuration):
    out = configuration.with_name("plan.json")
    words = ["plan", str(configuration), "--topology", "v5e:2x4", "--price-per-chip-hour", "1.5"]
    assert main([*words, "--json", str(out)]) == 0
    return json.loads(out.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def phase(planned):
    [only] = planned["phases"]
    return only


@pytest.fixture(scope="module")
def figures(phase):
    return {name: figure["value"] for name, figure in phase["figures"].items()}


@needs_libtpu
def test_the_state_is_counted_and_fits(phase, figures):
    assert phase["fits"]
    assert figures["parameters"] == 4 * PARAMETERS
    moments = figures["optimizer_state"] - 2 * 4 * PARAMETERS
    assert 0 < moments <= 64, "two moments, and a few counts"
    held = figures["parameters"] + figures["optimizer_state"]
    beside = figures["temporaries"] + figures["program"]
    # The tiles of some arrays are padded, and there is a batch.
    assert held + beside < figures["peak_memory"] < 1.05 * (held + beside)
    assert figures["memory"] == 15.75 * 2**30


@needs_libtpu
def test_the_products_that_run_are_those_of_the_model(figures):
    tokens = ROWS * LENGTH
    layer = 6 * (4 * HIDDEN**2 + 2 * HIDDEN * MLP) * tokens + 12 * HIDDEN * LENGTH * tokens
    masked = 6 * (HIDDEN**2 + HIDDEN * VOCAB) * ROWS * PREDICTIONS
    sentences = 6 * (HIDDEN**2 + 2 * HIDDEN) * ROWS
    assert figures["model_flops"] == layer + masked
    assert figures["matrix_flops"] == layer + masked + sentences
    assert figures["flops_ratio"] == pytest.approx(1 + sentences / (layer + masked))


@needs_libtpu
def test_the_gradient_of_every_parameter_is_reduced_once(phase):
    [reduced] = phase["collectives"]
    assert (reduced["kind"], reduced["axes"]) == ("all-reduce", ["data"])
    assert reduced["count"] <= 5
    assert 0 <= reduced["num_bytes"] - 4 * PARAMETERS <= 64, "and a few scalars"
    assert reduced["sent_bytes"] == reduced["num_bytes"] * 2 * (CHIPS - 1) / CHIPS


@needs_libtpu
def test_estimates_follow_from_the_counts(planned, phase, figures):
    assert figures["estimated_cycles"] > 0
    assert figures["cycles_estimate"] == pytest.approx(figures["estimated_cycles"] / 1.5e9)
    assert 0 < figures["scheduled_cycles"] < 10 * figures["estimated_cycles"]
    assert figures["schedule_estimate"] == pytest.approx(figures["scheduled_cycles"] / 1.5e9)
    assert not phase["notes"], "every fusion has a schedule"
    assert figures["matrix_bound"] == pytest.approx(figures["matrix_flops"] / 197e12)
    assert figures["memory_bound"] == pytest.approx(figures["memory_traffic"] / 819e9)
    # A step reads and writes its whole state.
    held = figures["parameters"] + figures["optimizer_state"]
    assert 2 * held < figures["memory_traffic"] < 20 * held
    tokens = ROWS * CHIPS * LENGTH
    assert figures["tokens_per_second"] == pytest.approx(tokens / figures["step_time"])
    assert 0 < figures["model_flops_utilization"] < 1
    totals = {name: figure["value"] for name, figure in planned["totals"].items()}
    assert totals["hours"] == pytest.approx(figures["step_time"])
    assert totals["cost"] == pytest.approx(totals["hours"] * CHIPS * 1.5)
    assert all(figure["how"] for figure in phase["figures"].values())


@needs_libtpu
def test_costs_are_told_by_source_line(phase, figures):
    costs = phase["most_expensive"]
    assert len(costs) == 10
    assert costs == sorted(costs, key=lambda cost: -cost["cycles"])
    assert sum(cost["cycles"] for cost in costs) <= figures["estimated_cycles"]
    files = {cost["source"].partition(":")[0] for cost in costs}
    assert {"jaxbert/nn/linear.py", "jaxbert/training/step.py"} <= files
    callers = {cost["caller"].partition(":")[0] for cost in costs if "/linear.py" in cost["source"]}
    assert "jaxbert/nn/attention.py" in callers
    assert {cost["pass_"] for cost in costs} >= {"forward", "backward", "update"}


@needs_libtpu
def test_slices_exchange_what_a_chip_of_each_has_summed():
    # Less to compile than with dropout.
    still = [f"model.overrides.{part}_dropout_prob=0" for part in ("hidden", "attention_probs")]
    config = parse_config(Pretrain, VALUES, ["mesh.replica=2", *still])
    [phase] = plan(config, "2xv5e:2x2").phases
    assert phase.mesh == {"replica": 2, "data": 4, "fsdp": 1, "tensor": 1}
    [between] = [each for each in phase.collectives if "replica" in each.axes]
    assert (between.kind, between.axes) == ("all-reduce", ("replica",))
    # A quarter each, but for what is too small to be split.
    assert PARAMETERS <= between.num_bytes < 1.1 * PARAMETERS
    assert between.sent_bytes == between.num_bytes
    assert phase.figures["network_bound"].value == pytest.approx(between.sent_bytes / 3.125e9)


@pytest.mark.parametrize(
    ("topology", "said"),
    [
        ("v9:2x2", "no such TPU: v4:{2x2x1,"),
        ("v5e", "v5e is v5e:{1x1,2x2,2x4,"),
        ("v5p:2x4", "v5p is v5p:{2x2x1,"),
        ("v5p:3x3x3", "v5p is v5p:{2x2x1,"),
        ("2xv5e:8", "v5e is v5e:{1x1,2x2,2x4,"),
        ("v5e:3x3", "v5e is v5e:{1x1,2x2,2x4,"),
        ("2xv6e:32x32", "v6e is v6e:{1x1,2x2,2x4,"),
        ("0xv5e:2x4", "no such TPU"),
    ],
)
def test_an_unknown_topology_is_answered_with_the_known_ones(configuration, topology, said, capsys):
    assert main(["plan", str(configuration), "--topology", topology]) == 2
    assert said in capsys.readouterr().err


def test_a_shape_that_the_compiler_refuses_is_answered_with_others(monkeypatch):
    def refuse(**_):
        raise jax.errors.JaxRuntimeError("INVALID_ARGUMENT: no such layout")

    monkeypatch.setattr(compilation.topologies, "get_topology_desc", refuse)
    subject = subject_of(parse_config(Pretrain, VALUES))
    with pytest.raises(UserError, match=r"v5p:2x2x9: no such layout; v5p:\{2x2x1,"):
        tpu_mesh(subject, topology_of("v5p:2x2x9"))


def test_several_slices_are_written_in_front():
    topology = topology_of("4xv5p:2x2x2")
    assert (topology.num_slices, topology.chip.name) == (4, "v5p")
    assert topology.slice_name == "v5p:2x2x2"
    assert topology.num_chips == topology.num_devices == 32
    assert topology_of("v5e:16x16").num_slices == 1


def test_the_network_between_slices_has_a_price_of_its_own():
    counts = {"matrix_flops": 197e12, "memory_traffic": 0.0, "estimated_cycles": 0.0}
    figures = {name: Figure(value, "", "") for name, value in counts.items()}
    figures["model_flops"] = Figure(197e12, "", "")
    exchanges = [
        Collective("all-reduce", axes, 1, 0, sent)
        for axes, sent in ((("data",), 200e9), (("replica",), 3.125e9))
    ]
    times = time_figures(figures, exchanges, topology_of("2xv5e:2x4"), tokens=3.0)
    for name in ("link_bound", "network_bound", "tokens_per_second"):
        assert times[name].value == pytest.approx(1.0)
    near = time_figures(figures, exchanges, topology_of("v5e:2x4"), tokens=3.0)
    assert "network_bound" not in near


def test_kernels_are_priced_beside_what_the_cost_model_knows():
    counts = {"matrix_flops": 0.0, "memory_traffic": 0.0, "model_flops": 1.0}
    counts |= {"estimated_cycles": 1.5e9, "kernel_cycles": 3e9, "scheduled_cycles": 6e9}
    figures = {name: Figure(value, "", "") for name, value in counts.items()}
    times = time_figures(figures, [], topology_of("v5e:2x4"), tokens=1.0)
    assert times["cycles_estimate"].value == times["step_time"].value == pytest.approx(3.0)
    assert times["schedule_estimate"].value == pytest.approx(4.0)


def test_without_the_compiler_the_extra_is_named(configuration, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["plan", str(configuration), "--topology", "v5e:2x4"]) == 2
    assert capsys.readouterr().err.endswith("pip install 'jaxbert[plan]'\n")


def test_the_refusal_of_the_compiler_says_how_much_is_needed():
    refusal = DoesNotFit(
        "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory "
        "required for HLO temporaries (27.39G) exceeds available HBM (15.75G)."
    )
    assert refusal.needed is not None
    assert math.isclose(refusal.needed, 27.39 * 2**30)
