"""A run's state from its checkpoint, for the data and the model that the run has had alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxbert.checkpoint.checkpoints import Checkpoints
from jaxbert.config import completed
from jaxbert.errors import UserError
from jaxbert.experiment.run_files import RunDirectory, differences
from jaxbert.nn.config import EncoderConfig
from jaxbert.training.phases import TrainingPhase, phase_of_state
from jaxbert.training.state import TrainState
from jaxbert.tree import flat
from jaxbert.typing import Params

_OTHERWISE = ", or give another --run directory"
"""For who would have the run go on."""


def restored(
    run: RunDirectory,
    fingerprints: Mapping[str, str],
    first_rows: str,
    architecture: Sequence[Mapping[str, Any]],
    checkpoints: Checkpoints,
    step: int,
    phases: Sequence[TrainingPhase],
) -> TrainState:
    """The state after `step` updates.

    Raises UserError, before any array is read, where a part of the data has another fingerprint,
    the stream of rows another digest `first_rows`, or the model another `architecture` or other
    parameters.
    """
    saved_run = checkpoints.run(step)
    check_data(run, fingerprints, saved_run, step, _OTHERWISE)
    if saved_run["data"].get("first_rows") != first_rows:
        raise UserError(
            f"{run.path}: the run began with another version of jaxbert or NumPy, which made other "
            "rows of these data; continue it with that version, or give another --run directory"
        )
    target = phase_of_state(phases, step).state
    _check_shapes(run, target.params, checkpoints.shapes(step)["params"], step)
    # What earlier versions saved has none.
    saved = saved_run.get("architecture", architecture)
    check_architecture(run, architecture, saved, step, _OTHERWISE)
    state: TrainState = checkpoints.restore(step, target)
    return state


def check_data(
    run: RunDirectory,
    fingerprints: Mapping[str, str],
    saved_run: Mapping[str, Any],
    step: int,
    otherwise: str = "",
) -> None:
    """Raises UserError where a part of the data has another fingerprint than in `saved_run`.

    `otherwise`: what else can be done than to put the data back.
    """
    saved = saved_run["data"]["fingerprint"].split(" ")
    if saved != [*fingerprints.values()]:
        raise UserError(
            f"{run.path}: {_changed(fingerprints, saved)} not what the run had up to the "
            f"checkpoint of step {step}; put the data back (and the model, whose tokenizer reads "
            f"them){otherwise}"
        )


def _changed(fingerprints: Mapping[str, str], saved: Sequence[str]) -> str:
    """What of the data has another fingerprint, with its verb."""
    names = [*fingerprints]
    if len(saved) == len(names):
        names = [name for name, old in zip(names, saved, strict=True) if fingerprints[name] != old]
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'}"


def _check_shapes(run: RunDirectory, params: Params, saved: Mapping[str, Any], step: int) -> None:
    now, before = ({name: tuple(x.shape) for name, x in flat(t).items()} for t in (params, saved))
    changed = [name for name in now | before if now.get(name) != before.get(name)]
    if changed:
        is_now, was = (shapes.get(changed[0], "not there") for shapes in (now, before))
        raise _another_model(run, f"{changed[0]} was {was}, is {is_now}", step, _OTHERWISE)


def check_architecture(
    run: RunDirectory,
    now: Sequence[Mapping[str, Any]],
    saved: Sequence[Mapping[str, Any]],
    step: int,
    otherwise: str = "",
) -> None:
    """Raises UserError where an option of an encoder is another one than it was.

    The same shapes may be another function: other heads, another activation, dropout.
    """
    for new, old in zip(now, saved, strict=True):
        if changed := differences(completed(EncoderConfig, old), new):
            raise _another_model(run, "; ".join(text for _, text in changed), step, otherwise)


def check_same_teacher(
    run: RunDirectory, digest: str, saved_run: Mapping[str, Any], step: int
) -> None:
    """Raises UserError where the run has learnt from another teacher up to a checkpoint."""
    if saved_run.get("teacher") != digest:
        raise UserError(
            f"{run.path}: the teacher is not the one from which the run has learnt up to the "
            f"checkpoint of step {step}; put back what distillation.teacher in {run.config.name} "
            f"names{_OTHERWISE}"
        )


def _another_model(run: RunDirectory, change: str, step: int, otherwise: str) -> UserError:
    return UserError(
        f"{run.path}: the model is no longer the model of this run up to the checkpoint of step "
        f"{step}: {change}; put back what `model` in {run.config.name} names{otherwise}"
    )
