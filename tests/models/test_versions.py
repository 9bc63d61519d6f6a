"""What reaches into transformers stands aside where its version was not tested, and the answers are
the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import torch
import transformers
from tests.students.test_fast_transformer import model_of
from tests.students.tiny_causal_models import MODELS, built

from tutelage.models.attention import (
    TESTED_TRANSFORMERS,
    asks_for_its_attention,
    attention_of,
    transformers_was_tested,
)
from tutelage.models.final_states import final_states, packs
from tutelage.models.loading import rebuild
from tutelage.students.classifier.fast_transformer import has_known_shape
from tutelage.teachers import PromptedTeacher
from tutelage.types import Example

ROOT = Path(__file__).parents[2]


@pytest.fixture
def another_version(monkeypatch):
    """Call it, and a later transformers is installed."""

    def upgrade():
        monkeypatch.setattr(transformers, "__version__", "5.999.1")

    yield upgrade
    monkeypatch.undo()


def test_the_version_that_the_tests_run_with_is_one_of_the_tested():
    assert transformers_was_tested()
    pinned = re.search(r"^transformers==(\d+)\.(\d+)", (ROOT / "constraints.txt").read_text(), re.M)
    assert pinned is not None
    major, minor = int(pinned[1]), int(pinned[2])
    assert max(TESTED_TRANSFORMERS) == (major, minor)
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (wanted,) = [one for one in dependencies if one.startswith("transformers")]
    assert wanted.endswith(f",<{major}.{minor + 1}")


def test_documents_are_not_packed(another_version):
    model = built(*MODELS["llama sdpa"])
    ids, segments = torch.tensor([[1, 2, 3, 4, 5]]), torch.tensor([[1, 1, 2, 2, 2]])
    with torch.no_grad():
        together = final_states(model, ids, None, segments)
    assert packs(model)
    assert asks_for_its_attention(model)
    another_version()
    assert not packs(model)
    assert not asks_for_its_attention(model)
    assert attention_of(model) is None
    with pytest.raises(ValueError, match="put one document in each row"):
        final_states(model, ids, None, segments)
    with torch.no_grad():
        alone = [final_states(model, part) for part in (ids[:, :2], ids[:, 2:])]
    torch.testing.assert_close(torch.cat(alone, 1), together, atol=1e-5, rtol=1e-5)


def test_prompts_are_run_whole(another_version, language_model):
    labels, texts = ("negative", "positive"), [Example("good"), Example("it died, a bad camera")]
    shared = PromptedTeacher(language_model, labels)
    assert shared.prefix_tokens > 0
    expected = shared.label(texts)
    another_version()
    whole = PromptedTeacher(language_model, labels)
    assert whole.prefix_tokens == 0
    torch.testing.assert_close(
        torch.from_numpy(whole.label(texts)), torch.from_numpy(expected), atol=1e-4, rtol=1e-4
    )


def test_transformer_students_run_their_own_forward(another_version):
    model = model_of()
    assert has_known_shape(model)
    another_version()
    assert not has_known_shape(model)


def test_models_are_rebuilt(another_version):
    model = built(*MODELS["llama sdpa"])
    another_version()
    again = rebuild(model, model.config, model.state_dict())
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        assert torch.equal(again.eval()(input_ids=ids).logits, model(input_ids=ids).logits)
