"""config.json: which family, architecture and head a model directory holds."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from jaxbert.config import parse_config
from jaxbert.errors import UserError, nearest
from jaxbert.families import family_of
from jaxbert.families.family import Family
from jaxbert.families.head_fields import (
    DENSE,
    KIND,
    MIXTURE,
    NORMALIZED,
    POOLING,
    SPLADE,
    THRESHOLDS,
    head_from_hf,
)
from jaxbert.hub.cross_encoder import with_problem_type
from jaxbert.hub.own_architecture import with_own_options
from jaxbert.hub.sentence_modules import is_sentence_encoder, read_modules
from jaxbert.hub.token_sides import STANFORD
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import MIXING, POOLED, Head, HeadKind, Splade
from jaxbert.text.vocabulary import read_object

FILE = "config.json"
PARAMS = "params"
"""The folder of the weights in our own layout, which transformers cannot have written."""
# Google's own files do not say whose they are.
GOOGLE: dict[str, dict[str, Any]] = {
    "bert_config.json": {"model_type": "bert", "architectures": ["BertForPreTraining"]},
    "albert_config.json": {"model_type": "albert", "architectures": ["AlbertForPreTraining"]},
}
CONFIG_FILES = (FILE, *GOOGLE)


@dataclass(frozen=True)
class Description:
    """What config.json says, read for the head that the caller wants."""

    family: Family
    config: EncoderConfig
    head: Head
    saved: Head | None
    """The head in the weights; None: config.json names none that is implemented, nor did who
    asked for a kind of head say that it is the file's own."""


def read_description(
    directory: Path, *, head: Head | HeadKind | None = None, labels: Sequence[str] | None = None
) -> Description:
    """Reads config.json, or Google's bert_config.json; `head` and `labels` replace what it says.

    A bare encoder, and a masked LM of a sparse embedding, that is not asked for as a `Head` pools
    as sentence-transformers' files have it; beside those of another embedding a masked LM that
    nobody asks for is a bare encoder, for there it is only the encoder's origin.
    Raises UserError, led by the file's name, where a field is not implemented or not understood.
    """
    if labels is not None:
        _check_labels(labels)
    file = _file(directory)
    fields = GOOGLE.get(file.name, {}) | _read_json(file)
    try:
        family = family_of(_model_type(fields))
        fields = with_problem_type(fields, directory)
        saved_kind = _saved_kind(family, fields)
        if saved_kind not in (None, "none") and not (directory / PARAMS).is_dir():
            fields = _without_leftovers(family, fields, saved_kind)
        saved = None if saved_kind is None else head_from_hf(fields, saved_kind)
        wanted = saved if head is None else _as_head(fields, head, labels, saved_kind)
        if wanted is None:
            raise UserError(_no_architecture(family, fields))
        if saved is None and not isinstance(head, Head) and labels is None:
            # As in transformers, the caller then says what the classifier in the file is.
            saved = wanted
        if labels is not None:
            wanted = _relabelled(wanted, labels)
        config = with_own_options(family.config_from_hf(fields), fields)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    is_of_tokens = wanted.kind == "late_interaction"
    is_bare = wanted == Head() or is_sentence_encoder(wanted) or is_of_tokens
    is_origin = head is None and wanted.kind == "masked_lm"
    if head == "masked_lm":
        # Asked for by its name it is the plain one, whatever was made of it.
        wanted = replace(wanted, splade=None)
    elif not isinstance(head, Head) and (is_bare or is_origin):
        # sentence-transformers says beside config.json what it makes of an encoder.
        found = read_modules(directory)
        # all-mpnet-base-v2 names MPNetForMaskedLM and holds no such head. Who asks for one kind of
        # vectors is not given the other.
        if found is not None and (head is None or found.kind == wanted.kind):
            wanted = found
    return Description(family, config, wanted, saved)


def read_splade(directory: Path) -> Splade | None:
    """How a directory's model makes weights of its logits; None: it does not."""
    if (directory / PARAMS).is_dir():
        # In Hugging Face's layout the field may be left of what transformers has trained since.
        given = _read_json(_file(directory)).get(SPLADE)
        return None if given is None else parse_config(Splade, given, origin=SPLADE)
    found = read_modules(directory)
    return None if found is None else found.splade


def read_token_ids(directory: Path) -> dict[str, int | None]:
    """What config.json says of its vocabulary's tokens: `bos_token_id` and the like."""
    return {
        name: value
        for name, value in _read_json(_file(directory)).items()
        if name.endswith("_token_id") and (value is None or type(value) is int)
    }


def write_config(fields: Mapping[str, Any], directory: Path) -> None:
    """Writes config.json as transformers does: two spaces, sorted keys."""
    text = json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=False)
    (directory / FILE).write_text(text + "\n", encoding="utf-8")


def _file(directory: Path) -> Path:
    present = (directory / name for name in CONFIG_FILES if (directory / name).is_file())
    return next(present, directory / FILE)


def _read_json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise UserError(f"{file} is missing: expected a model directory")
    return read_object(file)


def _model_type(fields: Mapping[str, Any]) -> str:
    if not isinstance(fields.get("model_type"), str):
        raise UserError('it names no model_type: expected a family such as "bert"')
    return fields["model_type"]


def _saved_kind(family: Family, fields: Mapping[str, Any]) -> HeadKind | None:
    names = fields.get("architectures") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"architectures={names!r}: expected a list of class names")
    known = {**family.former_architectures, **family.architectures}
    implemented = [known[name] for name in names if name in known]
    # In our layout there are heads that transformers has no class for, such as EuroBERT's of spans.
    own = fields.get(KIND)
    if own is not None and own not in get_args(HeadKind):
        raise UserError(f"{KIND}={own!r}: {nearest(str(own), get_args(HeadKind))}")
    found = next(iter(implemented), own)
    # Its class is the plain encoder's.
    is_of_tokens = own == "late_interaction" and found == "none"
    return "late_interaction" if is_of_tokens or STANFORD in names else found


def _without_leftovers(family: Family, fields: Mapping[str, Any], kind: HeadKind) -> dict[str, Any]:
    """The fields without those of ours that the named class of transformers knows nothing of.

    It writes again what it has found: where it made a classifier of an encoder that pools, the
    pooling is still there, and the classifier was trained without it.
    """
    own = {POOLING, MIXTURE, NORMALIZED, DENSE, SPLADE}
    pooling = fields.get(POOLING)
    if isinstance(pooling, str) and pooling in family.poolings and kind in MIXING & POOLED:
        style = family.config_from_hf(fields).heads.sequence_classification
        own -= {POOLING} if style.pooling == pooling else set()
    return {name: value for name, value in fields.items() if name not in own}


def _as_head(
    fields: Mapping[str, Any],
    head: Head | HeadKind,
    labels: Sequence[str] | None,
    saved_kind: HeadKind | None,
) -> Head:
    if isinstance(head, Head):
        return head
    if head not in get_args(HeadKind):
        raise UserError(f"head={head!r} is not a kind of head: {nearest(head, get_args(HeadKind))}")
    if labels is not None:
        # The labels on disk may not be readable, and are not wanted.
        fields = {**fields, "id2label": dict(enumerate(labels)), THRESHOLDS: None}
    if head != saved_kind:
        # What the saved head reads is its own choice, which another kind may not even have.
        own = (POOLING, MIXTURE, THRESHOLDS, NORMALIZED, DENSE, SPLADE)
        fields = {name: value for name, value in fields.items() if name not in own}
    return head_from_hf(fields, head)


def _check_labels(labels: Any) -> None:
    is_list = isinstance(labels, Sequence) and not isinstance(labels, str)
    if not is_list or not all(isinstance(label, str) for label in labels):
        raise UserError(f"labels={labels!r}: expected a list of texts, such as ['no', 'yes']")


def _relabelled(head: Head, labels: Sequence[str]) -> Head:
    if not head.has_labels:
        raise UserError(
            f"labels={list(labels)} need a classifier: pass head='sequence_classification' or "
            f"'token_classification', not {head.kind!r}"
        )
    # Thresholds were chosen for the labels that the file names.
    return replace(head, labels=tuple(labels), thresholds=None)


def _no_architecture(family: Family, fields: Mapping[str, Any]) -> str:
    names = fields.get("architectures") or "none"
    return (
        f"of its architectures ({names}) none is implemented "
        f"({', '.join(family.architectures)}): pass head= (jaxbert convert --head) to choose one "
        f"of {', '.join(family.architectures.values())}"
    )
