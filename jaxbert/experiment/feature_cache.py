"""A frozen encoder's outputs, computed once, kept on disk, and a head trained on them."""

import fcntl
import hashlib
import math
import os
import secrets
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxbert.data.buckets import BucketedRows
from jaxbert.data.encoded import EncodedExamples
from jaxbert.data.rows import LabelledRows
from jaxbert.data.stream import Phase, Stream, evaluation_batches
from jaxbert.errors import UserError
from jaxbert.experiment.checks import checked_mesh
from jaxbert.experiment.parameters import MakeParams
from jaxbert.experiment.settings import TrainingSettings
from jaxbert.experiment.trainee import Data, Trainee
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.features import features_of, layers_read, vector_read
from jaxbert.nn.functional import abstract_params, make_apply, make_head_apply
from jaxbert.nn.head import Head
from jaxbert.optim.groups import check_groups, group_labels
from jaxbert.parallel.rows import RowPlacement
from jaxbert.parallel.rules import replicated
from jaxbert.training.counted import counted
from jaxbert.training.step import gathering
from jaxbert.tree import flat
from jaxbert.typing import Params

_KINDS = ("sequence_classification", "token_classification", "question_answering")
_ENCODER = "encoder"


class Interrupted(Exception):
    """Computing features was cut short."""


@dataclass(frozen=True)
class FrozenEncoder:
    """What is left to train where the encoder is frozen and its outputs are known."""

    trainee: Trainee
    """The head alone."""
    data: Data
    """With features in place of tokens."""
    params: Params
    """The encoder's, on the host: with the head's they are the model's."""


def check_cacheable(settings: TrainingSettings, head: Head, *, packing: bool) -> None:
    """Raises UserError where features are not all that training needs, naming the key at fault."""
    if settings.optimizer.freeze_layers != "all" or settings.unfreezing is not None:
        raise UserError(
            "cache_features: the encoder has to stay as it is: set optimizer.freeze_layers=all, in "
            "place of patterns of optimizer.freeze, and no unfreezing"
        )
    if packing:
        raise UserError("cache_features: a head alone gains nothing by it: set packing=false")
    if head.kind not in _KINDS:
        raise UserError(
            f"cache_features: not for a {head.kind} head; expected one of {', '.join(_KINDS)}"
        )
    if jax.process_count() > 1:
        raise UserError("cache_features: not with several processes; one is enough for a head")


def frozen_encoder(
    settings: TrainingSettings,
    encoder: EncoderConfig,
    head: Head,
    make_params: MakeParams,
    data: Data,
    directory: Path,
    *,
    interrupted: Callable[[], bool] = lambda: False,
    quiet: bool = False,
) -> FrozenEncoder:
    """Computes what `directory` does not hold yet; raises Interrupted where that was cut short.

    Raises UserError first for settings that the head could not be trained with. The features are
    without dropout: what acts in training is the head's.
    """
    # Computing takes as long as an epoch may: what training would refuse is refused before.
    mesh = checked_mesh(settings, (encoder,), data.batch_sizes, has_validation=bool(data.held_out))
    shapes = abstract_params(encoder, head)
    del shapes[_ENCODER]
    group_labels(shapes, settings.optimizer.freeze)
    check_groups(settings.optimizer.groups, shapes)
    params = make_params(mesh)
    kept = jax.device_get(params[_ENCODER])
    digest = _digest(kept)
    known = _fingerprint(encoder, head, settings, digest)

    def with_features(table: EncodedExamples, longest: int) -> EncodedExamples:
        file = directory / f"{_key(known, table)}.npy"
        if not file.is_file():
            size = settings.rows_per_evaluation()
            with closing(
                _compute(settings, encoder, head, params, table, longest, mesh, file)
            ) as batches:
                for _ in counted(batches, size, len(table), "features", quiet=quiet):
                    if interrupted():
                        raise Interrupted
        return table.with_features(np.load(file, mmap_mode="r"))

    of_head = {name: values for name, values in params.items() if name != _ENCODER}
    size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    trainee = Trainee(
        (encoder,),
        lambda dtype, execution: make_head_apply(encoder, head, dtype),
        shapes,
        lambda mesh: of_head,
        lambda batch: 6.0 * size * float(batch["attention_mask"].sum()),
    )
    is_vector = vector_read(encoder, head) is not None
    cached = _with_features(data, settings, with_features, is_vector=is_vector)
    notes = (*data.notes, f"features of the frozen encoder: {directory}")
    # No checkpoint holds the encoder: a head is not to go on with another one.
    fingerprints = {**data.fingerprints, "the frozen encoder": digest[:32]}
    return FrozenEncoder(trainee, replace(cached, notes=notes, fingerprints=fingerprints), kept)


def _with_features(
    data: Data,
    settings: TrainingSettings,
    with_features: Callable[[EncodedExamples, int], EncodedExamples],
    *,
    is_vector: bool,
) -> Data:
    [phase] = data.train.phases
    rows = phase.rows
    assert isinstance(rows, LabelledRows)
    table = with_features(rows.examples, rows.length)
    length = 1 if is_vector else rows.length
    stream = Stream([Phase(LabelledRows(table, seed=rows.seed, length=length), phase.batch_size)])
    sets = {}
    for name, held_out in data.held_out.items():
        assert isinstance(held_out.rows, BucketedRows)
        longest = int(held_out.rows.lengths[-1])
        table = with_features(held_out.rows.examples, longest)
        width, size = 1 if is_vector else longest, settings.rows_per_evaluation()
        buckets = BucketedRows(table, batch_size=size, longest=width)
        sets[name] = replace(held_out, rows=buckets)
    return replace(data, train=stream, held_out=sets)


def _compute(
    settings: TrainingSettings,
    encoder: EncoderConfig,
    head: Head,
    params: Params,
    table: EncodedExamples,
    longest: int,
    mesh: Mesh,
    file: Path,
) -> Generator[None]:
    """Writes float32 [tokens or examples, layers, hidden], a batch at each step.

    The file is there when it is whole.
    """
    apply = gathering(make_apply(encoder, head, settings.compute_dtype(), settings.execution), mesh)

    def compute(params: Params, inputs: dict[str, Any]) -> jax.Array:
        states = apply(params, **inputs, capture=("hidden_states",)).hidden_states
        mask, types = inputs["attention_mask"], inputs["token_type_ids"]
        return features_of(states, mask, types, encoder, head)

    is_vector = vector_read(encoder, head) is not None
    lengths = np.ones(len(table), np.int64) if is_vector else table.lengths
    starts = np.cumsum(lengths) - lengths
    # Its own in every process: several runs, also of several machines, may fill one directory.
    temporary = file.with_suffix(f".{secrets.token_hex(8)}.tmp")
    shape = (int(lengths.sum()), layers_read(head), encoder.hidden_size)
    step, placement = jax.jit(compute, out_shardings=replicated(mesh)), RowPlacement(mesh)
    batch_size = settings.rows_per_evaluation()
    rows = BucketedRows(table, batch_size=batch_size, longest=longest)
    names = ("input_ids", "attention_mask", "token_type_ids")
    with _claimed(temporary):
        features = _new_file(temporary, shape)
        for batch in evaluation_batches(rows, batch_size):
            inputs = placement.put({name: batch[name] for name in names})
            made = jax.device_get(step(params, inputs))
            for row, values in zip(batch["row_ids"].tolist(), made, strict=True):
                if row >= 0:
                    features[starts[row] : starts[row] + lengths[row]] = values[: lengths[row]]
            yield
        features.flush()
        temporary.replace(file)


@contextmanager
def _claimed(temporary: Path) -> Iterator[None]:
    """A file that is gone in the end; its lock, which the kernel drops with the process, tells it
    from those that killed processes have left, which are removed first.
    """
    temporary.parent.mkdir(parents=True, exist_ok=True)
    for left in temporary.parent.glob("*.tmp"):
        with suppress(OSError):
            _clear(left)
    handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        # Where a file system has no locks, nobody can get one, and all files are left alone.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
        temporary.unlink(missing_ok=True)


def _clear(left: Path) -> None:
    """Raises OSError for a file that a process is writing."""
    handle = os.open(left, os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # An empty one may be of a process that has not claimed it yet.
        if os.fstat(handle).st_size:
            left.unlink()
    finally:
        os.close(handle)


def _new_file(file: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.float32]]:
    file.parent.mkdir(parents=True, exist_ok=True)
    needed, free = 4 * math.prod(shape), shutil.disk_usage(file.parent).free
    if needed > free:
        raise UserError(
            f"{file.parent}: the features need {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are "
            "free: name a larger disk with cache_features=DIRECTORY, or set it to false"
        )
    return np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)


def _digest(params: Params) -> str:
    digest = hashlib.sha256()
    for path, values in sorted(flat(params).items()):
        digest.update(path.encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _fingerprint(
    encoder: EncoderConfig, head: Head, settings: TrainingSettings, params: str
) -> str:
    """Of the model, whose parameters have the digest `params`, and of what is read of it."""
    read = (vector_read(encoder, head), layers_read(head), str(settings.compute_dtype()))
    # Dropout does not act, and other rates are not another model.
    options = {k: v for k, v in vars(encoder).items() if not k.endswith("dropout_prob")}
    return hashlib.sha256(repr((options, read, params)).encode()).hexdigest()


def _key(known: str, table: EncodedExamples) -> str:
    digest = hashlib.sha256(known.encode())
    for name in ("input_ids", "token_type_ids"):
        digest.update(table.tokens(name).tobytes())
    digest.update(table.text_lengths.tobytes())
    return digest.hexdigest()[:32]
