"""Opening a model from wherever it is, in whatever format."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxbert.errors import UserError
from jaxbert.hub import huggingface, native
from jaxbert.hub.adapter import read_adapter, with_adapter
from jaxbert.hub.config_file import Description
from jaxbert.hub.contents import Contents, Place, assemble, paths_to_draw
from jaxbert.hub.dense_module import stored_dense
from jaxbert.hub.description import describe
from jaxbert.hub.formats import open_tensors
from jaxbert.hub.sentence_modules import dense_folder, read_modules
from jaxbert.hub.source import Source, find_model
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.execution import PLAIN, Execution
from jaxbert.nn.functional import model_from_params
from jaxbert.nn.head import Head, HeadKind
from jaxbert.nn.inputs import floating
from jaxbert.nn.model import Model
from jaxbert.typing import Params

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opened:
    """A model whose files are known to hold its parameters, which are not read yet."""

    directory: Path
    described: Path
    """As in `Source`."""
    config: EncoderConfig
    head: Head
    fresh: tuple[str, ...]
    """Paths of the parameters that no file holds: drawn from the seed."""
    unused: tuple[str, ...]
    """Names of the tensors that belong to a head which this model does not have."""
    seed: int
    contents: Contents = field(repr=False)

    def read(self, place: Place | None = None) -> Params:
        """The parameters, float32.

        `place(path, array)` takes each as soon as it is read, two at a time and from two threads,
        and what it returns is kept in its stead: what puts it onto its devices at once never holds
        two models. None: numpy arrays, so that the caller chooses the devices.
        """
        stored, place = self.contents.stored, _as_numpy if place is None else place
        return assemble(stored, self.fresh, self.config, self.head, self.seed, place)


@dataclass(frozen=True)
class Pretrained:
    """A loaded model as values, and what its files did not settle."""

    directory: Path
    described: Path
    """As in `Source`."""
    config: EncoderConfig
    head: Head
    params: Params
    """As `Opened.read` gave them."""
    fresh: tuple[str, ...]
    unused: tuple[str, ...]
    """Both as in `Opened`."""


def from_pretrained(
    path_or_hub_id: str | Path,
    *,
    head: Head | HeadKind | None = None,
    labels: Sequence[str] | None = None,
    revision: str | None = None,
    dtype: DTypeLike | None = None,
    execution: Execution = PLAIN,
    seed: int = 0,
    ignore_mismatched_heads: bool = False,
    place: Place | None = None,
) -> Model:
    """Opens a model as a module that can be called.

    `dtype` is the compute dtype (None: float32); parameters are float32 whatever the file holds.
    `execution` is how the encoder runs, such as what is computed again for its gradient.
    `place(path, array)` puts each parameter onto its devices as soon as it is read (None: the
    default device). The other arguments and the errors are those of `load_params`.
    """
    compute_dtype = floating(jnp.float32 if dtype is None else dtype)
    loaded = load_params(
        path_or_hub_id,
        head=head,
        labels=labels,
        revision=revision,
        seed=seed,
        ignore_mismatched_heads=ignore_mismatched_heads,
        place=_onto_default_device if place is None else place,
    )
    return model_from_params(loaded.params, loaded.config, loaded.head, compute_dtype, execution)


def load_params(
    path_or_hub_id: str | Path,
    *,
    head: Head | HeadKind | None = None,
    labels: Sequence[str] | None = None,
    revision: str | None = None,
    seed: int = 0,
    ignore_mismatched_heads: bool = False,
    place: Place | None = None,
) -> Pretrained:
    """`open_params`, and the parameters as `Opened.read` gives them."""
    opened = open_params(
        path_or_hub_id,
        head=head,
        labels=labels,
        revision=revision,
        seed=seed,
        ignore_mismatched_heads=ignore_mismatched_heads,
    )
    return Pretrained(
        directory=opened.directory,
        described=opened.described,
        config=opened.config,
        head=opened.head,
        params=opened.read(place),
        fresh=opened.fresh,
        unused=opened.unused,
    )


def open_params(
    path_or_hub_id: str | Path,
    *,
    head: Head | HeadKind | None = None,
    labels: Sequence[str] | None = None,
    revision: str | None = None,
    seed: int = 0,
    ignore_mismatched_heads: bool = False,
) -> Opened:
    """Opens a model: a directory, also an adapter's, a TensorFlow checkpoint, a hub id or a URL.

    An adapter is merged into its base. Without `head` the model has the head that config.json's
    `architectures` names, and every parameter must be in the file. With it, parts of the head that
    the file lacks are drawn from `seed`, listed in `fresh` and logged. A classifier for other
    labels is an error unless `ignore_mismatched_heads`, which draws a new one. Raises UserError
    naming every tensor that is missing, unexpected or of another shape.
    """
    source = find_model(path_or_hub_id, revision=revision)
    directory = source.directory
    described = describe(source, head=head, labels=labels)
    without = _modules_of_another(described, directory, accept=ignore_mismatched_heads)
    contents = _contents(source, described, without)
    fresh = paths_to_draw(
        contents,
        origin=str(directory),
        may_be_fresh=head is not None or bool(without),
        may_mismatch=ignore_mismatched_heads,
    )
    _report(directory, fresh, contents.unused)
    return Opened(
        directory=directory,
        described=source.described,
        config=described.config,
        head=described.head,
        fresh=fresh,
        unused=contents.unused,
        seed=seed,
        contents=contents,
    )


def _contents(source: Source, described: Description, without: Collection[str]) -> Contents:
    directory = source.directory
    if native.is_native(directory) and source.checkpoint is None:
        if source.adapter is not None:
            raise UserError(
                f"{source.adapter}: its base, {directory}, is in jaxbert's own layout, in whose "
                "names no adapter is: convert the base to Hugging Face's, and name that"
            )
        return native.stored_params(directory, described, without)
    tensors = open_tensors(directory, described, source.checkpoint)
    if source.adapter is not None:
        tensors = with_adapter(tensors, read_adapter(source.adapter), described, directory)
    contents = huggingface.stored_params(tensors, described, directory, without)
    own = None if described.head.dense is None else read_modules(directory)
    folder = dense_folder(directory)
    if own is None or folder is None or own.kind != described.head.kind:
        return contents
    beside = stored_dense(folder, described.config, described.head)
    return replace(contents, stored={**contents.stored, **beside})


def _onto_default_device(path: str, array: np.ndarray) -> jax.Array:
    return jax.device_put(array)


def _as_numpy(path: str, array: np.ndarray) -> np.ndarray:
    """An array of its own, whatever happens to the file."""
    return np.require(array, requirements=("OWNDATA", "WRITEABLE"))


def _modules_of_another(
    described: Description, directory: Path, *, accept: bool
) -> tuple[str, ...]:
    """The modules of the file's head that were trained for something else than the wanted one.

    Raises UserError for as many labels with other names, unless that is to be accepted: what the
    classifier has learnt would silently change its meaning.
    """
    head, saved = described.head, Head() if described.saved is None else described.saved
    if (saved.pooling, saved.mixture) != (head.pooling, head.mixture):
        return ("mixture", "attention_pooling", "pooler", "projection", "classifier")
    if not head.num_outputs:
        return ()
    if saved.kind != head.kind:
        return ("classifier",)
    is_named = saved.labels != tuple(f"LABEL_{index}" for index in range(len(saved.labels)))
    if saved.labels == head.labels or len(saved.labels) != len(head.labels) or not is_named:
        return ()
    if not accept:
        raise UserError(
            f"{directory}: its classifier was trained for {list(saved.labels)}, not "
            f"{list(head.labels)}: pass ignore_mismatched_heads=True (a key of fine-tuning's "
            "configuration) to initialise a new one"
        )
    return ("classifier",)


def _report(directory: Path, fresh: Sequence[str], unused: Sequence[str]) -> None:
    if fresh:
        modules = sorted({path.rpartition("/")[0] for path in fresh})
        log.warning("%s: random until they are trained: %s", directory, ", ".join(modules))
    if unused:
        log.info("%s: not used by this head: %s", directory, ", ".join(unused))
