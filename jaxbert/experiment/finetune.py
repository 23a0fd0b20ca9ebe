"""Fine-tuning: a model and labelled data in, a run directory out."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby
from os.path import expanduser
from pathlib import Path
from typing import Any

from jaxbert.adapt.lora import merged
from jaxbert.adapt.reinitialize import begins_anew
from jaxbert.data.stream import Phase, Stream
from jaxbert.data.tables import check_split
from jaxbert.errors import UserError
from jaxbert.experiment.artifacts import Exports, TrainedAdapter, TrainedModel, write_artifacts
from jaxbert.experiment.checks import (
    check_regularisation,
)
from jaxbert.experiment.feature_cache import Interrupted, check_cacheable, frozen_encoder
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.finetuning_data import training_data
from jaxbert.experiment.finetuning_start import Start, first_params, opened, started, with_pooling
from jaxbert.experiment.fit import Fitted, check_fit, fit
from jaxbert.experiment.freezing_advice import freezing_advice
from jaxbert.experiment.prompts import prompt_fields
from jaxbert.experiment.report import write_report
from jaxbert.experiment.restoring import check_architecture, check_data
from jaxbert.experiment.run_directory import check_run, check_same_data, open_run
from jaxbert.experiment.run_files import RunDirectory
from jaxbert.experiment.teacher import Teacher, opened_teacher, reading_for_both
from jaxbert.experiment.trainee import Data, Trainee, described
from jaxbert.hub.load import Opened
from jaxbert.hub.save import layout_for
from jaxbert.hub.sentence_modules import is_sentence_encoder
from jaxbert.nn.dropout_rates import with_dropout
from jaxbert.nn.head import Head
from jaxbert.tasks.finetuning import Examples, TuningExamples
from jaxbert.text.remote import check_is_here
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.training.profile import NO_STEPS
from jaxbert.typing import Params

_READ = (
    *("model", "task", "train", "validation", "validation_fraction", "max_seq_length", "packing"),
    *("truncation", "head_share", "windows", "ignore_mismatched_heads", "distillation"),
)
"""Keys by which the data, the model and what tokens are made of them may differ."""


@dataclass(frozen=True)
class _Prepared:
    """What is known of a run before there is a directory, or a weight is read."""

    start: Start
    loaded: Opened
    data: Data
    examples: Mapping[str, Examples]
    """The validation sets by name."""


def finetune(
    config: Finetune,
    run_path: str | Path,
    *,
    interrupted: Callable[[], bool] = lambda: False,
    profile: range = NO_STEPS,
    quiet: bool = False,
) -> Fitted:
    """Runs or continues fine-tuning in a run directory."""
    began = time.perf_counter()
    prepared = _prepared(config, run_path)
    start, data = prepared.start, prepared.data
    with open_run(run_path, start.config) as run:
        try:
            trainee, data, frozen = _trainee(
                start, prepared.loaded, data, run, interrupted=interrupted, quiet=quiet
            )
        except Interrupted:
            return Fitted(None, "preempted", 0, {}, {})
        fitted = fit(
            run,
            start.config,
            trainee,
            start.task,
            data,
            _num_steps(start.config, data.train.phases[0].rows.num_rows),
            began=began,
            interrupted=interrupted,
            profile=profile,
            quiet=quiet,
        )
        if fitted.params is None:
            return fitted
        params = fitted.params | frozen
        return _written(run, start, fitted, params, prepared.examples, data.notes)


def check_finetuning(
    runs: Sequence[tuple[Finetune, Path]], ended: Sequence[tuple[Finetune, Path]] = ()
) -> None:
    """Raises UserError where `finetune` would refuse one of some runs before it reads a weight.

    Also where one that has `ended` had other data than it would be given now. What runs read alike
    is read once.
    """
    for key, alike in groupby(sorted(runs, key=_what_is_read), key=_what_is_read):
        [first, *others] = alike
        prepared = _prepared(*first)
        for config, path in (first, *others):
            length = prepared.start.config.max_seq_length
            _check(replace(with_pooling(config), max_seq_length=length), path, prepared)
        for _, path in (first, *others, *(run for run in ended if _what_is_read(run) == key)):
            check_same_data(path, prepared.data.fingerprints)


def _what_is_read(run: tuple[Finetune, Path]) -> str:
    return repr([getattr(run[0], name) for name in _READ])


def _check(config: Finetune, path: Path, prepared: _Prepared) -> None:
    """`config` may differ from what was prepared in all that is not read."""
    check_run(path, config)
    start = replace(prepared.start, config=config)
    check_regularisation(config, start.task, with_dropout(start.encoder, config.dropout))
    if config.cache_features:
        _check_cache(start)
        return
    rows = prepared.data.train.phases[0].rows
    data = replace(prepared.data, train=Stream([Phase(rows, config.batch_size)]))
    check_fit(
        config, _whole(start, prepared.loaded), start.task, data, _num_steps(config, rows.num_rows)
    )


def _prepared(config: Finetune, run_path: str | Path) -> _Prepared:
    config = with_pooling(config)
    if config.recipe == "auto":
        raise UserError(
            "recipe=auto is not filled in: make the configuration with load_finetune or "
            "parse_finetune of jaxbert.experiment.recipe"
        )
    if config.max_seq_length != "auto":
        check_run(run_path, config)
    for spec in config.validation_sets.values():
        check_split(spec)
    start = started(config)
    loaded = opened(start)
    data, examples = _data(start)
    if start.config.cache_features:
        _check_cache(start)
    return _Prepared(start, loaded, data, examples)


def _check_cache(start: Start) -> None:
    check_cacheable(start.config, start.task.head, packing=start.config.packing)
    _check_directory(start.config.cache_features)


def exporter(
    run: RunDirectory, config: Finetune, saved_run: Mapping[str, Any], step: int
) -> Callable[[Params], Exports]:
    """Parameters of a checkpoint -> what the run exports of them.

    `saved_run`: what the checkpoint says of the run. Labels are those of the training data, and the
    tokenizer is the model's: both must be there. Raises UserError where they are not, or are
    others, and for what no checkpoint holds.
    """
    if config.cache_features:
        raise UserError(
            f"{run.path}: with cache_features a checkpoint holds the head alone: let the run end, "
            "which joins it with the encoder"
        )
    start = started(config)
    data, examples = _data(start)
    if any(isinstance(found, TuningExamples) and found.tunes for found in examples.values()):
        raise UserError(
            f"{run.path}: task.threshold=tuned chooses the thresholds at the end of a run, and no "
            "checkpoint has them: let the run end"
        )
    check_data(run, data.fingerprints, saved_run, step)
    trained = with_dropout(start.encoder, config.dropout)
    check_architecture(run, described([trained]), saved_run["architecture"], step)
    return lambda params: _exports(start, start.task.head, params)


def _check_directory(cache: bool | str) -> None:
    """Raises UserError where features cannot be kept in what cache_features names."""
    check_is_here(str(cache))
    if isinstance(cache, str) and (path := Path(expanduser(cache))).exists() and not path.is_dir():
        raise UserError(f"cache_features={cache}: no directory: name one, or one that is to be")


def _data(start: Start) -> tuple[Data, Mapping[str, Examples]]:
    """What is trained and evaluated on, and the validation sets by name."""
    config, section = start.config, start.config.task
    validation = {
        name: tuple(section.read(spec, labelled=True))
        for name, spec in config.validation_sets.items()
    }
    if start.held_out:
        validation[""] = start.held_out
    tokenizer = start.tokenizer
    if config.distillation is not None:
        tokenizer = reading_for_both(tokenizer, start.encoder)
    data, examples = training_data(
        start.task,
        start.train,
        validation,
        tokenizer,
        config.reading,
        packing=config.packing,
        batch_size=config.batch_size,
        evaluation_batch_size=config.rows_per_evaluation(),
        seed=config.seed,
    )
    if config.recipe is not None:
        layers = start.encoder.num_hidden_layers
        advice = freezing_advice(len(start.train), layers, config)
        data = replace(data, notes=(*data.notes, *advice))
    if config.lora is not None and (why := _no_adapter(start, start.task.head)):
        data = replace(data, notes=(*data.notes, f"the run will have its model alone: {why}"))
    return data, examples


def _trainee(
    start: Start,
    loaded: Opened,
    data: Data,
    run: RunDirectory,
    *,
    interrupted: Callable[[], bool],
    quiet: bool,
) -> tuple[Trainee, Data, dict[str, Params]]:
    """The model; with cache_features its head alone, on features, and the encoder beside it.

    Raises Interrupted where the features could not be computed to the end.
    """
    config, head = start.config, start.task.head
    if not config.cache_features:
        return _whole(start, loaded), data, {}
    encoder = with_dropout(start.encoder, config.dropout)
    make_params = first_params(config, start.task, start.train, loaded)
    given = config.cache_features
    directory = run.features if given is True else Path(expanduser(given))
    known = frozen_encoder(
        *(config, encoder, head, make_params, data, directory),
        interrupted=interrupted,
        quiet=quiet,
    )
    return known.trainee, known.data, {"encoder": known.params}


def _whole(start: Start, loaded: Opened) -> Trainee:
    """The model with its encoder."""
    config, encoder = start.config, with_dropout(start.encoder, start.config.dropout)
    make_params = first_params(config, start.task, start.train, loaded)
    return replace(
        Trainee.of(encoder, start.task.head, make_params, config.lora),
        teacher=_teacher(start),
        regularisation=config.regularisation,
        begun=begins_anew(encoder, config.reinitialize_layers),
    )


def _teacher(start: Start) -> Teacher | None:
    given, reading = start.config.distillation, start.config.reading
    if given is None:
        return None
    lengths = (reading.max_seq_length,)
    return opened_teacher(given, start.encoder, start.task.head, start.tokenizer, lengths)


def _written(
    run: RunDirectory,
    start: Start,
    fitted: Fitted,
    params: Params,
    examples: Mapping[str, Examples],
    notes: Sequence[str],
) -> Fitted:
    """Exports the model and reports on it."""
    config = start.config
    head = _tuned(start.task.head, examples, fitted.outputs)
    made = _exports(start, head, params)
    write_artifacts(run, fitted.results, made, config)
    tables = {name: examples[name].tables(rows) for name, rows in fitted.outputs.items()}
    write_report(run, fitted.results, notes, tables)
    return replace(fitted, params=made.models["model"].params)


def _exports(start: Start, head: Head, params: Params) -> Exports:
    lora, adapter, whole = start.config.lora, None, params
    if lora is not None:
        whole = merged(params, lora)
        if _no_adapter(start, head) is None:
            adapter = TrainedAdapter(params, lora, _base(start))
    models = {"model": TrainedModel(whole, start.encoder, head)}
    data = f"{start.config.train}: {len(start.train)} rows"
    prompts = prompt_fields(start.config.task, start.config.reading.max_seq_length)
    tokenizer = start.tokenizer
    if is_sentence_encoder(head):
        # Its vectors are those of texts cut as in training, also to sentence-transformers.
        limit = {"model_max_length": start.config.max_seq_length}
        tokenizer = Tokenizer(tokenizer.backend, tokenizer.config | limit)
    return Exports(models, tokenizer, data, adapter, prompts)


def _no_adapter(start: Start, head: Head) -> str | None:
    """Why peft could make nothing of an adapter; None: it can."""
    if start.source.adapter is not None:
        return f"{start.config.model} is an adapter itself, which none can be put upon"
    if head.dense is not None:
        return "its Dense layer is in a file of its own, which an adapter has no place for"
    if layout_for(start.encoder, head) != "huggingface":
        return "transformers has no class for it, onto which peft would put an adapter"
    return None


def _base(start: Start) -> str:
    """The name under which an adapter's user finds the model: of a directory its whole path."""
    name = start.config.model
    is_here = "://" not in name and Path(expanduser(name)).exists()
    return str(start.source.directory.resolve()) if is_here else name


def _tuned(head: Head, examples: Mapping[str, Examples], outputs: Mapping[str, Any]) -> Head:
    """The head as validation data fix it."""
    for name, found in examples.items():
        if isinstance(found, TuningExamples) and found.tunes:
            return found.tuned(outputs[name]).head
    return head


def _num_steps(config: Finetune, num_rows: int) -> int:
    if config.num_steps is not None:
        return config.num_steps
    # 1.1 epochs of 10 rows are 11 of them, where a product of floats is a little more.
    rows = Fraction(str(config.num_epochs)) * num_rows
    return math.ceil(rows / config.batch_size)
