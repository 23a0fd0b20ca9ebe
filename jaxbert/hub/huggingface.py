"""The parameters of a Hugging Face directory, in every spelling that is still around."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxbert.errors import UserError
from jaxbert.families.family import Family, Weight, as_filed
from jaxbert.families.weight import dense
from jaxbert.hub.config_file import Description
from jaxbert.hub.contents import Contents, Stored
from jaxbert.hub.dense_module import DENSE, MODULE
from jaxbert.hub.tensors import Tensors
from jaxbert.hub.token_sides import is_stanfords
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import parameter_shapes

COMPILED = "_orig_mod."
"""What torch.compile puts before the names of whatever module it was given."""
WRAPPERS = ("module.", "model.")
"""DistributedDataParallel's attribute, and that of trainers such as Composer's HuggingFaceModel."""


def stored_params(
    tensors: Tensors, described: Description, directory: Path, without: Collection[str] = ()
) -> Contents:
    """What the tensors of `directory` hold of each parameter, the modules `without` left out.

    Accepts gamma and beta for a norm's weight and bias, an encoder without its prefix, position
    ids, names that a wrapper was put before, parts of a tensor as tensors of their own, and copies
    of tied tensors; raises UserError where such a copy differs.
    """
    family, config, head = described.family, described.config, described.head
    names = canonical_names(family, tensors.shapes, directory)
    _settle_tied(family, config, names, tensors, directory, must_agree=head.has_masked_lm)
    # Stanford's ColBERT has its layer beside the encoder, others in a folder (`dense_module`).
    rows = (*family.weights(config, as_filed(head)), *dense(f"{MODULE}/dense", DENSE))
    table = {weight.path: weight for weight in rows}
    stored, used = {}, set[str]()
    for path, shape in parameter_shapes(config, head).items():
        # What transformers has no class for, such as a mixture of layers, is in no file.
        weight = table.get(path, Weight(path, path))
        if path.partition("/")[0] in without:
            stored[path] = _stored(weight, None, tensors, config, shape)
            continue
        weight, spelled = _spelled(weight, family, names)
        key = next((names[name] for name in spelled if name in names), None)
        used |= set(spelled)
        beside = weight.zero_beside
        is_zero = key is None and beside is not None and family.canonical_key(beside) in names
        stored[path] = (
            _zero(weight, shape) if is_zero else _stored(weight, key, tensors, config, shape)
        )
    names = {name: key for name, key in names.items() if name not in used}
    # A checkpoint of Stanford's ColBERT has its layer among the encoder's tensors.
    prefixes = (*family.head_prefixes, *([f"{DENSE}."] if is_stanfords(directory) else []))
    unused = [key for name, key in names.items() if name.startswith(prefixes)]
    unexpected = {key: tensors.shapes[key] for key in names.values() if key not in unused}
    return Contents(stored, unexpected, tuple(sorted(unused)))


def settled(tensors: Tensors, described: Description, directory: Path) -> Description:
    """What config.json says, with what only tensors tell of the architecture."""
    family = described.family
    if family.constants is None:
        return described
    names = zip(tensors.shapes, _unwrapped(tensors.shapes), strict=True)
    canonical = {key: family.canonical_key(inner) for key, inner in names}
    found = {key: tensors.read(key) for key in canonical if family.constants.is_one(canonical[key])}
    if not found:
        return described
    try:
        return replace(described, config=family.constants.read(described.config, found))
    except UserError as error:
        raise UserError(f"{directory}: {error}") from None


def _spelled(weight: Weight, family: Family, names: Collection[str]) -> tuple[Weight, list[str]]:
    """The canonical names to look for, and the weight as the tensor of that name holds it."""
    # transformers 4 saves the bias of an untied decoder under the name of the copy alone.
    spelled = [family.canonical_key(name) for name in (weight.key, weight.copy) if name]
    if weight.apart is None or any(name in names for name in spelled):
        return weight, spelled
    alone = family.canonical_key(weight.apart)
    if alone not in names:
        return weight, spelled
    return replace(weight, key=weight.apart, part=0, parts=1), [alone]


def _stored(
    weight: Weight,
    key: str | None,
    tensors: Tensors,
    config: EncoderConfig,
    shape: tuple[int, ...],
) -> Stored:
    def read() -> np.ndarray:
        assert key is not None
        return weight.from_file(tensors.read(key), config)

    found = None if key is None else tensors.shapes[key]
    return Stored(key or weight.key, weight.file_shape(shape, config), found, read)


def _zero(weight: Weight, shape: tuple[int, ...]) -> Stored:
    """A parameter that the file does without."""
    return Stored(weight.key, shape, shape, lambda: np.zeros(shape, np.float32))


def canonical_names(family: Family, keys: Collection[str], directory: Path) -> dict[str, str]:
    """The file's key of every canonical one, without buffers and constants."""
    names: dict[str, str] = {}
    for key, inner in zip(keys, _unwrapped(keys), strict=True):
        name = family.canonical_key(inner)
        if name in names:
            raise UserError(
                f"{directory} holds {key} and {names[name]}, which are two names of one"
            )
        names[name] = key
    constants = family.constants
    return {
        name: key
        for name, key in names.items()
        if name not in family.buffers and not (constants and constants.is_one(name))
    }


def _unwrapped(keys: Iterable[str]) -> list[str]:
    """The names without what wrappers of the saved module put before them.

    A family's own `model.` before every name goes too: its canonical names have it again.
    """
    inner = [key.replace(COMPILED, "") for key in keys]
    while inner and (wrapper := next((w for w in WRAPPERS if _is_before_all(w, inner)), None)):
        inner = [key.removeprefix(wrapper) for key in inner]
    return inner


def _is_before_all(prefix: str, keys: Iterable[str]) -> bool:
    return all(key.startswith(prefix) for key in keys)


def _settle_tied(
    family: Family,
    config: EncoderConfig,
    names: dict[str, str],
    tensors: Tensors,
    directory: Path,
    *,
    must_agree: bool,
) -> None:
    """Takes copies of tied tensors out of `names`, or puts one where its original is missing."""
    for copy, original in family.tied(config).items():
        if copy not in names:
            continue
        if original not in names:
            names[original] = names.pop(copy)
        elif must_agree:
            key = names.pop(copy)
            if not np.array_equal(tensors.read(key), tensors.read(names[original])):
                raise UserError(
                    f"{directory}: {key} differs from {names[original]}, to which it is tied: "
                    f"a model with its own output projection has tie_word_embeddings=false in "
                    f"config.json"
                )
