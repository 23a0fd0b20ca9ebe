"""The data of pretraining: stores and phases of the configuration become a stream of batches."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt

from jaxbert.data.masking_config import PhraseUnits
from jaxbert.data.mixture import Mixture
from jaxbert.data.pretraining import PretrainingData, PretrainingDataConfig, Split
from jaxbert.data.store import TokenStore
from jaxbert.data.stream import EvaluationRows, Phase, Rows, Stream
from jaxbert.errors import UserError


@dataclass(frozen=True)
class WeightedStore:
    """One of several stores to train on."""

    path: str
    """Directory or URL of a token store; all were made with one tokenizer."""
    weight: Annotated[float, Gt(0)] | None = None
    """Its share of the rows goes by this; null for all of them: by their sizes."""


@dataclass(frozen=True)
class PhaseConfig:
    """From a step on, other lengths or batch sizes; null: as in the phase before.

    What is evaluated is cut for the last phase, in the phases before it too.
    """

    first_step: Annotated[int, Ge(1)]
    """How many steps come before."""
    batch_size: Annotated[int, Ge(1)] | None = None
    """Rows per update; null: as in the phase before."""
    max_seq_length: Annotated[int, Ge(1)] | None = None
    """Tokens of a row; null: as in the phase before."""
    max_predictions: Annotated[int, Ge(1)] | None = None
    """Where max_seq_length is given, null: as many as masking.probability asks for."""


StoreConfig = str | tuple[WeightedStore, ...]
_TRAINED = "the store "
"""So begins what messages, and a run's data.json, call a store that is trained on."""


@dataclass(frozen=True)
class Stores:
    """The opened stores and their weights."""

    stores: tuple[TokenStore, ...]
    weights: tuple[float, ...] | None
    """None: by their sizes."""

    @property
    def first(self) -> TokenStore:
        """The one whose tokenizer is that of all."""
        return self.stores[0]

    @property
    def described(self) -> str:
        """For the model card: how much there is, and what was left out of it."""
        return "; ".join(map(_described, self.stores))


def open_stores(config: StoreConfig) -> Stores:
    """Opens every store; raises UserError where they do not go together."""
    if isinstance(config, str):
        return Stores((TokenStore.open(config),), None)
    if not config:
        raise UserError("store: an empty list; name at least one token store")
    weights = [entry.weight for entry in config]
    given = [weight for weight in weights if weight is not None]
    if given and len(given) < len(weights):
        without = next(entry.path for entry in config if entry.weight is None)
        raise UserError(f"store: {without} has no weight and others have: give all of them or none")
    stores = tuple(TokenStore.open(entry.path) for entry in config)
    for store in stores[1:]:
        if store.metadata["tokenizer"] != stores[0].metadata["tokenizer"]:
            raise UserError(
                f"store: {store.path} was made with another tokenizer than {stores[0].path}; "
                "prepare both with the same"
            )
    return Stores(stores, tuple(given) or None)


def open_validation(sets: Mapping[str, str], stores: Stores) -> dict[str, TokenStore]:
    """Opens the stores of validation sets, by name; raises UserError for one that is trained on.

    Also for one that was made with another tokenizer than the stores to train on.
    """
    opened = {}
    for name, path in sets.items():
        key = f"validation.{name}" if name else "validation"
        store = opened[name] = TokenStore.open(path)
        if store.metadata["tokenizer"] != stores.first.metadata["tokenizer"]:
            raise UserError(
                f"{key}: {store.path} was made with another tokenizer than {stores.first.path}; "
                f"prepare it with --tokenizer {stores.first.path}"
            )
        for trained in stores.stores:
            if store.fingerprint == trained.fingerprint:
                raise UserError(
                    f"{key}: what is in {store.path} is trained on, as {trained.path}: give "
                    "another store, or hold documents out with data.validation_fraction"
                )
    return opened


def data_phases(
    config: PretrainingDataConfig, batch_size: int, phases: Sequence[PhaseConfig], num_steps: int
) -> list[tuple[int, int, PretrainingDataConfig]]:
    """(first step, batch size, data) of every phase; raises UserError for steps out of order."""
    described = [(0, batch_size, config)]
    for number, phase in enumerate(phases):
        last_step, batch_size, config = described[-1]
        if not last_step < phase.first_step < num_steps:
            raise UserError(
                f"phases[{number}].first_step={phase.first_step}: must be after {last_step} and "
                f"before num_steps={num_steps}; change it, or leave all phases out (phases=[])"
            )
        if phase.max_seq_length is not None or phase.max_predictions is not None:
            masking = replace(config.masking, max_predictions=phase.max_predictions)
            length = phase.max_seq_length or config.max_seq_length
            config = replace(config, max_seq_length=length, masking=masking)
        described.append((phase.first_step, phase.batch_size or batch_size, config))
    return described


def data_fingerprints(
    stores: Stores, validation: Mapping[str, TokenStore], config: PretrainingDataConfig
) -> dict[str, str]:
    """Change with any token or boundary of a store, and with the phrases to be masked."""
    parts: dict[str, str] = {}
    for number, store in enumerate(stores.stores):
        # One may be mixed with itself, by another weight.
        again = f" (number {number})" if f"{_TRAINED}{store.path}" in parts else ""
        parts[f"{_TRAINED}{store.path}{again}"] = store.fingerprint
    for name, store in validation.items():
        called = f" ({name})" if name else ""
        parts[f"the validation store {store.path}{called}"] = store.fingerprint
    if isinstance(config.masking.units, PhraseUnits):
        phrases = config.masking.units.file
        digest = hashlib.sha256(Path(phrases).read_bytes()).hexdigest()[:16]
        parts[f"the file of phrases {phrases}"] = digest
    return parts


def is_trained_on(store: TokenStore, data: Mapping[str, str]) -> bool:
    """Whether a run that noted these `data_fingerprints` was trained on what is in a store."""
    return any(
        name.startswith(_TRAINED) and fingerprint == store.fingerprint
        for name, fingerprint in data.items()
    )


def training_stream(
    stores: Stores, phases: Sequence[tuple[int, int, PretrainingDataConfig]], seed: int
) -> Stream:
    """A phase whose rows have the same examples goes on where the one before has come to."""
    made: list[Phase] = []
    rows: dict[PretrainingDataConfig, Rows] = {}
    next_row: dict[PretrainingDataConfig, int] = {}
    for index, (first_step, batch_size, config) in enumerate(phases):
        if config not in rows:
            rows[config] = _rows(stores, config, seed, "train")
        phase = Phase(rows[config], batch_size, first_step, next_row.get(config.of_rows, 0))
        if index + 1 < len(phases):
            next_row[config.of_rows] = phase.row_of(phases[index + 1][0])
        made.append(phase)
    return Stream(made)


def evaluation_sets(
    stores: Stores, validation: Mapping[str, TokenStore], config: PretrainingDataConfig
) -> dict[str, EvaluationRows]:
    """By name, the whole of every validation store; as "" what is held out of those trained on."""
    sets: dict[str, EvaluationRows] = {}
    if config.validation_fraction:
        sets[""] = _rows(stores, config, 0, "validation")
    whole = replace(config, validation_fraction=1.0)
    return sets | {
        name: PretrainingData(store, whole, 0, "validation") for name, store in validation.items()
    }


def _described(store: TokenStore) -> str:
    dropped = store.metadata.get("dropped", {})
    counts = {reason: of["documents"] for reason, of in dropped.items()}
    counts |= {kind: n for kind, n in store.metadata["problems"].items() if kind != "dropped"}
    found = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    noted = f" (noted in {store.path / 'problems.jsonl'}: {found})" if found else ""
    return f"{store.path}: {store.num_documents} documents, {store.num_tokens} tokens{noted}"


def _rows(stores: Stores, config: PretrainingDataConfig, seed: int, split: Split) -> Rows:
    sources = [PretrainingData(store, config, seed, split) for store in stores.stores]
    if len(sources) == 1:
        return sources[0]
    weights = stores.weights or [source.num_rows for source in sources]
    return Mixture(sources, weights, seed)
