"""What a model is, wherever it came from: of an adapter what it makes of its base."""

from collections.abc import Sequence
from dataclasses import replace

from jaxbert.errors import UserError
from jaxbert.hub.adapter import MERGED, Adapter, adapter_tensors, read_adapter
from jaxbert.hub.config_file import FILE, Description, read_description
from jaxbert.hub.formats import holds_tensors, open_tensors
from jaxbert.hub.huggingface import settled
from jaxbert.hub.source import Source
from jaxbert.nn.head import LABELLED, Head, HeadKind

_CLASSIFIER = "classifier/dense/kernel"


def describe(
    source: Source, *, head: Head | HeadKind | None = None, labels: Sequence[str] | None = None
) -> Description:
    """`read_description` of a model, with what only its tensors tell of the architecture.

    Of an adapter of ours it is that of the merged model, as written beside it; of others the
    base's, with the head that peft's `task_type` names and as many labels as that has rows.
    """
    described, directory = _described(source, head, labels), source.directory
    if described.family.constants is None or not holds_tensors(directory):
        return described
    return settled(open_tensors(directory, described), described, directory)


def _described(
    source: Source, head: Head | HeadKind | None, labels: Sequence[str] | None
) -> Description:
    if source.adapter is None:
        return read_description(source.directory, head=head, labels=labels)
    if (source.adapter / MERGED / FILE).is_file():
        return read_description(source.adapter / MERGED, head=head, labels=labels)
    adapter = read_adapter(source.adapter)
    if adapter.kind is None:
        return read_description(source.directory, head=head, labels=labels)
    own = read_description(source.directory, head=adapter.kind)
    names, saved = _labels(adapter, own), own.saved
    if names is not None:
        own = read_description(source.directory, head=adapter.kind, labels=names or None)
        saved = own.head
    elif head is None and (saved is None or saved.kind != adapter.kind):
        raise UserError(
            f"{adapter.directory}: it holds no classifier, nor does {source.directory} one for "
            f"{adapter.kind}: what it was trained with is lost; pass head= (jaxbert convert --head)"
        )
    if head is not None or labels is not None:
        wanted = adapter.kind if head is None else head
        own = read_description(source.directory, head=wanted, labels=labels)
    return replace(own, saved=saved)


def _labels(adapter: Adapter, described: Description) -> tuple[str, ...] | None:
    """The labels of an adapter's classifier, () where it has other outputs; None: it has none."""
    family, head = described.family, described.head
    if not head.num_outputs:
        return ()
    table = {weight.path: weight for weight in family.weights(described.config, head)}
    wanted = family.canonical_key(table[_CLASSIFIER].key)
    shapes = adapter_tensors(adapter).shapes
    found = next((shapes[name] for name in shapes if family.canonical_key(name) == wanted), None)
    if found is None:
        return None
    if head.kind not in LABELLED:
        return ()
    count = found[0]
    return head.labels if len(head.labels) == count else tuple(f"LABEL_{n}" for n in range(count))
