"""One process of several: a whole run, then a run of one process continued until SIGTERM comes
while the step is compiled, then the whole run again, which goes on after a SIGTERM that comes while
a checkpoint is written, then fine-tuning until it comes in the middle of an evaluation, then
evaluations and predictions.

Words: configuration, directory. Writes what this process saw to process_<i>.json there.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from launching import HEARTBEAT
from safetensors.numpy import load_file, save_file

from jaxbert.cli import main
from jaxbert.cli.training import Experiment, add_training_arguments, run_training

COMPILES = "/jax/core/compile/backend_compile_duration"
"""What JAX tells its listeners when it begins to compile a program, and when it has ended."""


def run(config: str, directory: Path) -> int:
    parser = argparse.ArgumentParser()
    add_training_arguments(parser)
    words = [config, "--run", str(directory / "begun_alone"), "--join-timeout", "120"]
    arguments = parser.parse_args([*words, "--heartbeat-timeout", str(HEARTBEAT)])
    arguments.verb = "pretrain"

    def experiment() -> Experiment:
        from jaxbert.config import load_config
        from jaxbert.experiment.pretrain import Pretrain, check_pretraining

        def load(file: str, overrides: Sequence[str], say: Callable[[str], None]) -> Pretrain:
            return load_config(Pretrain, file, overrides)

        return Experiment(Pretrain, load, partial(both, directory), check_pretraining)

    return run_training(arguments, experiment)


def both(
    directory: Path, config: Any, begun: str, *, interrupted: Callable[[], bool], **options: Any
) -> Any:
    """Trains in `together` from first to last step, and in `begun` until a signal comes."""
    import jax

    from jaxbert.data.pretraining import PretrainingData
    from jaxbert.experiment import fit
    from jaxbert.experiment.pretrain import pretrain
    from jaxbert.parallel.rows import RowPlacement

    seen: dict[str, Any] = {"asked": [], "evaluated": [], "placed": []}
    make, evaluate = PretrainingData.rows, PretrainingData.evaluation_rows
    put, training_phases = RowPlacement.put, fit.training_phases

    def rows(data: PretrainingData, positions: Any, step: int) -> Any:
        seen["asked"].append([step, positions.tolist()])
        return make(data, positions, step)

    def evaluation_rows(data: PretrainingData, numbers: Any) -> Any:
        seen["evaluated"].append(numbers.tolist())
        return evaluate(data, numbers)

    def put_rows(placement: RowPlacement, batch: Any) -> Any:
        placed = put(placement, batch)
        for name, x in placed.items():
            held = sum(shard.data.nbytes for shard in x.addressable_shards)
            seen["placed"].append([batch[name].nbytes, held, x.nbytes])
        return placed

    PretrainingData.rows, PretrainingData.evaluation_rows = rows, evaluation_rows
    RowPlacement.put = put_rows
    made_phases = fit.training_phases = made_once(training_phases)
    fitted = pretrain(config, directory / "together", quiet=True)
    PretrainingData.rows, PretrainingData.evaluation_rows = make, evaluate
    RowPlacement.put, fit.training_phases = put, training_phases
    seen["outcome"], seen["has_params"] = fitted.outcome, fitted.params is not None

    process = jax.process_index()

    def signal_to_one(event: str, _: float, fun_name: str = "", **__: Any) -> None:
        if process == 1 and event == COMPILES and "train_step" in fun_name:
            os.kill(os.getpid(), signal.SIGTERM)
            seen["signalled"] = True

    jax.monitoring.register_scalar_listener(signal_to_one)
    fitted = pretrain(config, begun, interrupted=interrupted, **options)
    jax.monitoring.unregister_scalar_listener(signal_to_one)
    seen["stopped_at"] = fitted.step
    fit.training_phases = made_phases
    seen["saving"] = preempted_while_saving(directory, config, process)
    fit.training_phases = training_phases
    seen["tuned"] = tuned(directory, process)
    seen["predicted"] = infer(directory, directory / "of_two")
    seen["unlike"] = [
        verb_with_unlike(directory, process, verb) for verb in ("evaluate", "predict")
    ]
    seen["status_of_standard_input"] = main(["predict", str(directory / "model"), "--data", "-"])
    (directory / f"process_{process}.json").write_text(json.dumps(seen))
    return fitted


def made_once(make: Callable[..., Any]) -> Callable[..., Any]:
    """Gives what it made at first: JAX keeps no compiled programs for process 1."""
    made: list[Any] = []

    def first(*given: Any, **options: Any) -> Any:
        if not made:
            made.append(make(*given, **options))
        return made[0]

    return first


def preempted_while_saving(directory: Path, config: Any, process: int) -> dict[str, Any]:
    """Trains in `saved` until a signal stops it, then from there to the end.

    The signal comes to process 1 while nothing of the checkpoint of step 4 is written, in either
    process, which stays so until the next one is to be saved.
    """
    import tensorstore

    from jaxbert.checkpoint.checkpoints import Checkpoints
    from jaxbert.experiment.pretrain import pretrain
    from jaxbert.training.signals import Preemption

    seen: dict[str, Any] = {"began_to_save": [], "restored": []}
    writing, released, preemption = threading.Event(), threading.Event(), Preemption()
    save, restore, open_array = Checkpoints.save, Checkpoints.restore, tensorstore.open
    preemption.install()
    released.set()

    def names() -> list[str]:
        return sorted(path.name for path in (directory / "saved" / "checkpoints").iterdir())

    def open_when_released(*given: Any, **options: Any) -> Any:
        # Orbax opens an array in a thread of its own, to write it.
        assert threading.current_thread() is not threading.main_thread()
        writing.set()
        assert released.wait(60)
        return open_array(*given, **options)

    def save_and_signal(checkpoints: Checkpoints, step: int, *given: Any) -> None:
        seen["began_to_save"].append([step, preemption.requested(), names()])
        if step == 4:
            checkpoints.wait()
            writing.clear()
            released.clear()
        else:
            released.set()
        save(checkpoints, step, *given)
        if step == 4:
            assert writing.wait(60)
            if process == 1:
                # To this thread, so that it has come before the next step.
                signal.raise_signal(signal.SIGTERM)

    def noted_restore(checkpoints: Checkpoints, step: int, target: Any) -> Any:
        seen["restored"].append(step)
        return restore(checkpoints, step, target)

    Checkpoints.save, tensorstore.open = save_and_signal, open_when_released
    run = directory / "saved"
    fitted = pretrain(config, run, interrupted=preemption.requested, quiet=True)
    Checkpoints.save, tensorstore.open = save, open_array
    seen["preempted"] = [fitted.outcome, fitted.step]
    seen["left"] = names()
    Checkpoints.restore = noted_restore
    fitted = pretrain(config, run, quiet=True)
    Checkpoints.restore = restore
    seen["continued"] = [fitted.outcome, fitted.step]
    return seen


def tuned(directory: Path, process: int) -> list[Any]:
    """Fine-tunes until the second evaluation; outcome and step."""
    from jaxbert.config import load_config
    from jaxbert.experiment import held_out
    from jaxbert.experiment.finetune import finetune
    from jaxbert.experiment.finetune_config import Finetune
    from jaxbert.training.signals import Preemption

    preemption, collect, calls = Preemption(), held_out.collect, 0
    preemption.install()

    def collect_after_a_signal(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        # The first finds out whether the metric exists.
        if process == 1 and calls == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return collect(*given)

    held_out.collect = collect_after_a_signal
    config = load_config(Finetune, directory / "finetune.yaml")
    fitted = finetune(config, directory / "tuned", interrupted=preemption.requested, quiet=True)
    return [fitted.outcome, fitted.step]


def infer(directory: Path, out: Path) -> list[int]:
    """Evaluates and predicts with two models from the command line.

    Returns how many texts this process was given at a time by a classifier.
    """
    from jaxbert.experiment.predictor import Predictor

    predicted, predict = [], Predictor._predict

    def counted(predictor: Predictor, records: Sequence[Any]) -> Any:
        predicted.append(len(records))
        return predict(predictor, records)

    out.mkdir(exist_ok=True)
    common = ["--batch-size", "2", "--out"]
    classifier, table = str(directory / "classifier"), str(directory / "predicted.tsv")
    masked, store = str(directory / "model"), str(directory / "store")
    texts = str(directory / "masked.txt")
    Predictor._predict = counted
    assert main(["evaluate", classifier, "--data", table, *common, str(out / "classes.json")]) == 0
    assert main(["predict", classifier, "--data", table, *common, str(out / "classes.jsonl")]) == 0
    assert main(["evaluate", masked, "--data", store, *common, str(out / "masked.json")]) == 0
    assert main(["predict", masked, "--data", texts, *common, str(out / "masked.jsonl")]) == 0
    pairs = ["--minimal-pairs", "--data", str(directory / "pairs.csv")]
    assert main(["evaluate", masked, *pairs, *common, str(out / "pairs.json")]) == 0
    encoder, corpus = str(directory / "encoder"), str(directory / "beir")
    search = ["--retrieval", "--data", corpus, "--ranking", str(out / "search.trec")]
    assert main(["evaluate", encoder, *search, *common, str(out / "search.json")]) == 0
    Predictor._predict = predict
    return predicted


def verb_with_unlike(directory: Path, process: int, verb: str) -> list[int]:
    """The statuses of a verb where this process has other data, or another model."""
    classifier, table = directory / "classifier", directory / "predicted.tsv"
    if process:
        mine = directory / "unlike"
        shutil.copytree(classifier, mine, dirs_exist_ok=True)
        weights = load_file(mine / "model.safetensors")
        weights["classifier.bias"] = weights["classifier.bias"] + 1
        save_file(weights, mine / "model.safetensors", {"format": "pt"})
        rows = table.read_text().splitlines(keepends=True)
        (mine / "table.tsv").write_text("".join(rows[:-1]))
        unlike, fewer = mine, mine / "table.tsv"
    else:
        unlike, fewer = classifier, table
    out = ["--out", str(directory / f"unlike_{process}.jsonl")]
    cases = (classifier, fewer), (unlike, table)
    return [main([verb, str(model), "--data", str(data), *out]) for model, data in cases]


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], Path(sys.argv[2])))
