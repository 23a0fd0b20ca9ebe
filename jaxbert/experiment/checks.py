"""Settings that are each valid, but not together or not on these devices or data."""

from collections.abc import Collection, Iterable
from itertools import zip_longest
from pathlib import Path

from jax.sharding import AbstractMesh, Mesh

from jaxbert.adapt.reinitialize import begins_anew
from jaxbert.errors import UserError, nearest
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.settings import TrainingSettings
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.dropout_rates import drops_out
from jaxbert.nn.embeddings import longest_input
from jaxbert.nn.functional import abstract_params
from jaxbert.nn.head import Head
from jaxbert.nn.kernels import AttentionCall, choose_kernel
from jaxbert.nn.lora import is_factor
from jaxbert.nn.placement import placed
from jaxbert.optim.groups import FROZEN, depth, group_labels, rate_factor
from jaxbert.optim.kinds import OptimizerConfig
from jaxbert.optim.towards_start import Pull
from jaxbert.parallel.mesh import make_mesh
from jaxbert.parallel.rules import row_shards
from jaxbert.tasks.task import Task
from jaxbert.text.classes import OF_FILE
from jaxbert.text.files import TOKENIZER
from jaxbert.text.tokenizer import Tokenizer, load_tokenizer
from jaxbert.training.gradients import placement_on
from jaxbert.tree import flat, matches
from jaxbert.typing import Params


def check_training(
    settings: TrainingSettings,
    encoders: Iterable[EncoderConfig],
    mesh: Mesh,
    batch_sizes: Iterable[int],
) -> None:
    """Raises UserError naming the keys that do not go together on these devices."""
    check_batch_sizes(settings, batch_sizes, mesh)
    for encoder in encoders:
        _check_tensor(encoder, mesh.shape["tensor"])
        _check_kernel(settings, encoder, mesh)


def check_batch_sizes(
    settings: TrainingSettings, batch_sizes: Iterable[int], mesh: Mesh | AbstractMesh
) -> None:
    """Raises UserError where devices and microbatches do not divide a batch."""
    shards, accumulation = row_shards(mesh), settings.step.accumulation_steps
    for batch_size in batch_sizes:
        if batch_size % (accumulation * shards):
            raise UserError(
                f"batch_size={batch_size} is not a multiple of step.accumulation_steps="
                f"{accumulation} times the number of devices that split the batch, {shards}"
            )
    if settings.rows_per_evaluation() % shards:
        raise UserError(
            f"evaluation_batch_size={settings.rows_per_evaluation()} is not a multiple of the "
            f"number of devices that split the batch, {shards}"
        )


def checked_mesh(
    settings: TrainingSettings,
    encoders: Iterable[EncoderConfig],
    batch_sizes: Iterable[int],
    *,
    has_validation: bool,
) -> Mesh:
    """The mesh; UserError for settings that do not go together on it or with the data."""
    mesh = make_mesh(settings.mesh)
    check_training(settings, encoders, mesh, batch_sizes)
    check_checkpoints(settings, has_validation=has_validation)
    return mesh


def check_checkpoints(settings: TrainingSettings, *, has_validation: bool) -> None:
    """Raises UserError where what chooses the checkpoints that stay is not there."""
    metric = settings.checkpoint.metric
    if metric is not None and not has_validation:
        raise UserError(f"checkpoint.metric={metric!r} needs validation data, there is none")
    if settings.loop.early_stopping_patience and metric is None:
        raise UserError("loop.early_stopping_patience needs checkpoint.metric")
    if settings.loop.early_stopping_patience and settings.loop.evaluate_every is None:
        raise UserError(
            "loop.early_stopping_patience counts evaluations, and without loop.evaluate_every there"
            " is one at the end alone: give it steps, or epoch"
        )
    _check_keeping(settings)


def check_begun_are_trained(
    count: int, settings: TrainingSettings, encoder: EncoderConfig, head: Head
) -> None:
    """Raises UserError where some of `count` layers that begin anew are frozen as drawn."""
    options, begun = settings.optimizer, begins_anew(encoder, count)
    labels = group_labels(abstract_params(encoder, head), options.freeze, options.freeze_layers)
    for path, label in flat(labels).items():
        if label == FROZEN and path.startswith(begun):
            raise UserError(
                f"reinitialize_layers={count}: {path} would begin anew and stay as it is drawn, "
                "for optimizer.freeze_layers or optimizer.freeze names it: freeze or reinitialise "
                "fewer"
            )


def check_regularisation(config: Finetune, task: Task, encoder: EncoderConfig) -> None:
    """Raises UserError where the task or the model, with the run's dropout, gives it no hold."""
    given, head = config.regularisation, task.head
    if given is None:
        return
    if given.r_drop is not None or given.adversarial is not None:
        option = f"regularisation.{'adversarial' if given.r_drop is None else 'r_drop'}"
        if task.compares_rows:
            may_score = config.task.kind == "sentence_embedding"
            raise UserError(
                f"{option}: a ranking is between the rows of a batch, and this is of each row by "
                f"itself: leave it out{', or give scores (task.columns.label)' * may_score}"
            )
    if given.r_drop is not None and not drops_out(encoder, head, config.lora):
        raise UserError(
            f"regularisation.r_drop={given.r_drop:g}: nothing drops out of this "
            f"{encoder.model_type} model, so that both passes would be equal: give rates, such as "
            "dropout.hidden=0.1"
        )
    pull = given.pull(begins_anew(encoder, config.reinitialize_layers))
    if pull is not None:
        _check_pull(pull, config.optimizer, abstract_params(encoder, head, config.lora))


def _check_pull(pull: Pull, options: OptimizerConfig, params: Params) -> None:
    labels = flat(group_labels(params, options.freeze, options.freeze_layers))
    trained = (path for path in labels if labels[path] != FROZEN and not is_factor(path))
    drawn = [path for path in trained if pull(path)]
    if not drawn:
        raise UserError(
            "regularisation.towards_start: of the encoder nothing that the model brings along is "
            "trained: drop it, or what keeps it still (lora, optimizer.freeze, "
            "optimizer.freeze_layers, reinitialize_layers)"
        )
    strength = pull(drawn[0])
    option = f"regularisation.towards_start={strength:g}"
    factor = rate_factor(options.learning_rate, options.layer_decay, options.groups, depth(params))
    step = strength * options.learning_rate * max(map(factor, drawn))
    if step > 1:
        raise UserError(
            f"{option}: times a learning rate of {step / strength:g} it is {step:g}, which carries "
            f"parameters past where they began: give at most {strength / step:g}"
        )
    for group in options.groups:
        if group.weight_decay and any(matches([group.params], path) for path in drawn):
            raise UserError(
                f"{option}: takes the place of weight decay in the encoder, and optimizer.groups "
                f"gives {group.params!r} a weight_decay: drop that"
            )


def check_is_metric(name: str, metrics: Collection[str]) -> None:
    """Raises UserError where checkpoint.metric is none of the task's."""
    if name not in metrics:
        hint = nearest(name, [*metrics])
        raise UserError(f"checkpoint.metric: {name!r} is no metric of this task: {hint}")


def check_vocabulary(store: Path, made_with: Tokenizer, model: Path, vocab_size: int) -> None:
    """Raises UserError where the ids of a store do not mean what a model learnt of them.

    The model may have more embeddings, `vocab_size`, than its tokenizer has tokens, as DeBERTa-v3
    has. A directory without a tokenizer is taken at the user's word where the numbers are equal.
    """
    has_tokenizer = _has_tokenizer(model)
    tokens = made_with.vocab_size
    if tokens > vocab_size or (tokens < vocab_size and not has_tokenizer):
        raise UserError(
            f"{store} has a vocabulary of {tokens}, the model one of {vocab_size}: prepare the "
            "store with the model's tokenizer"
        )
    if not has_tokenizer:
        return
    if (found := _first_difference(made_with, model)) is not None:
        number, made, known = found
        raise UserError(
            f"{store} was made with another vocabulary than that of {model}: token {number} "
            f"is {made!r} there and {known!r} here; prepare the store with --tokenizer {model}"
        )


def check_same_tokens(name: str, tokenizer: Tokenizer, model: Path, vocab_size: int) -> None:
    """Raises UserError where a model, which the user calls `name`, has learnt other tokens.

    It may have more embeddings, `vocab_size`, than there are tokens; a directory without a
    tokenizer is taken at the user's word where it has enough.
    """
    if tokenizer.vocab_size > vocab_size:
        raise UserError(
            f"{name} has a vocabulary of {vocab_size}, and the tokens are those of one of "
            f"{tokenizer.vocab_size}: both models must read the same tokens"
        )
    if _has_tokenizer(model) and (found := _first_difference(tokenizer, model)) is not None:
        number, ours, theirs = found
        raise UserError(
            f"{name} reads other tokens: token {number} is {theirs!r} there and {ours!r} here; "
            "both models must read the same tokens"
        )


def _has_tokenizer(model: Path) -> bool:
    return any((model / name).is_file() for name in (TOKENIZER, *OF_FILE))


def _first_difference(
    tokenizer: Tokenizer, model: Path
) -> tuple[int, str | None, str | None] | None:
    """An id, what it is in `tokenizer`, and what in the one of a model; None: all are equal."""
    pairs = zip_longest(tokenizer.vocab(), load_tokenizer(model).vocab())
    for number, (ours, theirs) in enumerate(pairs):
        if ours != theirs:
            return number, ours, theirs
    return None


def check_length(name: str, length: int, encoder: EncoderConfig) -> None:
    """Raises UserError where a row of `length` tokens, asked for as `name`, has no positions."""
    positions = encoder.max_position_embeddings
    reserved = positions - longest_input(encoder)
    if length > positions - reserved:
        of_which = f", of which {reserved} are padding's" if reserved else ""
        raise UserError(
            f"{name}={length} exceeds the model's max_position_embeddings={positions}{of_which}"
        )


def _check_keeping(settings: TrainingSettings) -> None:
    every, loop = settings.checkpoint.keep_every, settings.loop
    saved = (loop.checkpoint_every, loop.evaluate_every)
    if every is not None and not any(isinstance(n, int) and every % n == 0 for n in saved):
        raise UserError(
            f"checkpoint.keep_every={every}: there is a checkpoint after so many steps where it is "
            f"a multiple of loop.checkpoint_every={loop.checkpoint_every} or "
            f"loop.evaluate_every={loop.evaluate_every}; change one of them"
        )


def _check_kernel(settings: TrainingSettings, encoder: EncoderConfig, mesh: Mesh) -> None:
    # What tracing the step would find, after the parameters were read; it knows the lengths.
    call = AttentionCall(
        1,
        encoder.num_attention_heads,
        encoder.hidden_size // encoder.num_attention_heads,
        settings.compute_dtype(),
        is_disentangled=encoder.relative_attention is not None,
        is_biased=encoder.relative_bias is not None,
        drops_weights=encoder.attention_probs_dropout_prob > 0,
        is_local="sliding_attention" in (encoder.layer_types or ()),
    )
    with placed(placement_on(mesh)):
        choose_kernel(settings.execution.attention, call)


def _check_tensor(encoder: EncoderConfig, tensor: int) -> None:
    # The widths may divide where the heads do not: XLA would then exchange parts of heads.
    split = {
        "num_attention_heads": (encoder.num_attention_heads, "whole heads are"),
        "num_key_value_heads": (encoder.key_value_heads, "whole heads are"),
        "intermediate_size": (encoder.intermediate_size, "the feed-forward width is"),
        "padded_vocab_size": (encoder.padded_vocab_size, "the rows of the vocabulary are"),
    }
    for name, (size, what) in split.items():
        if size % tensor:
            raise UserError(
                f"mesh.tensor={tensor} does not divide {name}={size}: {what} split over it"
            )
