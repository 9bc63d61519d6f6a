"""Teachers and students of other shapes: layers that share their weights, encoders of models that
decode, positions counted from behind the padding, tokenizers larger than their matrix."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tests.teachers.conftest import LABELS, TEXTS
from transformers import (
    AlbertConfig,
    AlbertModel,
    PegasusConfig,
    PegasusForConditionalGeneration,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5ForConditionalGeneration,
)

from tutelage.errors import DataError, ModelError
from tutelage.models import context_tokens, load_language_model
from tutelage.models.facts import COUNT_FROM_PADDING
from tutelage.models.reading import require_embedded
from tutelage.students.classifier.predict import Predictor
from tutelage.students.classifier.pretrained import load_pretrained
from tutelage.teachers.classifier.features import extract_features, weights_read
from tutelage.teachers.classifier.fits import HeadFit, LoraFit
from tutelage.teachers.classifier.spec import ClassifierTeacherSpec
from tutelage.teachers.spec import ClassAssignment

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}


def saved(model, tokenizer, folder) -> str:
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_layers_that_share_weights_are_read_one_by_one(tokenizer, tmp_path):
    config = AlbertConfig(vocab_size=len(tokenizer), embedding_size=16, pad_token_id=0, **SIZES)
    model = AlbertModel(config)
    loaded = load_language_model(
        saved(model, tokenizer, tmp_path), head="backbone", dtype="float32"
    )
    features = extract_features(loaded, TEXTS[:1], layers=(1, 3), pooling=("last",))
    ids = torch.tensor([loaded.tokenizer(TEXTS[0])["input_ids"]])
    with torch.inference_mode():
        states = model.eval()(input_ids=ids, output_hidden_states=True).hidden_states
    first = torch.nn.functional.rms_norm(states[1][0, -1], (32,), eps=1e-6)
    expected = torch.cat([first, states[3][0, -1]]).numpy()
    np.testing.assert_allclose(features[0], expected, atol=1e-4)
    assert len(weights_read(loaded, (1,))) == len(list(loaded.model.parameters()))


def test_of_t5_the_encoder_is_read(tokenizer, tmp_path):
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=2
    )
    name = saved(T5ForConditionalGeneration(config), tokenizer, tmp_path)
    spec = ClassifierTeacherSpec(model=name, fit=HeadFit())
    assert spec.problems(ClassAssignment(LABELS)) == []
    loaded = load_language_model(name, head="backbone")
    assert type(loaded.model).__name__ == "T5EncoderModel"
    assert extract_features(loaded, TEXTS, layers=(1, 2)).shape == (len(TEXTS), 128)


def test_a_kind_without_a_classifier_is_refused_before_it_is_read(tokenizer, tmp_path):
    config = PegasusConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
    )
    name = saved(PegasusForConditionalGeneration(config), tokenizer, tmp_path)
    for fit in (HeadFit(), LoraFit()):
        (problem,) = ClassifierTeacherSpec(model=name, fit=fit).problems(ClassAssignment(LABELS))
        assert problem.where == "model"
        assert "{{" not in problem.message


def roberta(tokenizer, folder, **changes: Any) -> str:
    config = RobertaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=20, pad_token_id=1, **SIZES, **changes
    )
    return saved(RobertaModel(config), tokenizer, folder)


def test_positions_are_counted_from_behind_the_padding(tokenizer, tmp_path):
    tokenizer.pad_token = "<|im_start|>"
    name = roberta(tokenizer, tmp_path)
    loaded = load_language_model(name, head="backbone")
    assert context_tokens(loaded.model.config) == 18
    long = " ".join(["good"] * 100)
    assert extract_features(loaded, [long], layers=(3,)).shape == (1, 64)
    student, own = load_pretrained(name, labels=LABELS, max_length=512)
    assert own.model_max_length == 18
    assert Predictor(student, own).probs([long, "good"]).shape == (2, 3)


def test_every_kind_that_counts_from_the_padding_is_known():
    """A table of positions with a padding row is how such models are written."""
    folder = Path(next(iter(transformers.__path__))) / "models"
    found = set()
    for kind in ("roberta", "camembert", "xlm_roberta", "longformer", "mpnet", "ibert", "lilt"):
        text = (folder / kind / f"modeling_{kind}.py").read_text("utf-8")
        if re.search(r"position_embeddings = \w+\.?\w*\([^)]*padding_idx", text):
            found.add(kind.replace("_", "-"))
    assert len(found) >= 5
    assert found <= COUNT_FROM_PADDING


@pytest.mark.parametrize("positions", [1, 4])
def test_a_model_that_reads_hardly_a_token_is_refused(tokenizer, tmp_path, positions):
    config = RobertaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=positions, pad_token_id=0, **SIZES
    )
    name = saved(RobertaModel(config), tokenizer, tmp_path)
    (problem,) = ClassifierTeacherSpec(model=name).problems(ClassAssignment(LABELS))
    assert re.search(r"reads at most \d tokens .*too few", problem.message)


def test_tokens_without_embeddings_are_named(tokenizer, tmp_path):
    before = len(tokenizer)
    config = AlbertConfig(vocab_size=before, embedding_size=16, pad_token_id=0, **SIZES)
    tokenizer.add_tokens(["<product>"])
    name = saved(AlbertModel(config), tokenizer, tmp_path)
    with pytest.raises(ModelError, match=r"the text 'a <product>' holds '<product>'"):
        require_embedded(["good", "a <product>"], before, tokenizer, name="m")
    require_embedded(["good"], before, tokenizer, name="m")
    loaded = load_language_model(name, head="backbone")
    with pytest.raises(DataError, match=r"text 2 holds '<product>', token \d+"):
        extract_features(loaded, ["good", "a <product>"], layers=(3,))
    student = Predictor(*load_pretrained(name, labels=LABELS))
    with pytest.raises(DataError, match=r"text 1 holds '<product>'"):
        student.probs(["the <product>"])
    assert student.probs(["good"]).shape == (1, 3)
