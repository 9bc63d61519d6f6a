import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from transformers import AutoModelForCausalLM

import tutelage  # noqa: F401
from tutelage.students import RecurrentForCausalLM, RecurrentLanguageConfig, build_language_rnn

VOCABULARY = 40
BEGIN, END = 1, 2


def tiny(seed=0, **shape):
    shape = {"embedding_size": 6, "hidden_size": 5, "layers": 2, "embedding_std": 1.0, **shape}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = RecurrentLanguageConfig(
            vocab_size=VOCABULARY, bos_token_id=BEGIN, eos_token_id=END, pad_token_id=0, **shape
        )
        return RecurrentForCausalLM(config).eval()


MODELS = {
    "gru": tiny(),
    "lstm": tiny(cell="lstm"),
    "one width": tiny(embedding_size=5),
    "one layer": tiny(layers=1),
}
# Layers of five values normalise now and then by almost nothing, which blows up the rounding of float32.
PRECISE = {name: copy.deepcopy(model).double() for name, model in MODELS.items()}
CELLS = ["gru", "lstm"]
PROMPT = torch.tensor([[1, 7, 3, 9], [1, 4, 4, 8]])


def reference(model, ids):
    """Logits of one row by the definition of the network, in float64 and one token at a time."""
    weights = {name: weight.detach().double().numpy() for name, weight in model.named_parameters()}

    def normalise(x, name):
        return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def step(x, h, c, name):
        of = [weights[f"{name}.{part}_l0"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        given, kept = of[0] @ x + of[2], of[1] @ h + of[3]
        if model.config.cell == "gru":
            (r1, z1, n1), (r2, z2, n2) = np.split(given, 3), np.split(kept, 3)
            update = sigmoid(z1 + z2)
            return (1 - update) * np.tanh(n1 + sigmoid(r1 + r2) * n2) + update * h, c
        i, f, g, o = np.split(given + kept, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c

    zeros = np.zeros(model.config.hidden_size)
    states = [(zeros, zeros) for _ in range(model.config.layers)]
    logits = []
    for token in ids:
        x = weights["embedding.weight"][token]
        for index in range(model.config.layers):
            h, c = step(normalise(x, f"layers.{index}.norm"), *states[index], f"layers.{index}.cell")
            states[index] = h, c
            x = h if index == 0 else x + h
        if "projection.weight" in weights:
            x = weights["projection.weight"] @ x + weights["projection.bias"]
        logits.append(weights["embedding.weight"] @ normalise(x, "norm"))
    return torch.tensor(np.stack(logits))


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_the_definition(name):
    model, ids = tiny(**shape_of(MODELS[name])).double(), [1, 7, 3, 3, 39]
    for norm in (model.norm, model.layers[-1].norm):
        torch.nn.init.normal_(norm.weight, 1.0)
        torch.nn.init.normal_(norm.bias)
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids])).logits[0]
    torch.testing.assert_close(logits, reference(model, ids), atol=1e-12, rtol=0)


def shape_of(model):
    return {name: getattr(model.config, name) for name in ("cell", "layers", "embedding_size", "hidden_size")}


@pytest.mark.parametrize("name", MODELS)
def test_hidden_states_times_the_output_matrix_are_the_logits(name):
    model = MODELS[name]
    hidden = model.hidden_states(PROMPT)
    weight, bias, scale, cap = model.output_layer()
    assert hidden.shape == (2, 4, model.config.embedding_size)
    assert (bias, scale, cap) == (None, 1.0, None)
    torch.testing.assert_close(hidden @ weight.T, model(PROMPT).logits)
    answer = model(PROMPT, output_hidden_states=True)
    assert len(answer.hidden_states) == model.config.layers + 1
    torch.testing.assert_close(answer.hidden_states[-1], hidden)
    assert torch.equal(answer.hidden_states[0], model.embedding(PROMPT))


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_padding_anywhere_leaves_no_trace(name, data):
    """Every row gives what its tokens give alone, and a row without tokens leaves the state as it found it."""
    model = PRECISE[name]
    rows, columns = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 7))
    row = st.lists(st.booleans(), min_size=columns, max_size=columns)
    mask = torch.tensor(data.draw(st.lists(row, min_size=rows, max_size=rows)))
    ids = torch.randint(1, VOCABULARY, (rows, columns), generator=torch.Generator().manual_seed(len(mask)))
    before = None
    if data.draw(st.booleans()):
        before = model(torch.arange(2 * rows).view(rows, 2)).state
    with torch.inference_mode():
        together = model(ids, attention_mask=mask.long(), state=before)
        without = model(ids, attention_mask=mask.long(), state=before, use_cache=False)
        for index, tokens in enumerate(mask):
            old = None if before is None else tuple(part[:, [index]] for part in before)
            new = tuple(part[:, [index]] for part in together.state)
            begun = tokens.cumsum(0) > 0
            assert not together.logits[index][~begun].any()  # nothing has been read there
            if not tokens.any():
                old = tuple(torch.zeros_like(part) for part in new) if old is None else old
                assert all(torch.equal(*pair) for pair in zip(old, new, strict=True))
                continue
            alone = model(ids[index][tokens][None], state=old)
            torch.testing.assert_close(together.logits[index][tokens], alone.logits[0], atol=1e-12, rtol=0)
            places = (tokens.cumsum(0) - 1)[begun]  # padding has what the token before it has
            torch.testing.assert_close(together.logits[index][begun], alone.logits[0][places], atol=1e-12, rtol=0)
            torch.testing.assert_close(without.logits[index][tokens], alone.logits[0], atol=1e-12, rtol=0)
            torch.testing.assert_close(new, alone.state, atol=1e-12, rtol=0)
    assert without.state is None
    assert torch.isfinite(together.logits).all()


@pytest.mark.parametrize("name", MODELS)
def test_reading_on_from_a_state_is_reading_from_the_start(name):
    model, ids = PRECISE[name], torch.randint(1, VOCABULARY, (3, 9), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = model(ids)
        first = model(ids[:, :4])
        second = model(ids[:, 4:], state=first.state)
        mask = torch.ones_like(ids)
        mask[:, 4] = 0
        padded = model(ids[:, 4:], state=first.state, attention_mask=mask)  # as wide as the whole text
        skipped = model(ids[:, 5:], state=first.state)
    torch.testing.assert_close(torch.cat([first.logits, second.logits], 1), whole.logits)
    torch.testing.assert_close(second.state, whole.state)
    torch.testing.assert_close(padded.state, skipped.state)
    assert not torch.allclose(padded.state[0], whole.state[0], atol=1e-3)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "way",
    [{"do_sample": False}, {"do_sample": True}, {"num_beams": 4, "num_return_sequences": 4, "do_sample": False}],
    ids=["greedy", "sampled", "beams"],
)
def test_generating_with_a_state_is_generating_without(name, way):
    way = {"max_new_tokens": 8, "eos_token_id": None, "return_dict_in_generate": True, "output_logits": True, **way}
    answers = []
    for use_cache in (True, False):
        torch.manual_seed(0)
        answers.append(PRECISE[name].generate(PROMPT, use_cache=use_cache, **way))
    assert torch.equal(answers[0].sequences, answers[1].sequences)
    torch.testing.assert_close(answers[0].logits, answers[1].logits, atol=1e-5, rtol=0)
    assert answers[0].sequences.shape == (2 * way.get("num_return_sequences", 1), 12)


def test_beams_change_places():
    """Or the test above would hold with states that are never reordered."""
    found = MODELS["gru"].generate(
        PROMPT,
        num_beams=4,
        do_sample=False,
        max_new_tokens=8,
        eos_token_id=None,
        return_dict_in_generate=True,
        output_scores=True,
    )
    assert any(len(set(row.tolist())) > 1 for row in found.beam_indices)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_prompt_is_read_once(beams):
    model, seen = tiny(), []
    model.embedding.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    model.generate(PROMPT, max_new_tokens=5, num_beams=beams, do_sample=False, eos_token_id=None)
    assert seen == [(2 * beams, 4)] + [(2 * beams, 1)] * 4


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("way", [{}, {"num_beams": 3}, {"use_cache": False}], ids=str)
@pytest.mark.parametrize("side", ["left", "right"])
def test_prompts_with_padding_are_continued_as_alone(name, way, side):
    model, prompts = MODELS[name], [[1, 5, 9, 11, 30], [1, 8], [1]]
    padding = [[0] * (5 - len(prompt)) for prompt in prompts]
    pairs = zip(padding, prompts, strict=True)
    ids = torch.tensor([zeros + prompt if side == "left" else prompt + zeros for zeros, prompt in pairs])
    way = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, **way}
    together = model.generate(ids, attention_mask=(ids != 0).long(), **way)[:, 5:]
    alone = [model.generate(torch.tensor([prompt]), **way)[0, len(prompt) :] for prompt in prompts]
    assert torch.equal(together, torch.stack(alone))


def test_generation_goes_on_from_a_state_given():
    model = MODELS["lstm"]
    settings = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None}
    whole = model.generate(PROMPT, **settings)[:, 4:]
    state = model(PROMPT[:, :2]).state
    assert torch.equal(model.generate(PROMPT[:, 2:], state=state, **settings)[:, 2:], whole)


def test_a_prompt_may_be_embeddings_or_nothing():
    model = MODELS["gru"]
    settings = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None}
    from_ids = model.generate(PROMPT, **settings)[:, 4:]
    assert torch.equal(model.generate(inputs_embeds=model.embedding(PROMPT), **settings), from_ids)
    assert torch.equal(model.generate(**settings), model.generate(torch.tensor([[BEGIN]]), **settings))


def test_a_row_that_has_ended_is_padded():
    model = MODELS["gru"]
    settings = {"max_new_tokens": 6, "do_sample": False}
    free = model.generate(PROMPT, eos_token_id=None, **settings)[:, 4:].tolist()
    end = next(token for token in free[0] if token not in free[1])
    ended = model.generate(PROMPT, eos_token_id=end, **settings)[:, 4:].tolist()
    kept = free[0].index(end) + 1
    assert ended == [free[0][:kept] + [0] * (6 - kept), free[1]]


def test_labels_are_shifted_once_and_100_is_left_out():
    model = MODELS["gru"]
    labels = PROMPT.clone()
    labels[0, 1] = -100
    answer = model(PROMPT, labels=labels)
    picked = answer.logits[:, :-1].log_softmax(-1).gather(2, PROMPT[:, 1:, None])[..., 0]
    expected = -(picked.sum() - picked[0, 0])
    torch.testing.assert_close(answer.loss, expected / 5)
    torch.testing.assert_close(model(PROMPT, labels=labels, num_items_in_batch=10).loss, expected / 10)
    assert model(PROMPT).loss is None
    loss, logits = model(PROMPT, labels=labels, use_cache=False, return_dict=False)
    torch.testing.assert_close((loss, logits), (answer.loss, answer.logits))


def test_only_the_logits_asked_for():
    model = MODELS["gru"]
    whole = model(PROMPT).logits
    torch.testing.assert_close(model(PROMPT, logits_to_keep=1).logits, whole[:, -1:])
    torch.testing.assert_close(model(PROMPT, logits_to_keep=torch.tensor([2, 0])).logits, whole[:, [2, 0]])


@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_every_weight_and_the_embeddings_from_both_uses(name):
    model = tiny(**shape_of(MODELS[name])).train()
    model(PROMPT, labels=PROMPT).loss.backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in model.parameters())
    apart = RecurrentForCausalLM(
        RecurrentLanguageConfig.from_dict({**model.config.to_dict(), "tie_word_embeddings": False})
    )
    apart.load_state_dict({**model.state_dict(), "lm_head.weight": model.embedding.weight}, strict=False)
    apart.train()
    assert apart.lm_head.weight is not apart.embedding.weight
    for each in (model, apart):
        each.apply(lambda module: setattr(module, "p", 0.0) if isinstance(module, torch.nn.Dropout) else None)
        each.zero_grad()
        each(PROMPT, labels=PROMPT).loss.backward()
    assert apart.embedding.weight.grad.any()
    assert apart.lm_head.weight.grad.any()
    torch.testing.assert_close(model.embedding.weight.grad, apart.embedding.weight.grad + apart.lm_head.weight.grad)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_make_no_difference_to_the_values(cell):
    model = MODELS[cell]
    with torch.no_grad():
        without = model(PROMPT)
    torch.testing.assert_close(model(PROMPT).logits, without.logits)
    torch.testing.assert_close(model.train()(PROMPT, use_cache=True).state[0].shape, without.state[0].shape)
    assert model(PROMPT).state is None
    model.eval()


def test_dropout_works_while_training_only():
    model = tiny(dropout=0.5).train()
    assert not torch.equal(model(PROMPT).logits, model(PROMPT).logits)
    model.eval()
    assert torch.equal(model(PROMPT).logits, model(PROMPT).logits)


@pytest.mark.parametrize("cell", CELLS)
def test_it_learns(cell):
    model = tiny(cell=cell, embedding_size=16, hidden_size=24, embedding_std=0.02, dropout=0.0).train()
    ids = torch.randint(3, VOCABULARY, (4, 24), generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(100):
        loss = model(ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2  # it must remember the row: a token is followed by others elsewhere


@pytest.mark.parametrize("name", MODELS)
def test_saving_and_loading_changes_nothing(name, tmp_path):
    model = MODELS[name]
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert {"embedding.weight", "lm_head.weight"} & set(file.keys()) == {"embedding.weight"}
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is RecurrentForCausalLM
    assert not loaded.training
    assert loaded.lm_head.weight is loaded.embedding.weight
    assert torch.equal(loaded(PROMPT).logits, model(PROMPT).logits)
    ids = loaded.generation_config
    assert (ids.bos_token_id, ids.eos_token_id, ids.pad_token_id) == (BEGIN, END, 0)
    fresh = AutoModelForCausalLM.from_config(loaded.config)
    assert type(fresh) is RecurrentForCausalLM
    assert fresh.num_parameters() == model.num_parameters()


def test_two_matrices_are_saved_where_they_are_not_one(tmp_path):
    model = tiny(tie_word_embeddings=False)
    assert model.lm_head.weight is not model.embedding.weight
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert not torch.equal(loaded.lm_head.weight, loaded.embedding.weight)
    assert torch.equal(loaded(PROMPT).logits, model(PROMPT).logits)


def test_the_vocabulary_can_grow():
    model = tiny()
    before = model(PROMPT).logits
    model.resize_token_embeddings(VOCABULARY + 8, mean_resizing=False)
    assert model.config.vocab_size == VOCABULARY + 8
    assert model.lm_head.weight is model.embedding.weight
    torch.testing.assert_close(model(PROMPT).logits[..., :VOCABULARY], before)


@pytest.mark.parametrize("cell", CELLS)
def test_built_for_a_tokenizer(cell, teacher):
    settings = {"tokenizer": teacher.tokenizer, "cell": cell, "hidden_size": 8, "layers": 2, "dropout": 0.1}
    before = torch.get_rng_state()
    first, again, other = (build_language_rnn(**settings, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert first.training
    assert first.reads_one_document_a_row
    assert first.config.vocab_size == len(teacher.tokenizer)
    assert first.config.embedding_size == 8
    assert first.projection is None
    ids = first.generation_config
    end = teacher.tokenizer.eos_token_id
    assert (ids.bos_token_id, ids.eos_token_id, ids.pad_token_id) == (teacher.tokenizer.bos_token_id, end, end)
    weights = [dict(model.named_parameters()) for model in (first, again, other)]
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())
    assert not torch.equal(weights[0]["embedding.weight"], weights[2]["embedding.weight"])
    assert build_language_rnn(**settings, embedding_size=4).projection.weight.shape == (4, 8)


def test_without_a_begin_token_texts_begin_with_the_end_token():
    class Tokenizer:
        bos_token_id, eos_token_id, pad_token_id = None, 5, 7

        def __len__(self):
            return 9

    ids = build_language_rnn(tokenizer=Tokenizer(), hidden_size=4).generation_config
    assert (ids.bos_token_id, ids.eos_token_id, ids.pad_token_id) == (5, 5, 7)


def test_the_first_weights_are_as_promised():
    model = tiny(cell="lstm", embedding_std=0.02, embedding_size=64, layers=1)
    cell = model.layers[0].cell
    torch.testing.assert_close(cell.weight_hh_l0[:5] @ cell.weight_hh_l0[:5].T, torch.eye(5), atol=1e-5, rtol=0)
    assert cell.bias_ih_l0.tolist() == [0.0] * 5 + [1.0] * 5 + [0.0] * 10
    assert model.embedding.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert model(PROMPT).logits.std().item() == pytest.approx(0.16, rel=0.3)  # 0.02 times the root of 64


EMPTY = torch.zeros(2, 0, dtype=torch.long)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"input_ids": EMPTY}, "holds no token: give at least one"),
        ({}, "neither input_ids nor inputs_embeds"),
        ({"input_ids": PROMPT, "past_key_values": object()}, "a cache was given.*pass the state"),
        ({"input_ids": PROMPT, "labels": PROMPT, "logits_to_keep": 1}, "leave logits_to_keep at 0"),
    ],
)
def test_inputs_that_cannot_be_read_are_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        MODELS["gru"](**inputs)


def test_no_hidden_states_of_nothing():
    with pytest.raises(ValueError, match="holds no token"):
        MODELS["gru"].hidden_states(EMPTY)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cell": "rnn"}, "cell is 'rnn': expected one of gru, lstm"),
        ({"layers": 0}, "layers is 0"),
        ({"embedding_size": 0}, "embedding_size is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_wrong_shapes_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        RecurrentLanguageConfig(**wrong)
