from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import LlamaForSequenceClassification, LlamaModel

from tutelage.errors import ModelError, ShapeMismatch
from tutelage.teachers import ClassifierTeacher, LanguageModel, extract_features, load_language_model
from tutelage.teachers.context import readable_tokens
from tutelage.teachers.finetuning import fine_tune, sequence_logprobs, with_lora
from tutelage.teachers.fitting import labelled_rows
from tutelage.teachers.head import assign_folds, fit_heads, linear_logprobs
from tutelage.types import Example

LABELS = ("negative", "neutral", "positive")
WORDS = ("bad terrible", "box monday", "good great")


@pytest.fixture
def labelled() -> list[Example]:
    rng = np.random.default_rng(0)
    rows = []
    for index in range(45):
        label = index % 3
        words = [*WORDS[label].split(), "it", "the", "and", "days", str(index)]
        rows.append(Example(" ".join(rng.permutation(words)), label))
    return rows


@pytest.fixture
def backbone(make_model) -> LanguageModel:
    return make_model(LlamaModel)


@pytest.fixture
def sequence_model(make_model) -> LanguageModel:
    return make_model(
        LlamaForSequenceClassification, id2label=dict(enumerate(LABELS)), label2id={n: i for i, n in enumerate(LABELS)}
    )


def test_a_head_learns_and_sums_to_one(backbone, labelled):
    teacher = ClassifierTeacher.fit(backbone, LABELS, [*labelled, Example("unlabelled")], layers=[0], pooling=["mean"])
    fresh = [Example("it bad and terrible"), Example("the great good 7"), Example("monday box days")]
    probs = teacher.label(fresh)
    assert probs.dtype == np.float32
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)
    assert probs.argmax(1).tolist() == [0, 2, 1]
    assert teacher.fitted.held_out_logprobs is not None
    assert teacher.fitted.held_out_logprobs.shape == (45, 3)
    assert teacher.description.regularisation > 0


def test_rows_it_was_fitted_on_are_answered_by_heads_that_did_not_see_them(backbone, labelled):
    wrong = [Example("good great it the and days good great", 0), *labelled]  # one wrong label among right ones
    teacher = ClassifierTeacher.fit(
        backbone, LABELS, wrong, layers=[2], regularisation=1e-3, cross_fit=5, calibrate=False
    )
    features = extract_features(backbone, [wrong[0].text], layers=[2])
    fold = teacher.fitted.fold_of[wrong[0].example_id]
    assert teacher.fitted.weight is not None
    assert teacher.fitted.bias is not None
    assert teacher.fitted.weight.shape[0] == 6

    def answer(head: int) -> np.ndarray:
        return np.exp(linear_logprobs(features, teacher.fitted.weight, teacher.fitted.bias, heads=np.array([head])))

    np.testing.assert_allclose(teacher.label([wrong[0]]), answer(fold + 1), atol=1e-5)
    assert answer(0)[0].argmax() == 0  # the head that saw it repeats the wrong label
    assert teacher.label([wrong[0]])[0].argmax() == 2
    copy = Example(wrong[0].text, None, source="elsewhere.csv", row=9)
    np.testing.assert_array_equal(teacher.label([copy]), teacher.label([wrong[0]]))
    without = ClassifierTeacher.fit(
        backbone, LABELS, wrong, layers=[2], regularisation=1e-3, cross_fit=0, calibrate=False
    )
    np.testing.assert_allclose(without.label([wrong[0]]), answer(0), atol=1e-3)


def test_order_and_company_change_nothing(backbone, labelled):
    teacher = ClassifierTeacher.fit(backbone, LABELS, labelled, layers=[1])
    rows = [*labelled[:7], Example("something else")]
    together = teacher.label(rows)
    alone = np.concatenate([teacher.label([row]) for row in rows])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_head_saved_and_loaded_is_the_same(backbone, labelled, tmp_path):
    teacher = ClassifierTeacher.fit(backbone, LABELS, labelled, layers=[1, 2], template="Review: {text}")
    teacher.save(tmp_path / "teacher")
    names = {path.name for path in (tmp_path / "teacher").iterdir()}
    assert names == {"teacher.json", "head.safetensors"}
    loaded = ClassifierTeacher.load(tmp_path / "teacher", language_model=backbone)
    rows = [*labelled[:4], Example("something else")]
    np.testing.assert_array_equal(loaded.label(rows), teacher.label(rows))
    assert loaded.fingerprint == teacher.fingerprint
    assert loaded.labels == LABELS
    other = LanguageModel(backbone.model, backbone.tokenizer, "other", "other-print", torch.float32)
    with pytest.raises(
        ModelError, match="was fitted on tiny with fingerprint tiny-fingerprint, but other has other-print"
    ):
        ClassifierTeacher.load(tmp_path / "teacher", language_model=other)
    with pytest.raises(ModelError, match=r"holds no teacher\.json"):
        ClassifierTeacher.load(tmp_path)
    description = json.loads((tmp_path / "teacher" / "teacher.json").read_text())
    (tmp_path / "teacher" / "teacher.json").write_text(json.dumps({**description, "format": 99}))
    with pytest.raises(ModelError, match="another kind or version"):
        ClassifierTeacher.load(tmp_path / "teacher", language_model=backbone)


def test_fingerprints_follow_the_fit(backbone, labelled):
    def fit(**changes):
        settings = {"layers": [1], "regularisation": 10.0, **changes}
        return ClassifierTeacher.fit(backbone, LABELS, labelled, **settings).fingerprint

    assert fit() == fit()
    assert (
        len({fit(), fit(layers=[2]), fit(regularisation=11.0), fit(template="{text} !"), fit(cross_fit=0), fit(seed=1)})
        == 6
    )


def test_calibration_softens_an_overconfident_head():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(120, 60)).astype(np.float32)
    gold = rng.integers(0, 3, 120)  # nothing to learn, so certainty is unfounded
    options = {"num_classes": 3, "groups": list(range(120)), "regularisation": 1e-2}
    raw = fit_heads(features, gold, calibrate=False, **options)
    calibrated = fit_heads(features, gold, calibrate=True, **options)
    assert raw.temperature == 1.0
    assert calibrated.temperature > 3

    def nll(heads):
        return -heads.held_out_logprobs[np.arange(120), gold].mean()

    assert nll(calibrated) < nll(raw) / 2
    assert nll(calibrated) == pytest.approx(np.log(3), abs=0.05)


def test_regularisation_is_chosen_by_held_out_likelihood():
    rng = np.random.default_rng(1)
    gold = rng.integers(0, 2, 200)
    noise = rng.normal(size=(200, 40)).astype(np.float32)
    clear = noise + 4 * gold[:, None].astype(np.float32) * (np.arange(40) < 2)
    common = {"num_classes": 2, "groups": list(range(200)), "calibrate": False}
    assert fit_heads(noise, gold, **common).regularisation > fit_heads(clear, gold, **common).regularisation


def test_two_classes_match_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(2)
    features = (rng.normal(size=(80, 5)) * [1, 10, 100, 1, 1] + 50).astype(np.float32)
    gold = (features[:, 0] + rng.normal(size=80) > 50).astype(np.int64)
    heads = fit_heads(features, gold, num_classes=2, groups=range(80), folds=0, regularisation=2.0, calibrate=False)
    standard = (features - features.mean(0)) / features.std(0)
    expected = LogisticRegression(C=0.5).fit(standard, gold).predict_proba(standard)
    got = np.exp(linear_logprobs(features, heads.weight, heads.bias, heads=np.zeros(80, np.int64)))
    np.testing.assert_allclose(got, expected, atol=2e-3)
    with pytest.raises(ShapeMismatch, match="features of width 4 given; the head was fitted on 5"):
        linear_logprobs(features[:, :4], heads.weight, heads.bias, heads=np.zeros(80, np.int64))


def test_folds_keep_groups_and_equal_texts_together():
    rows = [Example(f"text {index % 20}", index % 2) for index in range(60)]
    groups = [index // 3 for index in range(60)]
    labelled = labelled_rows(rows, groups, template="{text}")
    folds = assign_folds(labelled.gold, [index // 2 for index in range(60)], 5, seed=0)
    for number in range(30):
        assert len(set(folds[2 * number : 2 * number + 2])) == 1
    by_text: dict[str, set[int]] = {}
    for row, group in zip(rows, labelled.groups, strict=True):
        by_text.setdefault(row.text, set()).add(group)
    assert all(len(found) == 1 for found in by_text.values())
    for number in set(groups):
        assert len({labelled.groups[i] for i in range(60) if groups[i] == number}) == 1
    assert len(set(labelled_rows(rows, None, template="{text}").groups)) == 20


def test_rows_that_cannot_be_fitted_are_refused(backbone, labelled):
    with pytest.raises(ModelError, match="class 2 has no labelled row"):
        ClassifierTeacher.fit(backbone, LABELS, [row for row in labelled if row.label != 2], layers=[1])
    with pytest.raises(ModelError, match="no labelled rows were given"):
        ClassifierTeacher.fit(backbone, LABELS, [Example("x")], layers=[1])
    few = [row for row in labelled if row.label != 2] + [labelled[2]]
    with pytest.raises(ModelError, match="class 2 has labelled rows in one group only"):
        ClassifierTeacher.fit(backbone, LABELS, few, layers=[1])
    with pytest.raises(ModelError, match=r"template 'x' given; expected exactly one \{text\}"):
        ClassifierTeacher.fit(backbone, LABELS, labelled, template="x")
    with pytest.raises(ModelError, match="expected a sequence-classification head with 3"):
        ClassifierTeacher.fit(backbone, LABELS, labelled, method="lora")
    teacher = ClassifierTeacher.fit(backbone, LABELS, [*few, Example("good and new", 2)], layers=[1])
    assert teacher.description.folds == 2  # as many as the rarest class allows


@pytest.mark.parametrize(("method", "rate"), [("lora", 2e-2), ("full", 2e-3)])
def test_gradient_methods_lower_the_loss_and_survive_saving(
    sequence_model, labelled, tmp_path, monkeypatch, method, rate
):
    base = tmp_path / "base"
    sequence_model.model.save_pretrained(base)
    sequence_model.tokenizer.save_pretrained(base)
    given = load_language_model(str(base), dtype="float32", head="sequence", labels=LABELS)
    frozen = given.model.model.layers[0].mlp.up_proj.weight.detach().clone()
    teacher = ClassifierTeacher.fit(
        given, LABELS, labelled, method=method, epochs=6, learning_rate=rate, batch_size=8, rank=4
    )
    losses = teacher.fitted.losses
    assert len(losses) == 36
    assert np.mean(losses[-6:]) < 0.8 * np.mean(losses[:6])
    weights = dict(teacher.language_model.model.named_parameters())
    moved = next(value for name, value in weights.items() if "layers.0.mlp.up_proj" in name and "lora" not in name)
    assert torch.equal(moved, frozen) == (method == "lora")
    rows = [*labelled[:5], Example("something else")]
    expected = teacher.label(rows)
    teacher.save(tmp_path / "teacher")
    assert not list((tmp_path / "teacher").rglob("*.bin"))
    loaded = ClassifierTeacher.load(tmp_path / "teacher")
    np.testing.assert_allclose(loaded.label(rows), expected, atol=1e-5)
    assert loaded.fingerprint == teacher.fingerprint


def in_bfloat16(language_model: LanguageModel) -> LanguageModel:
    for parameter in language_model.model.parameters():
        parameter.data = parameter.data.bfloat16()
    return replace(language_model, dtype=torch.bfloat16)


def test_every_weight_of_a_bfloat16_model_is_fitted_in_float32(make_model, labelled):
    texts, gold = [row.text for row in labelled], [row.label for row in labelled]
    low, high = (in_bfloat16(make_model(LlamaForSequenceClassification, num_labels=3)) for _ in range(2))
    start = {name: weight.detach().clone() for name, weight in low.model.named_parameters()}
    high.model.float()
    losses = [
        fine_tune(given.model, given.tokenizer, texts, gold, epochs=2, learning_rate=2e-5) for given in (low, high)
    ]
    assert losses[0] == losses[1]
    for (name, weight), exact in zip(low.model.named_parameters(), high.model.parameters(), strict=True):
        assert torch.equal(weight, exact.bfloat16()), name
    assert any(not torch.equal(weight, start[name]) for name, weight in low.model.named_parameters())


def test_adapters_and_head_of_a_bfloat16_model_are_fitted_in_float32(make_model, labelled):
    model = with_lora(
        in_bfloat16(make_model(LlamaForSequenceClassification, num_labels=3)).model, rank=4, adapters=["one"]
    )
    head = model.base_model.model.score.modules_to_save["one"].weight
    before, seen = head.detach().clone(), set()

    @contextmanager
    def bar(title, *, total, unit):
        yield lambda _: seen.update((p.requires_grad, p.dtype) for p in model.parameters())

    texts, gold = [row.text for row in labelled], [row.label for row in labelled]
    tokenizer = make_model().tokenizer
    fine_tune(model, tokenizer, texts, gold, epochs=1, learning_rate=1e-3, progress=SimpleNamespace(bar=bar))
    assert seen == {(True, torch.float32), (False, torch.bfloat16)}
    assert head.dtype == torch.bfloat16  # as it is when it is loaded again
    assert not torch.equal(head, before)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_bfloat16_teacher_saved_and_loaded_is_the_same(sequence_model, labelled, tmp_path, method):
    sequence_model.model.save_pretrained(tmp_path / "base")
    sequence_model.tokenizer.save_pretrained(tmp_path / "base")
    given = load_language_model(str(tmp_path / "base"), dtype="bfloat16", head="sequence", labels=LABELS)
    teacher = ClassifierTeacher.fit(given, LABELS, labelled, method=method, epochs=1, rank=4)
    teacher.save(tmp_path / "teacher")
    loaded = ClassifierTeacher.load(tmp_path / "teacher")
    np.testing.assert_array_equal(loaded.label(labelled[:5]), teacher.label(labelled[:5]))
    assert loaded.fingerprint == teacher.fingerprint
    assert loaded.language_model.dtype == torch.bfloat16


def test_lora_cross_fits_with_an_adapter_per_fold(sequence_model, labelled):
    teacher = ClassifierTeacher.fit(
        sequence_model, LABELS, labelled, method="lora", epochs=1, learning_rate=2e-2, batch_size=8, cross_fit=2
    )
    assert teacher.description.folds == 2
    assert teacher.fitted.held_out_logprobs is not None
    got = teacher.label(labelled)
    np.testing.assert_allclose(got, np.exp(teacher.fitted.held_out_logprobs), atol=1e-4)
    fresh = teacher.label([Example(labelled[0].text + " now")])
    assert np.isfinite(fresh).all()
    with pytest.raises(ModelError, match="cross_fit is not available for method full"):
        ClassifierTeacher.fit(sequence_model, LABELS, labelled, method="full", cross_fit=2)


def test_what_is_measured_runs_every_text_with_merged_adapters(sequence_model, backbone, labelled):
    options = {"epochs": 1, "learning_rate": 2e-2, "batch_size": 8, "cross_fit": 2}
    teacher = ClassifierTeacher.fit(sequence_model, LABELS, labelled, method="lora", **options)
    fresh, known = Example("good box and a monday"), labelled[0]
    deployed = teacher.for_new_texts()
    assert not [name for name, _ in deployed.language_model.model.named_modules() if "lora" in name]
    np.testing.assert_allclose(deployed.label([fresh]), teacher.label([fresh]), atol=1e-5)
    assert np.abs(deployed.label([known]) - teacher.label([known])).max() > 1e-4  # the fold answers for the teacher
    assert [name for name, _ in teacher.language_model.model.named_modules() if "lora" in name]
    head = ClassifierTeacher.fit(backbone, LABELS, labelled, layers=[1], cross_fit=2)
    assert not head.for_new_texts().fitted.answers
    np.testing.assert_allclose(head.for_new_texts().label([fresh]), head.label([fresh]), atol=1e-6)


def encoder(tokenizer, kind: str) -> LanguageModel:
    """A tiny BERT or RoBERTa with 16 positions; RoBERTa cannot use those up to its padding id."""
    from transformers import BertConfig, BertForSequenceClassification, RobertaConfig, RobertaForSequenceClassification

    made, config = {
        "bert": (BertForSequenceClassification, BertConfig),
        "roberta": (RobertaForSequenceClassification, RobertaConfig),
    }[kind]
    torch.manual_seed(0)
    settings = config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=16, pad_token_id=0, num_labels=3, id2label=dict(enumerate(LABELS)),
        label2id={name: index for index, name in enumerate(LABELS)},
    )  # fmt: skip
    return LanguageModel(made(settings).eval(), tokenizer, kind, kind, torch.float32)


@pytest.mark.parametrize(("kind", "longest"), [("bert", 16), ("roberta", 15)])
def test_texts_longer_than_the_context_are_cut(tokenizer, labelled, kind, longest):
    model = encoder(tokenizer, kind)
    assert readable_tokens(model.model, 512) == longest
    assert readable_tokens(model.model, 4) == 4
    long = [replace(example, text=f"{example.text} and more of it " * 9) for example in labelled]
    none = ClassifierTeacher.fit(model, LABELS, method="none").label(long[:2])
    one_more = tokenizer(long[0].text)["input_ids"][: longest + 1]
    with pytest.raises((RuntimeError, IndexError)):
        model.model(torch.tensor([one_more]))
    with torch.no_grad():
        logits = model.model(torch.tensor([one_more[:-1]])).logits[0]
    np.testing.assert_allclose(none[0], torch.softmax(logits, -1).numpy(), atol=1e-5)
    for method in ("head", "lora", "full"):
        options = {"layers": [1], "cross_fit": 2} if method == "head" else {"epochs": 1}
        teacher = ClassifierTeacher.fit(encoder(tokenizer, kind), LABELS, long, method=method, **options)
        assert np.isfinite(teacher.label(long[:2])).all()


def test_a_fitted_classifier_is_used_as_it_is_in_the_order_of_the_labels(sequence_model, examples):
    order = ("positive", "negative", "neutral")
    teacher = ClassifierTeacher.fit(sequence_model, order, method="none")
    model, tokenizer = sequence_model.model, sequence_model.tokenizer
    for example, probs in zip(examples, teacher.label(examples), strict=True):
        with torch.no_grad():
            logits = model(**tokenizer(example.text, return_tensors="pt")).logits[0]
        np.testing.assert_allclose(probs, torch.softmax(logits, -1)[[2, 0, 1]].numpy(), atol=1e-5)
    with pytest.raises(ModelError, match=r"classifies as .*but the labels here are"):
        ClassifierTeacher.fit(sequence_model, ("a", "b", "c"), method="none")


def test_fine_tuning_repeats_and_leaves_the_random_state_alone(make_model, labelled):
    def run():
        language_model = make_model(LlamaForSequenceClassification, num_labels=3, attention_dropout=0.1)
        texts, gold = [row.text for row in labelled], [row.label for row in labelled]
        torch.manual_seed(5)
        losses = fine_tune(
            language_model.model, language_model.tokenizer, texts, gold, epochs=1, learning_rate=1e-3, seed=3
        )
        return losses, float(torch.rand(()))

    torch.manual_seed(5)
    untouched = float(torch.rand(()))
    assert run() == run()
    assert run()[1] == untouched


def test_sequence_logprobs_do_not_depend_on_batches(sequence_model, examples):
    texts = [example.text for example in examples]
    model, tokenizer = sequence_model.model, sequence_model.tokenizer
    wide = sequence_logprobs(model, tokenizer, texts)
    np.testing.assert_allclose(sequence_logprobs(model, tokenizer, texts[::-1], batch_tokens=1)[::-1], wide, atol=1e-5)
    assert sequence_logprobs(model, tokenizer, []).shape == (0, 3)


def numel(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("kind", [LlamaModel, LlamaForSequenceClassification])
def test_only_weights_that_run_are_counted_under_a_head(make_model, labelled, kind):
    language_model = make_model(kind)
    backbone = language_model.model.base_model
    sizes = {}
    for deepest in (0, 1, 2):
        teacher = ClassifierTeacher.fit(language_model, LABELS, labelled, layers=[0, deepest], pooling=["last"])
        head = 3 * 64 + 3  # whatever the number of folds
        sizes[deepest] = teacher.parameters - head
        assert teacher.disk_bytes == 4 * sizes[deepest] + 8 * head
    layer = numel(backbone.layers[0])
    assert sizes[2] == numel(backbone)
    assert sizes[1] == sizes[2] - layer - numel(backbone.norm)
    assert sizes[0] == sizes[1] - layer == numel(backbone.embed_tokens)


def test_only_the_adapter_that_answers_is_counted(make_model, labelled):
    sizes = []
    for folds in (0, 2):
        given = make_model(LlamaForSequenceClassification, num_labels=3)
        whole = numel(given.model)
        teacher = ClassifierTeacher.fit(given, LABELS, labelled, method="lora", epochs=1, rank=2, cross_fit=folds)
        sizes.append((teacher.parameters, teacher.disk_bytes))
    adapters = 2 * 2 * ((32 + 32) * 2 + (32 + 16) * 2 + (32 + 48) * 3)
    assert sizes == [(whole + adapters, 4 * (whole + adapters))] * 2
