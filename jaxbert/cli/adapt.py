"""jaxbert adapt."""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxbert.cli.arguments import check_not_given
from jaxbert.errors import UserError

if TYPE_CHECKING:
    from jaxbert.adapt.vocabulary import Sources
    from jaxbert.nn.config import EncoderConfig
    from jaxbert.text.tokenizer import Tokenizer
    from jaxbert.typing import Params

HELP = "change what a trained model takes: longer inputs, another vocabulary, fewer layers"
EXAMPLE = """
jaxbert adapt bert-base long --positions 4096 --how copy
jaxbert adapt runs/modern/model long --positions 8192 --rope-theta 160000
jaxbert adapt bert-base legal --add-tokens words.txt
jaxbert adapt bert-base student --every 2
"""

Row = tuple[str, str, str, str]
"""What changed, before, after, and how."""


@dataclass(frozen=True)
class _Model:
    params: "Params"
    config: "EncoderConfig"
    tokenizer: "Tokenizer | None"
    rows: tuple[Row, ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add = parser.add_argument
    add("source", help="model or run directory, TensorFlow checkpoint, hub id or URL")
    add("destination", help="directory to write")
    layers = parser.add_mutually_exclusive_group()
    layers.add_argument(
        "--keep-layers", type=_numbers, metavar="I,J,...", help="of 0 to the number of layers - 1"
    )
    layers.add_argument("--drop-top", type=int, metavar="N", help="without the last N layers")
    layers.add_argument(
        "--every", type=int, metavar="K", help="the first layer of every K: 0, K, 2K, ..."
    )
    add("--positions", type=int, metavar="N", help="rows of at most N tokens")
    add(
        "--how",
        choices=("interpolate", "copy", "fresh"),
        help="what more positions are: the learnt ones drawn out evenly, the learnt ones over and"
        " over, or after them random ones (default: interpolate)",
    )
    add("--seed", type=int, help="of --how fresh (default: 0)")
    add(
        "--rope-theta",
        type=float,
        metavar="BASE",
        help="base of the rotary positions of full attention (ModernBERT, GTE and others), which"
        " longer rows want larger; local layers keep theirs",
    )
    vocabulary = parser.add_mutually_exclusive_group()
    vocabulary.add_argument(
        "--add-tokens",
        metavar="FILE",
        help="a new token a line; after a tab the token to start from (default: its pieces)",
    )
    vocabulary.add_argument(
        "--tokenizer", metavar="DIR", help="go over to this tokenizer's vocabulary"
    )
    add(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the weights that are written (default: float32)",
    )
    add("--revision", help="branch, tag or commit of a hub id")
    add("--overwrite", action="store_true", help="replace an existing model")


def run(arguments: argparse.Namespace) -> int:
    """Adapts, saves, and prints what changed."""
    layers = ("keep_layers", "drop_top", "every")
    asked = (*layers, "positions", "rope_theta", "add_tokens", "tokenizer")
    if all(getattr(arguments, name) is None for name in asked):
        options = ", ".join("--" + name.replace("_", "-") for name in asked)
        raise UserError(f"nothing to change: give at least one of {options}")
    if arguments.positions is None:
        check_not_given(arguments, ["how"], "says what more --positions are: give these too")
    if arguments.how != "fresh":
        check_not_given(arguments, ["seed"], "is of --how fresh: leave it out")
    from jaxbert.hub.convert import save_made_of, tokenizer_of
    from jaxbert.hub.load import load_params
    from jaxbert.hub.save import layout_for

    source = load_params(arguments.source, revision=arguments.revision)
    original = _Model(source.params, source.config, tokenizer_of(source))
    model = _with_positions(_with_layers(original, arguments), arguments)
    model = _with_vocabulary(_with_rope_theta(model, arguments), arguments)
    rows = [*model.rows, _sizes(original.params, model.params)]
    save_made_of(
        source,
        model.params,
        model.config,
        model.tokenizer,
        arguments.destination,
        layout=layout_for(source.config, source.head),
        dtype=arguments.dtype,
        description=_described(arguments.source, rows),
        overwrite=arguments.overwrite,
    )
    _print(arguments.destination, rows)
    return 0


def _with_layers(model: _Model, arguments: argparse.Namespace) -> _Model:
    from jaxbert.adapt.layers import every, keep_layers, without_top

    config, layers = model.config, arguments.keep_layers
    if arguments.drop_top is not None:
        layers = without_top(config, arguments.drop_top)
    if arguments.every is not None:
        layers = every(config, arguments.every)
    if layers is None:
        return model
    params, kept = keep_layers(model.params, config, layers)
    numbers = ", ".join(map(str, layers))
    row = ("layers", str(config.num_hidden_layers), str(len(layers)), f"kept {numbers}")
    return replace(model, params=params, config=kept, rows=(*model.rows, row))


def _with_positions(model: _Model, arguments: argparse.Namespace) -> _Model:
    from jaxbert.adapt.positions import TABLE, Resize, resize_positions
    from jaxbert.nn.embeddings import longest_input
    from jaxbert.text.tokenizer import Tokenizer

    if arguments.positions is None:
        return model
    how: Resize = arguments.how or "interpolate"
    params, config = resize_positions(
        model.params, model.config, arguments.positions, how, arguments.seed or 0
    )
    before, after, tokenizer = longest_input(model.config), longest_input(config), model.tokenizer
    if tokenizer is not None:
        limited = {**tokenizer.config, "model_max_length": after}
        tokenizer = Tokenizer(tokenizer.backend, limited)
    rows = _tables(model.params, params, [TABLE], _how(before, after, how))
    limit = ("tokens of a row", f"{before:,}", f"{after:,}", "" if rows else "there is no table")
    return _Model(params, config, tokenizer, (*model.rows, limit, *rows))


def _with_rope_theta(model: _Model, arguments: argparse.Namespace) -> _Model:
    from jaxbert.adapt.positions import with_rope_theta

    if arguments.rope_theta is None:
        return model
    config = with_rope_theta(model.config, arguments.rope_theta)
    old, new = model.config.rotary, config.rotary
    assert old is not None
    assert new is not None
    is_local = "sliding_attention" in (config.layer_types or ())
    how = f"local layers keep {new.local_rope_theta:,.10g}" if is_local else ""
    row = ("rope_theta", f"{old.rope_theta:,.10g}", f"{new.rope_theta:,.10g}", how)
    return replace(model, config=config, rows=(*model.rows, row))


def _how(before: int, after: int, how: str) -> str:
    if after <= before:
        return f"the first {after:,} as learnt"
    if how == "interpolate":
        return f"{after:,} between {before:,} learnt ones"
    return f"{before:,} as learnt, {after - before:,} {'copies' if how == 'copy' else 'random'}"


def _with_vocabulary(model: _Model, arguments: argparse.Namespace) -> _Model:
    from jaxbert.adapt.vocabulary import TABLES, extend_vocabulary, replace_tokenizer
    from jaxbert.text.tokenizer import load_tokenizer

    if arguments.add_tokens is None and arguments.tokenizer is None:
        return model
    if model.tokenizer is None:
        raise UserError(f"{arguments.source} has no tokenizer, by which its vocabulary is known")
    if arguments.add_tokens is not None:
        tokens, starts = _read_tokens(Path(arguments.add_tokens))
        try:
            params, config, tokenizer, sources = extend_vocabulary(
                model.params, model.config, model.tokenizer, tokens, starts
            )
        except UserError as error:
            raise UserError(f"{arguments.add_tokens}: {error}") from None
        first_new = model.tokenizer.vocab_size
    else:
        tokenizer = load_tokenizer(arguments.tokenizer)
        params, config, sources = replace_tokenizer(
            model.params, model.config, model.tokenizer, tokenizer
        )
        first_new = len(sources)
    before, after = model.config.vocab_size, config.vocab_size
    rows = _tables(model.params, params, TABLES, "rows likewise")
    counted = ("vocabulary", f"{before:,}", f"{after:,}", _counted(sources, first_new))
    return _Model(params, config, tokenizer, (*model.rows, counted, *rows))


def _counted(sources: "Sources", first_new: int) -> str:
    """How many rows come from where; from `first_new` on they are of tokens that were not there."""

    def kind(row: int, source: tuple[int, ...]) -> str:
        if len(source) > 1:
            return "means of several"
        if not source:
            return "zero"
        return "as learnt" if row < first_new else "copied"

    counts = Counter(kind(row, source) for row, source in enumerate(sources))
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _tables(before: Any, after: Any, paths: Sequence[str], how: str) -> list[Row]:
    """Shapes of those of the parameters `paths` that the model has."""
    from jaxbert.tree import flat

    old, new = flat(before), flat(after)
    return [(path, _shape(old[path]), _shape(new[path]), how) for path in paths if path in new]


def _shape(array: Any) -> str:
    return " x ".join(map(str, array.shape))


def _sizes(before: Any, after: Any) -> Row:
    from jaxbert.tree import num_elements

    return ("parameters", f"{num_elements(before):,}", f"{num_elements(after):,}", "")


def _read_tokens(file: Path) -> tuple[list[str], dict[str, str]]:
    """The new tokens, and for some the token to start from."""
    from jaxbert.data.tables import existing_file

    try:
        lines = existing_file(file).read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 text: {error}") from None
    except IsADirectoryError:
        raise UserError(f"{file}: a directory: expected a file with a token a line") from None
    cells = []
    for number, line in enumerate(lines, 1):
        row = [cell.strip() for cell in line.split("\t")]
        if len(row) > 2:
            raise UserError(
                f"{file}:{number}: {row} on one line: expected a token, or a tab and one more"
            )
        if line.strip():
            cells.append(row)
    if not cells:
        raise UserError(f"{file}: empty: expected a token a line")
    return [row[0] for row in cells], {row[0]: row[1] for row in cells if len(row) == 2}


def _numbers(text: str) -> tuple[int, ...]:
    """0,2,4 as argparse reads it."""
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected layer numbers such as 0,2,4, found {text!r}"
        ) from None


def _described(source: str, rows: Sequence[Row]) -> str:
    """For the model card; of a directory on this machine its name says enough."""
    name = Path(source).resolve().name if Path(source).exists() else source
    changes = [
        f"- {what}: {before} → {after}{f' ({how})' if how else ''}"
        for what, before, after, how in rows
    ]
    return "\n".join([f"Made from `{name}` with `jaxbert adapt`, not trained since:", "", *changes])


def _print(destination: str, rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    console.print(Text(destination), soft_wrap=True)
    table = Table("what", "before", "after", "how")
    for column in table.columns[1:3]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    console.print(table)
