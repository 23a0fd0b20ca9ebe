import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Gt

from jaxbert.checkpoint.preservation import CheckpointConfig
from jaxbert.config import chosen_values, json_schema, load_config, parse_config, to_values, to_yaml
from jaxbert.data.masking_config import (
    MaskingConfig,
    NgramUnits,
    SpanUnits,
    TokenUnits,
)
from jaxbert.data.pretraining import PretrainingDataConfig
from jaxbert.errors import UserError
from jaxbert.optim.groups import GroupConfig
from jaxbert.optim.kinds import AdamW, Lion
from jaxbert.optim.schedule import ScheduleConfig
from jaxbert.parallel.mesh import MeshConfig
from jaxbert.training.loop import LoopConfig
from jaxbert.training.step import StepConfig
from jaxbert.yaml_values import read_values


@dataclass(frozen=True)
class Updates:
    learning_rate: Annotated[float, Gt(0)] = 1e-4
    """At the peak,

    whatever the schedule."""
    freeze: tuple[str, ...] = ()
    """Nothing by default."""


@dataclass(frozen=True)
class Optimizer(Updates):
    freeze: tuple[str, ...] = ()
    """Paths that are not trained."""
    max_grad_norm: float | None = 1.0


@dataclass(frozen=True)
class Validation:
    file: str
    every: int | Literal["epoch"] = "epoch"


@dataclass(frozen=True)
class Run:
    """A configuration with everything that configurations have."""

    store: str
    num_steps: int = 10
    is_packed: bool = False
    optimizer: Optimizer = field(default_factory=Optimizer)
    validation: Validation | None = None
    overrides: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.num_steps > 1000:
            raise UserError(f"num_steps={self.num_steps}: at most 1000")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml_becomes_frozen_values_and_what_it_leaves_out_defaults(tmp_path: Path):
    path = write(tmp_path, "store: wiki\noptimizer:\n  freeze: [encoder, pooler]\n")
    assert load_config(Run, path) == Run("wiki", optimizer=Optimizer(freeze=("encoder", "pooler")))


@pytest.mark.parametrize("number", ["3e-5", "3E-5", "0.00003", "3.0e-05", ".3e-4", "+3e-5"])
def test_every_spelling_of_a_number_is_one(tmp_path: Path, number: str):
    sections = f"optimizer: {{learning_rate: {number}}}\noverrides: {{x: {number}}}"
    path = write(tmp_path, f"store: s\n{sections}")
    config = load_config(Run, path)
    # The second field has no type that could help: YAML 1.1 would leave 3e-5 a string.
    assert config.optimizer.learning_rate == config.overrides["x"] == 3e-5
    assert load_config(Run, path, [f"overrides.y={number}"]).overrides["y"] == 3e-5


@pytest.mark.parametrize("text", ["'3e-5'", "1e", "e5", "0x1g", "3e-5x"])
def test_what_only_looks_like_a_number_stays_text(tmp_path: Path, text: str):
    path = write(tmp_path, f"store: {text}")
    assert load_config(Run, path).store == text.strip("'")


def test_overrides_replace_in_order_and_make_sections(tmp_path: Path):
    path = write(tmp_path, "store: s\nnum_steps: 3\nvalidation:\n")
    config = load_config(
        Run,
        path,
        [
            "num_steps=5",
            "num_steps=7",
            "optimizer.learning_rate=3e-5",
            "optimizer.freeze=[encoder/embeddings]",
            "optimizer.max_grad_norm=null",
            "validation.file=a=b.csv",
            "is_packed=true",
        ],
    )
    assert config == Run(
        "s",
        7,
        True,
        Optimizer(3e-5, ("encoder/embeddings",), None),
        Validation("a=b.csv"),
    )


def test_overrides_leave_the_given_values_alone():
    values: dict[str, Any] = {"store": "s", "optimizer": {"learning_rate": 0.5}}
    parse_config(Run, values, ["optimizer.learning_rate=0.25", "num_steps=3"])
    assert values == {"store": "s", "optimizer": {"learning_rate": 0.5}}


@pytest.mark.parametrize("number", [3e-5, 1e-12, 1e22, 0.1, 1e-4])
def test_what_is_written_is_read_back(tmp_path: Path, number: float):
    config = Run(
        "3e-5",
        optimizer=Optimizer(number, ("yes", "1", "null", "ünï")),
        validation=Validation("x: y", 5),
        overrides={"layer_norm_eps": number, "hidden_act": "1e3"},
    )
    assert load_config(Run, write(tmp_path, to_yaml(config))) == config
    assert parse_config(Run, to_values(config)) == config
    assert json.loads(json.dumps(to_values(config))) == to_values(config)


@dataclass(frozen=True)
class Choices:
    optimizer: AdamW | Lion = field(default_factory=AdamW)
    groups: tuple[GroupConfig, ...] = ()
    validation: Validation | None = None


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        ({}, {}),
        ({"optimizer": {"kind": "adamw", "b2": 0.98}}, {"optimizer": {"b2": 0.98}}),
        ({"optimizer": {"kind": "lion"}}, {"optimizer": {"kind": "lion"}}),
        (
            {"groups": [{"params": "a", "factor": 0.5, "learning_rate": None}]},
            {"groups": [{"params": "a", "factor": 0.5}]},
        ),
        ({"validation": {"file": "f", "every": "epoch"}}, {"validation": {"file": "f"}}),
    ],
)
def test_what_is_chosen_is_what_is_no_default_and_completes_to_the_same(values, chosen):
    config = parse_config(Choices, values)
    assert chosen_values(config) == chosen
    assert parse_config(Choices, chosen) == config


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("store: s\nnum_step: 3", [], "unknown key 'num_step': did you mean 'num_steps'"),
        ("store: s\noptimizer: {lerning_rate: 1}", [], "'optimizer.lerning_rate': did you mean"),
        ("store: s\nvalidation: {file: f, evry: 1}", [], "'validation.evry': did you mean 'every'"),
        ("store: s\nxyz: 3", [], "'xyz': valid: is_packed, num_steps, optimizer, overrides, store"),
        ("store: s", ["optimizer.freze=[a]"], "command line: unknown key 'optimizer.freze'"),
        ("store: s", ["num_steps.x=1"], "'num_steps': Input should be a valid integer"),
        ("store: s\nnum_steps: 3", ["num_steps.x=1"], "'num_steps' is a value, not a section"),
        ("store: s", ["num_steps"], "override 'num_steps': expected dotted.key=value"),
        ("store: s", ["=3"], "override '=3': expected dotted.key=value"),
        ("num_steps: 3", [], "'store' is missing"),
        ("store: s\nnum_steps: many", [], "'num_steps': Input should be .* integer.*'many'"),
        ("store: s\nnum_steps: 2.5", [], "'num_steps': .*2.5"),
        ("store: 7", [], "'store': Input should be a valid string .found 7"),
        ("store: s\noptimizer: {learning_rate: -1}", [], "'optimizer.learning_rate': .*greater"),
        ("store: s\noptimizer: {learning_rate: .nan}", [], "'optimizer.learning_rate': .*nan"),
        ("store: s\noptimizer: {learning_rate: .inf}", [], "'optimizer.learning_rate': .* finite"),
        ("store: s", ["optimizer.max_grad_norm=inf"], "'optimizer.max_grad_norm': .* finite"),
        ("store: s\noptimizer: {learning_rate: true}", [], "'optimizer.learning_rate': .*True"),
        ("store: s\nnum_steps: yes", [], "'num_steps': expected a number .found True"),
        ("store: s", ["validation={file: f, every: true}"], "'validation.every': expected a num"),
        ("store: s", ["optimizer.freeze=encoder"], r"'optimizer.freeze': .*such as \[encoder\]"),
        ("store: s", ["optimizer.freeze=[a, 1]"], r"'optimizer.freeze.1': .*: put it in quotes$"),
        ("store: no", [], "'store': .*put it in quotes, as yes, no, on and off need"),
        ("store: s\noptimizer: 3", [], "'optimizer': .*3"),
        ("store: s\nnum_steps: 2000", [], "num_steps=2000: at most 1000"),
        ("store: s\nstore: t", [], "not valid YAML: key 'store' occurs twice.*line 1"),
        ("store: [s", [], "not valid YAML"),
        ("- store", [], "expected keys and values, found list"),
        ("", [], "'store' is missing"),
    ],
)
def test_a_mistake_is_one_line_that_names_file_and_key(
    tmp_path: Path, text: str, overrides: list[str], message: str
):
    path = write(tmp_path, text)
    with pytest.raises(UserError, match=message) as raised:
        load_config(Run, path, overrides)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith((f"{path}: ", "override ", "command line: "))


@dataclass(frozen=True)
class Several:
    data: str | dict[str, str]


def test_the_member_of_a_union_is_no_part_of_a_key():
    with pytest.raises(UserError, match=r"'data': .*a:b[.]csv") as raised:
        parse_config(Several, {}, ["data={a:b.csv}"])
    assert "data.str" not in str(raised.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(UserError, match="no such configuration file"):
        load_config(Run, tmp_path / "absent.yaml")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        load_config(Run, tmp_path)
    (tmp_path / "latin.yaml").write_bytes("store: é".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8 text at byte 7"):
        load_config(Run, tmp_path / "latin.yaml")


def test_yaml_anchors_and_merges_still_work(tmp_path: Path):
    path = write(tmp_path, "store: &name s\noverrides: {a: &x {p: 1}, b: {<<: *x, p: 2, q: *name}}")
    assert load_config(Run, path).overrides == {"a": {"p": 1}, "b": {"p": 2, "q": "s"}}


def test_the_schema_knows_keys_types_and_what_is_required():
    schema = json_schema(Run)
    assert schema["required"] == ["store"]
    assert set(schema["properties"]) == set(Run.__dataclass_fields__)
    assert schema["properties"]["num_steps"]["type"] == "integer"
    rate = schema["$defs"]["Optimizer"]["properties"]["learning_rate"]
    assert rate["exclusiveMinimum"] == 0


def test_the_schema_says_what_stands_under_fields_inherited_ones_too():
    schema = json_schema(Run)
    options = schema["$defs"]["Optimizer"]["properties"]
    assert options["learning_rate"]["description"] == "At the peak,\n\nwhatever the schedule."
    assert options["freeze"]["description"] == "Paths that are not trained."
    assert "description" not in options["max_grad_norm"]


def test_a_key_of_a_section_is_found_where_it_is():
    with pytest.raises(UserError, match=r"'learning_rate': did you mean 'optimizer.learning_rate'"):
        parse_config(Run, {"store": "s"}, ["learning_rate=1"])


@pytest.mark.parametrize("text", ["2024-02-30", "2024-13-45", "!!int x", "!!bool x", "[" * 5000])
def test_a_value_that_yaml_stumbles_over_is_text_or_one_line(tmp_path, text):
    file = tmp_path / "run.yaml"
    file.write_text(f"name: {text}\n")
    if text[0] == "2":
        assert read_values(file) == {"name": text}
    else:
        with pytest.raises(UserError, match=r"run\.yaml: not valid YAML"):
            read_values(file)


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (AdamW, {"learning_rate": -1e-3}, "learning_rate=-0.001: must be above 0"),
        (AdamW, {"learning_rate": "1e-3"}, "learning_rate: '1e-3' is str, expected float"),
        (AdamW, {"b2": 1.0}, "b2=1.0: must be at least 0 and below 1"),
        (AdamW, {"freeze": "encoder"}, "freeze='encoder': expected a tuple or a list"),
        (AdamW, {"freeze_layers": -1}, "freeze_layers=-1: must be at least 0"),
        (AdamW, {"freeze_layers": "al"}, "freeze_layers='al': did you mean 'all'"),
        (AdamW, {"groups": [{"params": "pooler"}]}, "groups: {.*} is dict, expected GroupConfig"),
        (Lion, {"kind": "adamw"}, "kind='adamw': valid: lion"),
        (GroupConfig, {"params": "pooler", "factor": 0}, "factor=0: must be above 0"),
        (ScheduleConfig, {"kind": "cosin"}, "kind='cosin': did you mean 'cosine'"),
        (ScheduleConfig, {"warmup_steps": -5}, "warmup_steps=-5: must be at least 0"),
        (MaskingConfig, {"units": "spans"}, "units: 'spans' is str, expected TokenUnits or"),
        (MaskingConfig, {"units": SpanUnits}, "units: .* is type, expected TokenUnits or"),
        (MaskingConfig, {"interpolation": "cubic"}, "interpolation='cubic': valid: constant"),
        (SpanUnits, {"geometric_p": 2.0}, "geometric_p=2.0: must be above 0 and at most 1"),
        (NgramUnits, {"max_words": 0}, "max_words=0: must be at least 1"),
        (PretrainingDataConfig, {"packing": "no"}, "packing: 'no' is str, expected bool"),
        (PretrainingDataConfig, {"masking": {}}, "masking: {} is dict, expected MaskingConfig"),
        (StepConfig, {"accumulation_steps": 0}, "accumulation_steps=0: must be at least 1"),
        (StepConfig, {"gradient_dtype": "bf16"}, "gradient_dtype='bf16': did you mean 'bfloat16'"),
        (MeshConfig, {"fsdp": "al"}, "fsdp='al': valid: auto"),
        (LoopConfig, {"evaluate_every": "epochs"}, "evaluate_every='epochs': did you mean 'epoch'"),
        (CheckpointConfig, {"mode": "maximum"}, "mode='maximum': did you mean 'max'"),
    ],
)
def test_a_mistake_in_python_is_one_line_too(cls: Any, options: dict[str, Any], message: str):
    """Pydantic sees only what comes from YAML."""
    with pytest.raises(UserError, match=f"^{message}") as caught:
        cls(**options)
    assert "\n" not in str(caught.value)


def test_options_that_are_right_are_taken_as_they_are():
    assert AdamW(learning_rate=1, freeze_layers="all", max_grad_norm=None).freeze_layers == "all"
    assert AdamW(freeze=["pooler"]) == AdamW(freeze=("pooler",))
    assert MaskingConfig(units=TokenUnits(), schedule=[]) == MaskingConfig()
    assert (MeshConfig(fsdp="auto").fsdp, MeshConfig(fsdp=2).fsdp) == ("auto", 2)
    assert LoopConfig(evaluate_every=5, early_stopping_patience=None).evaluate_every == 5
