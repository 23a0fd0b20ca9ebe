import json
import re
from pathlib import Path

import pytest

from jaxbert.config import load_config, parse_config, to_values, to_yaml
from jaxbert.errors import UserError
from jaxbert.experiment.finetune import finetune
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.freezing_advice import freezing_advice
from jaxbert.experiment.recipe import fill_in, load_finetune, parse_finetune
from jaxbert.experiment.recipes import RECIPES, recipe_of
from jaxbert.families import FAMILIES, preset
from jaxbert.nn.config import EncoderConfig

GIVEN = {"model": "m", "train": "t.csv", "recipe": "auto"}
PRESETS = [(name, family) for family in FAMILIES.values() for name in family.presets]


def filled(name: str, number: int | None = None, **given) -> Finetune:
    return parse_config(Finetune, fill_in(GIVEN | given, preset(name), number).values)


def test_every_published_size_has_a_recipe_and_every_recipe_a_size():
    found = {id(recipe_of(preset(name))) for name, _ in PRESETS}
    assert found == {id(recipe) for recipe in RECIPES}
    for name, family in PRESETS:
        assert family.model_type in recipe_of(preset(name)).model_types


@pytest.mark.parametrize("number", [100, None])
def test_every_recipe_makes_a_configuration_and_names_where_it_stands(number: int | None):
    for name in {id(recipe_of(preset(name))): name for name, _ in reversed(PRESETS)}.values():
        config = filled(name, number)
        assert config.recipe is not None
        assert re.search(r"arXiv \d{4}\.\d{5}|github", config.recipe)
        assert 1e-6 < config.optimizer.learning_rate < 1e-3
        assert 0 < config.schedule.warmup_steps < 1
        assert config.max_seq_length == "auto"


@pytest.mark.parametrize(
    ("name", "number", "rate", "epochs", "batch_size", "decay", "layer_decay"),
    [
        ("bert-base-uncased", None, 3e-5, 3, 32, 0.01, 1.0),
        ("bert-large-uncased", 10_000, 2e-5, 3, 32, 0.01, 1.0),
        ("bert-base-uncased", 9_999, 2e-5, 20, 16, 0.01, 1.0),
        ("bert-small", 300, 1e-4, 4, 32, 0.01, 1.0),
        ("roberta-large", None, 1e-5, 10, 32, 0.1, 1.0),
        ("mpnet-base", None, 1e-5, 10, 32, 0.1, 1.0),
        ("mpnet-base", 2_490, 2e-5, 10, 16, 0.1, 1.0),
        ("electra-small-discriminator", None, 3e-4, 3, 32, 0.0, 0.8),
        ("electra-base-discriminator", 2_490, 1e-4, 10, 32, 0.0, 0.8),
        ("electra-large-discriminator", None, 5e-5, 3, 32, 0.0, 0.9),
        ("deberta-base", None, 3e-5, 3, 64, 0.01, 1.0),
        ("deberta-large", 2_490, 7e-6, 6, 32, 0.01, 1.0),
        ("deberta-xlarge", None, 5e-6, 3, 64, 0.01, 1.0),
        ("deberta-v3-large", None, 7e-6, 2, 64, 0.01, 1.0),
        ("modernbert-large", None, 3e-5, 2, 64, 1e-5, 1.0),
    ],
)
def test_the_values_are_those_of_the_papers(
    name, number, rate, epochs, batch_size, decay, layer_decay
):
    config = filled(name, number)
    optimizer = config.optimizer
    assert (optimizer.learning_rate, config.num_epochs, config.batch_size) == (
        *(rate, epochs, batch_size),
    )
    assert (optimizer.weight_decay, optimizer.layer_decay) == (decay, layer_decay)


def test_answers_to_questions_have_values_of_their_own():
    config = filled("roberta-base", 500, task={"kind": "question_answering"})
    assert config.optimizer.learning_rate == 1.5e-5
    assert (config.num_epochs, config.batch_size, config.max_seq_length) == (2, 48, 384)


def test_what_the_user_gives_wins_and_is_not_said_to_be_the_papers():
    given = GIVEN | {
        "batch_size": 8,
        "optimizer": {"learning_rate": 1e-3},
        "max_seq_length": 64,
        "num_steps": 10,
    }
    found = fill_in(given, preset("electra-base-discriminator"), None)
    config = parse_config(Finetune, found.values)
    assert (config.batch_size, config.optimizer.learning_rate) == (8, 1e-3)
    assert (config.max_seq_length, config.num_steps) == (64, 10)
    assert (config.optimizer.layer_decay, config.schedule.warmup_steps) == (0.8, 0.1)
    [said] = [line for line in found.lines if "sets" in line]
    assert "layer_decay=0.8" in said
    for name in ("batch_size", "learning_rate", "max_seq_length", "num_epochs"):
        assert name not in said
    assert given["optimizer"] == {"learning_rate": 1e-3}


def test_another_optimiser_takes_none_of_adamws_values():
    found = fill_in(GIVEN | {"optimizer": {"kind": "lion"}}, preset("roberta-base"), None)
    assert parse_config(Finetune, found.values).optimizer.learning_rate == 2e-5
    assert found.values["optimizer"] == {"kind": "lion"}
    assert "its values are AdamW's, not lion's" in found.lines[-1]


def test_rows_that_are_filled_keep_their_length():
    assert filled("bert-base-uncased", packing=True).max_seq_length == 128
    assert filled("bert-base-uncased", windows={"stride": 32}).max_seq_length == 128


def test_a_batch_of_packed_rows_is_not_said_to_be_the_papers():
    def lines(**given) -> str:
        return "\n".join(fill_in(GIVEN | given, preset("bert-base-uncased"), None).lines)

    assert "batch_size=32 is of examples, and a packed row holds several" in lines(packing=True)
    assert "a packed row" not in lines() + lines(packing=True, batch_size=8)


def test_what_the_paper_searched_is_said_in_the_words_of_a_sweep():
    def said(name: str, number: int | None = None, **given) -> str:
        lines = fill_in(GIVEN | given, preset(name), number).lines
        return next((line.partition(" add ")[2] for line in lines if "--sweep" in line), "")

    rates, batches = "--sweep optimizer.learning_rate=1e-05,2e-05,3e-05", "--sweep batch_size=16,32"
    assert said("roberta-base") == f"{rates} {batches}"
    assert said("roberta-base", batch_size=8) == said("roberta-base", packing=True) == rates
    assert said("roberta-base", optimizer={"kind": "lion"}) == batches
    assert said("bert-base-uncased").endswith(f"{batches} --sweep num_epochs=2,3,4")
    assert said("bert-base-uncased", 500) == said("electra-base-discriminator") == ""
    for recipe in RECIPES:
        for key, values in recipe.grid.items():
            assert recipe.usual.values[key] in values


@pytest.mark.parametrize(
    ("given", "encoder", "message"),
    [
        (
            {"task": {"kind": "sentence_embedding"}},
            EncoderConfig(),
            "none is published for task.kind=sentence_embedding",
        ),
        ({"optimizer": {"freeze_layers": "all"}}, EncoderConfig(), "freeze_layers=all"),
        ({}, EncoderConfig(model_type="luke"), "none is known for 'luke' models"),
    ],
)
def test_what_no_paper_covers_is_refused(given, encoder, message):
    with pytest.raises(UserError, match=message):
        fill_in(GIVEN | given, encoder, None)


def test_a_recipe_of_another_name_is_refused():
    with pytest.raises(UserError, match="recipe='atuo': expected auto"):
        parse_config(Finetune, GIVEN | {"recipe": "atuo"})


def test_a_recipe_that_is_not_filled_in_is_not_run(tmp_path: Path):
    with pytest.raises(UserError, match="recipe=auto is not filled in"):
        finetune(parse_config(Finetune, GIVEN), tmp_path / "run")


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """A model directory without weights, and a table beside it."""
    fields = {"model_type": "bert", "hidden_size": 768, "num_hidden_layers": 12}
    (tmp_path / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    (tmp_path / "train.tsv").write_text("sentence\tlabel\na b\tx\nb c\ty\n", encoding="utf-8")
    text = f"model: {tmp_path}\ntrain: {tmp_path / 'train.tsv'}\nrecipe: auto\n"
    (tmp_path / "auto.yaml").write_text(text, encoding="utf-8")
    return tmp_path / "auto.yaml"


def test_the_file_the_overrides_and_the_size_of_the_data_decide(described: Path):
    lines: list[str] = []
    config = load_finetune(described, ["optimizer.b2=0.98"], say=lines.append)
    assert (config.num_epochs, config.optimizer.b2, config.recipe) == (
        *(20, 0.98, "Mosbach et al. 2021, section 6 (arXiv 2006.04884)"),
    )
    assert lines[0] == f"recipe: {config.recipe}"
    assert load_finetune(described, reads_data=False).num_epochs == 3


def test_a_resolved_configuration_is_not_filled_in_again(described: Path, tmp_path: Path):
    config = load_finetune(described)
    (tmp_path / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    assert load_finetune(tmp_path / "config.yaml") == config
    assert load_config(Finetune, tmp_path / "config.yaml") == config
    assert parse_finetune(to_values(config)) == config


def test_advice_on_freezing_goes_by_the_number_of_examples_and_what_was_chosen():
    config = filled("bert-base-uncased")
    [few] = freezing_advice(300, 12, config)
    assert "for 300 examples try optimizer.freeze_layers=9" in few
    [more] = freezing_advice(5_000, 12, config)
    assert "layer_decay=0.95" in more
    assert "freeze_layers" not in more
    assert freezing_advice(10_000, 12, config) == ()
    assert freezing_advice(300, 12, filled("electra-base-discriminator")) == ()
    chosen = filled("bert-base-uncased", optimizer={"freeze_layers": 2})
    assert freezing_advice(300, 12, chosen) == ()
