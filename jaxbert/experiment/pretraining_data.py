"""The data of pretraining: stores and phases of the configuration become a stream of batches."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

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
    weight: Annotated[float, Ge(0)] | None = None
    """Its share of the rows goes by this; null for all of them: by their sizes. 0: none, until a
    phase gives it other `weights`."""


@dataclass(frozen=True)
class PhaseConfig:
    """From a step on, other lengths, batch sizes or weights; null: as in the phase before.

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
    weights: tuple[Annotated[float, Ge(0)], ...] | None = None
    """Of the stores to train on, in their order: each goes on from the row that it has come to."""


StoreConfig = str | tuple[WeightedStore, ...]
_TRAINED = "the store "
"""So begins what messages, and a run's data.json, call a store that is trained on."""


@dataclass(frozen=True)
class DataPhase:
    """What the rows of the steps from one on are."""

    first_step: int
    batch_size: int
    data: PretrainingDataConfig
    weights: tuple[float, ...] | None = None
    """Of the stores; None: those that they have from the start."""


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
    if given and not any(given):
        raise UserError("store: all weights are 0: one has to be more")
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


def check_weights(store: StoreConfig, phases: Sequence[PhaseConfig]) -> None:
    """Raises UserError for weights of a phase that are none of the stores'."""
    paths = [store] if isinstance(store, str) else [entry.path for entry in store]
    for number, phase in enumerate(phases):
        if phase.weights is None:
            continue
        key = f"phases[{number}].weights={[*phase.weights]}"
        if len(paths) == 1:
            raise UserError(f"{key}: there is one store, {paths[0]}: list several, or leave it out")
        if len(phase.weights) != len(paths):
            raise UserError(
                f"{key}: {len(phase.weights)} of them for {len(paths)} stores ({', '.join(paths)}):"
                " give one for each, 0 for what is not to be trained on"
            )
        if not any(phase.weights):
            raise UserError(f"{key}: all are 0: one has to be more")


def data_phases(
    config: PretrainingDataConfig, batch_size: int, phases: Sequence[PhaseConfig], num_steps: int
) -> list[DataPhase]:
    """What every phase is in full; raises UserError for steps out of order."""
    described = [DataPhase(0, batch_size, config)]
    for number, phase in enumerate(phases):
        before = described[-1]
        if not before.first_step < phase.first_step < num_steps:
            raise UserError(
                f"phases[{number}].first_step={phase.first_step}: must be after "
                f"{before.first_step} and before num_steps={num_steps}; change it, or leave all "
                "phases out (phases=[])"
            )
        config = before.data
        if phase.max_seq_length is not None or phase.max_predictions is not None:
            masking = replace(config.masking, max_predictions=phase.max_predictions)
            length = phase.max_seq_length or config.max_seq_length
            config = replace(config, max_seq_length=length, masking=masking)
        size, weights = phase.batch_size or before.batch_size, phase.weights or before.weights
        described.append(DataPhase(phase.first_step, size, config, weights))
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


def training_stream(stores: Stores, phases: Sequence[DataPhase], seed: int) -> Stream:
    """A phase whose rows have the same examples goes on where the one before has come to."""
    made: list[Phase] = []
    sources: dict[PretrainingDataConfig, list[PretrainingData]] = {}
    ended: dict[PretrainingDataConfig, tuple[Rows, int]] = {}
    """The last rows of the same examples, and the position in them that is next."""
    for index, phase in enumerate(phases):
        if phase.data not in sources:
            sources[phase.data] = _sources(stores, phase.data, seed, "train")
        rows = _mixed(sources[phase.data], phase.weights or stores.weights, seed)
        first_row = 0
        if phase.data.of_rows in ended:
            rows, first_row = _continued(rows, *ended[phase.data.of_rows])
        made.append(Phase(rows, phase.batch_size, phase.first_step, first_row))
        if index + 1 < len(phases):
            ended[phase.data.of_rows] = rows, made[-1].row_of(phases[index + 1].first_step)
    return Stream(made)


def evaluation_sets(
    stores: Stores, validation: Mapping[str, TokenStore], config: PretrainingDataConfig
) -> dict[str, EvaluationRows]:
    """By name, the whole of every validation store; as "" what is held out of those trained on."""
    sets: dict[str, EvaluationRows] = {}
    if config.validation_fraction:
        sets[""] = _mixed(_sources(stores, config, 0, "validation"), stores.weights, 0)
    whole = replace(config, validation_fraction=1.0)
    return sets | {
        name: PretrainingData(store, whole, 0, "validation") for name, store in validation.items()
    }


def _described(store: TokenStore) -> str:
    dropped = store.metadata.get("dropped", {})
    counts = {reason: of["documents"] for reason, of in dropped.items()}
    counts |= {
        kind: n for kind, n in store.metadata.get("problems", {}).items() if kind != "dropped"
    }
    found = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    noted = f" (noted in {store.path / 'problems.jsonl'}: {found})" if found else ""
    return f"{store.path}: {store.num_documents} documents, {store.num_tokens} tokens{noted}"


def _sources(
    stores: Stores, config: PretrainingDataConfig, seed: int, split: Split
) -> list[PretrainingData]:
    return [PretrainingData(store, config, seed, split) for store in stores.stores]


def _mixed(
    sources: Sequence[PretrainingData], weights: Sequence[float] | None, seed: int
) -> PretrainingData | Mixture:
    """None: by their sizes."""
    if len(sources) == 1:
        return sources[0]
    return Mixture(sources, weights or [source.num_rows for source in sources], seed)


def _continued(
    rows: PretrainingData | Mixture, before: Rows, position: int
) -> tuple[PretrainingData | Mixture, int]:
    """`rows` that go on after the first ones of others of the same examples, and from where on."""
    if not isinstance(rows, Mixture) or not isinstance(before, Mixture):
        return rows, position
    if rows.quotas.tolist() == before.quotas.tolist():
        return rows.after(before.begun), position
    return rows.after(before.begun_at(position)), 0
