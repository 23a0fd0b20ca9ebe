"""Every configuration in configs/ parses, stays short, and builds its model abstractly."""

import shlex
from pathlib import Path

import jax
import pytest
import yaml

from jaxbert.config import chosen_values, load_config, parse_config, to_yaml
from jaxbert.elsewhere import ELSEWHERE
from jaxbert.errors import UserError
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.objectives import ReplacedTokenConfig, pair_of, trainee_of
from jaxbert.experiment.pretrain import Pretrain
from jaxbert.experiment.pretraining_data import data_phases
from jaxbert.experiment.recipe import load_finetune
from jaxbert.experiment.trainee import Trainee
from jaxbert.families import preset
from jaxbert.nn.execution import PLAIN
from jaxbert.nn.functional import abstract_params, init_params
from jaxbert.nn.head import Head
from jaxbert.optim.groups import group_labels
from jaxbert.optim.optimizer import make_optimizer
from jaxbert.optim.schedule import make_schedule
from jaxbert.optim.unfreezing import stages
from jaxbert.tasks.pretraining import MaskedLanguageModelling

ROOT = Path(__file__).parents[1] / "configs"
PRETRAIN = sorted((ROOT / "pretrain").glob("*.yaml"))
FINETUNE = sorted((ROOT / "finetune").glob("*.yaml"))


def name(path):
    return path.stem


def test_there_are_configurations_of_both_kinds():
    assert PRETRAIN
    assert FINETUNE


@pytest.mark.parametrize("path", PRETRAIN + FINETUNE, ids=name)
def test_a_configuration_is_short_and_its_header_names_paper_command_and_hardware(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 60
    header = [line for line in text.splitlines() if line.startswith("#")]
    for word in ("Paper:", "Command:", "Hardware:", "Time and score:"):
        assert any(word in line for line in header), word


@pytest.mark.parametrize("theirs", ELSEWHERE)
def test_an_option_of_others_is_told_by_its_name_here(theirs):
    values = {
        Pretrain: {"store": "s", "model": {"preset": "bert-tiny"}, "num_steps": 1},
        Finetune: {"model": "m", "train": "t.csv"},
    }
    told = []
    for kind, required in values.items():
        with pytest.raises(UserError) as caught:
            parse_config(kind, required, [f"{theirs}=1"])
        told += [name for name in ELSEWHERE[theirs] if f"called '{name}' here" in str(caught.value)]
    assert set(told) == set(ELSEWHERE[theirs])


def test_a_batch_per_device_is_told_that_it_is_of_all_devices_here():
    with pytest.raises(UserError, match="'batch_size' here, and is of all devices together"):
        parse_config(Finetune, {"per_device_train_batch_size": 8})


def test_no_seed_is_taken_that_draws_the_dropout_of_another():
    assert parse_config(Finetune, {"model": "m", "train": "t", "seed": 2**32 - 1}).seed == 2**32 - 1
    with pytest.raises(UserError, match="'seed': Input should be less than 4294967296"):
        parse_config(Finetune, {"model": "m", "train": "t", "seed": 2**32})


def test_the_trial_that_the_tpu_readme_names_is_a_run():
    trial = "num_steps=2000 schedule.warmup_steps=0.01 'phases=[]'"
    assert trial in (ROOT.parent / "tpu" / "README.md").read_text()
    config = load_config(Pretrain, ROOT / "pretrain" / "bert_base.yaml", shlex.split(trial))
    assert len(data_phases(config.data, config.batch_size, config.phases, config.num_steps)) == 1
    make_schedule(config.schedule, config.optimizer.learning_rate, config.num_steps)


@pytest.mark.parametrize("path", PRETRAIN, ids=name)
def test_a_pretraining_configuration_builds_model_and_optimiser(path):
    config = load_config(Pretrain, path)
    assert config == parse_config(Pretrain, yaml.safe_load(to_yaml(config)))
    assert config == parse_config(Pretrain, chosen_values(config))
    encoder = preset(config.model.preset or "bert-base-uncased")
    if isinstance(config.objective, ReplacedTokenConfig):
        pair = pair_of(config.objective, encoder)
        trainee = trainee_of(pair, lambda mesh: pair.init(0))
    else:
        head = MaskedLanguageModelling(config.data.sentence_pairs).head
        trainee = Trainee.of(encoder, head, lambda mesh: init_params(encoder, head, 0))
    params = trainee.shapes
    schedule = make_schedule(config.schedule, config.optimizer.learning_rate, config.num_steps)
    optimizer = make_optimizer(config.optimizer, schedule, params)
    assert jax.tree.leaves(jax.eval_shape(optimizer.init, params))
    rows, length = 2, config.data.max_seq_length
    ids = jax.ShapeDtypeStruct((rows, length), "int32")
    where = jax.ShapeDtypeStruct((rows, config.data.masking.most_predictions(length)), "int32")
    batch = {"input_ids": ids, "masked_lm_positions": where}
    if isinstance(config.objective, ReplacedTokenConfig):
        output = jax.eval_shape(
            trainee.make_apply("bfloat16", PLAIN), params, **batch, labels=where
        )
        assert output.logits.shape == ids.shape
        assert output.generator_logits.shape == (*where.shape, encoder.vocab_size)
    else:
        output = jax.eval_shape(trainee.make_apply("bfloat16", PLAIN), params, **batch)
        assert output.logits.shape == (*where.shape, encoder.vocab_size)


@pytest.mark.parametrize("path", FINETUNE, ids=name)
def test_a_fine_tuning_configuration_builds_its_optimiser(path):
    config = load_finetune(path, reads_data=False)
    assert config == parse_config(Finetune, yaml.safe_load(to_yaml(config)))
    assert config == parse_config(Finetune, chosen_values(config))
    encoder = preset("bert-base-uncased")
    head = Head("sequence_classification", labels=("a", "b"))
    params = abstract_params(encoder, head, config.lora)
    schedule = make_schedule(config.schedule, config.optimizer.learning_rate, 1000)
    frozen = group_labels(params, config.optimizer.freeze, config.optimizer.freeze_layers)
    last = stages(config.unfreezing, frozen, 1000, lambda step: True)[-1]
    optimizer = make_optimizer(config.optimizer, schedule, params, last.labels)
    assert jax.tree.leaves(jax.eval_shape(optimizer.init, params))
