"""Windows, labels and loss are those of transformers and its run_qa.py."""

import random
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import BertTokenizerFast
from transformers.loss.loss_utils import ForQuestionAnsweringLoss

from jaxbert.data.reading import Reading, WindowConfig
from jaxbert.data.squad import Answer, Question
from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.question_answering import QuestionAnswering
from jaxbert.text.tokenizer import save_tokenizer
from jaxbert.text.training import train_wordpiece

TEXT = "the Old cat sees a green tree and finds nothing unbelievable straße Ünder 猫 ."


def test_loss_and_gradients_are_those_of_transformers():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(2, 5, 11)).astype(np.float32) * 5
    positions = generator.integers(0, 11, (2, 5)).astype(np.int32)
    batch = {
        "input_ids": jnp.zeros((5, 11), jnp.int32),
        "start_positions": jnp.asarray(positions[0]),
        "end_positions": jnp.asarray(positions[1]),
        "row_ids": jnp.arange(5),
    }
    task = QuestionAnswering()

    def loss(logits: jax.Array) -> jax.Array:
        output = ModelOutput(jnp.zeros((5, 11, 1)), start_logits=logits[0], end_logits=logits[1])
        return task.loss_sums(output, batch)["loss"] / task.loss_weights(batch)["loss"]

    found, gradient = jax.jit(jax.value_and_grad(loss))(jnp.asarray(logits))
    tensor = torch.tensor(logits, requires_grad=True)
    places = torch.tensor(positions, dtype=torch.long)
    expected = ForQuestionAnsweringLoss(tensor[0], tensor[1], places[0], places[1])
    expected.backward()
    np.testing.assert_allclose(float(found), expected.item(), rtol=1e-6)
    np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-5, atol=1e-8)


def run_qa_features(tokenizer: BertTokenizerFast, questions: list[Question], length: int) -> list:
    """(question, input_ids, token_type_ids, start, end) of its prepare_train_features."""
    encoded = tokenizer(
        [question.question.lstrip() for question in questions],
        [question.context for question in questions],
        truncation="only_second",
        max_length=length,
        stride=5,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    found = []
    for i, offsets in enumerate(encoded["offset_mapping"]):
        number, ids = encoded["overflow_to_sample_mapping"][i], encoded["input_ids"][i]
        members, labels = encoded.sequence_ids(i), (0, 0)
        if questions[number].answers:
            answer = questions[number].answers[0]
            start, end = answer.start, answer.start + len(answer.text)
            first = members.index(1)
            last = len(ids) - 1
            while members[last] != 1:
                last -= 1
            if offsets[first][0] <= start and offsets[last][1] >= end:
                # It itself goes on to [SEP] where the answer starts in the window's last token.
                while members[first] == 1 and offsets[first][0] <= start:
                    first += 1
                while offsets[last][1] >= end:
                    last -= 1
                labels = (first - 1, last + 1)
        found.append((number, ids, encoded["token_type_ids"][i], *labels))
    return found


@pytest.mark.parametrize("length", [20, 64])
def test_windows_and_labels_are_those_of_run_qa(tmp_path: Path, length: int):
    ours = train_wordpiece([TEXT] * 3, 90, min_frequency=1)
    save_tokenizer(ours, tmp_path)
    generator, questions = random.Random(length), []
    for number in range(80):
        words = generator.choices(TEXT.split(), k=generator.randint(1, 40))
        context = " ".join(words)
        first = generator.randrange(len(words))
        answer = " ".join(words[first : first + generator.randint(1, 4)])
        answers = (Answer(answer, len(" ".join([*words[:first], ""]))),)
        asked = " " + " ".join(generator.choices(TEXT.split(), k=generator.randrange(4)))
        given = () if number % 5 == 0 else answers
        questions.append(Question(str(number), asked, context, given, "here"))
    reading = Reading(length, windows=WindowConfig(stride=5))
    found = QuestionAnswering().examples(questions, ours, reading, labelled=True).windows
    assert length > 20 or len(found) > 120
    assert [
        (w.question, w.input_ids.tolist(), w.token_type_ids.tolist(), *w.answer) for w in found
    ] == run_qa_features(BertTokenizerFast.from_pretrained(tmp_path), questions, length)
