"""What sentence-transformers' CrossEncoder makes of the one logit of a pair, in config.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxbert.errors import UserError
from jaxbert.families.head_fields import labels_from_hf
from jaxbert.hub.sentence_prompts import PROMPTS
from jaxbert.nn.head import Head, ProblemType
from jaxbert.text.vocabulary import read_object

_FIELD, _ACTIVATION = "sentence_transformers", "activation_fn"
_FORMER = "sbert_ce_default_activation_function"
_IDENTITY = "torch.nn.modules.linear.Identity"
_PROBLEMS: dict[str, ProblemType] = {
    _IDENTITY: "regression",
    "torch.nn.modules.activation.Sigmoid": "multi_label_classification",
}


def with_problem_type(fields: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """config.json's fields; of one logit `problem_type` says what it is: a number, or a label's.

    Files that say nothing leave it open: transformers then takes a number, CrossEncoder the
    sigmoid. Raises UserError for a field that is no object.
    """
    problem = _PROBLEMS.get(str(_activation(fields, directory)))
    is_open = fields.get("problem_type") is None and problem is not None
    if is_open and len(labels_from_hf(fields)) == 1:
        return {**fields, "problem_type": problem}
    return dict(fields)


def score_fields(head: Head) -> dict[str, Any]:
    """What config.json must say for CrossEncoder to give a number as it is, not its sigmoid."""
    is_score = head.kind == "sequence_classification" and len(head.labels) == 1
    if is_score and head.problem_type == "regression":
        return {_FIELD: {_ACTIVATION: _IDENTITY}}
    return {}


def _activation(fields: Mapping[str, Any], directory: Path) -> Any:
    """From config.json, by today's name or the former, or since version 6 a file of its own."""
    given = fields.get(_FIELD)
    if given is not None and not isinstance(given, Mapping):
        raise UserError(f"{_FIELD}={given!r}: expected an object")
    own = read_object(directory / PROMPTS)
    of_file = own.get(_ACTIVATION) if own.get("model_type") == "CrossEncoder" else None
    return (given or {}).get(_ACTIVATION) or fields.get(_FORMER) or of_file
