"""What recurrent language models compute: logits by their definition, padding, states, and
generation from them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.students.tiny_language_rnn import (
    BEGIN,
    MODELS,
    PRECISE,
    PROMPT,
    VOCABULARY,
    shape_of,
    tiny,
)


def reference(model, ids):
    """Logits of one row by the definition of the network, in float64 and one token at a time."""
    weights = {name: weight.detach().double().numpy() for name, weight in model.named_parameters()}

    def normalise(x, name):
        return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * weights[f"{name}.weight"] + weights[
            f"{name}.bias"
        ]

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def step(x, h, c, name):
        of = [
            weights[f"{name}.{part}_l0"]
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]
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
            h, c = step(
                normalise(x, f"layers.{index}.norm"), *states[index], f"layers.{index}.cell"
            )
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


@pytest.mark.parametrize("name", MODELS)
def test_hidden_states_times_the_output_matrix_are_the_logits(name):
    model = MODELS[name]
    hidden = model.hidden_states(PROMPT)
    output = model.output_layer()
    weight, bias, scale, cap = output.weight, output.bias, output.scale, output.cap
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
    """Every row gives what its tokens give alone, and a row without tokens leaves the state as it
    found it."""
    model = PRECISE[name]
    rows, columns = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 7))
    row = st.lists(st.booleans(), min_size=columns, max_size=columns)
    mask = torch.tensor(data.draw(st.lists(row, min_size=rows, max_size=rows)))
    ids = torch.randint(
        1, VOCABULARY, (rows, columns), generator=torch.Generator().manual_seed(len(mask))
    )
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
            torch.testing.assert_close(
                together.logits[index][tokens], alone.logits[0], atol=1e-12, rtol=0
            )
            places = (tokens.cumsum(0) - 1)[begun]  # padding has what the token before it has
            torch.testing.assert_close(
                together.logits[index][begun], alone.logits[0][places], atol=1e-12, rtol=0
            )
            torch.testing.assert_close(
                without.logits[index][tokens], alone.logits[0], atol=1e-12, rtol=0
            )
            torch.testing.assert_close(new, alone.state, atol=1e-12, rtol=0)
    assert without.state is None
    assert torch.isfinite(together.logits).all()


@pytest.mark.parametrize("name", MODELS)
def test_reading_on_from_a_state_is_reading_from_the_start(name):
    model, ids = (
        PRECISE[name],
        torch.randint(1, VOCABULARY, (3, 9), generator=torch.Generator().manual_seed(0)),
    )
    with torch.inference_mode():
        whole = model(ids)
        first = model(ids[:, :4])
        second = model(ids[:, 4:], state=first.state)
        mask = torch.ones_like(ids)
        mask[:, 4] = 0
        padded = model(
            ids[:, 4:], state=first.state, attention_mask=mask
        )  # as wide as the whole text
        skipped = model(ids[:, 5:], state=first.state)
    torch.testing.assert_close(torch.cat([first.logits, second.logits], 1), whole.logits)
    torch.testing.assert_close(second.state, whole.state)
    torch.testing.assert_close(padded.state, skipped.state)
    assert not torch.allclose(padded.state[0], whole.state[0], atol=1e-3)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "way",
    [
        {"do_sample": False},
        {"do_sample": True},
        {"num_beams": 4, "num_return_sequences": 4, "do_sample": False},
    ],
    ids=["greedy", "sampled", "beams"],
)
def test_generating_with_a_state_is_generating_without(name, way):
    way = {
        "max_new_tokens": 8,
        "eos_token_id": None,
        "return_dict_in_generate": True,
        "output_logits": True,
        **way,
    }
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
    ids = torch.tensor(
        [zeros + prompt if side == "left" else prompt + zeros for zeros, prompt in pairs]
    )
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
    assert torch.equal(
        model.generate(**settings), model.generate(torch.tensor([[BEGIN]]), **settings)
    )


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
    torch.testing.assert_close(
        model(PROMPT, labels=labels, num_items_in_batch=10).loss, expected / 10
    )
    assert model(PROMPT).loss is None
    loss, logits = model(PROMPT, labels=labels, use_cache=False, return_dict=False)
    torch.testing.assert_close((loss, logits), (answer.loss, answer.logits))


def test_only_the_logits_asked_for():
    model = MODELS["gru"]
    whole = model(PROMPT).logits
    torch.testing.assert_close(model(PROMPT, logits_to_keep=1).logits, whole[:, -1:])
    torch.testing.assert_close(
        model(PROMPT, logits_to_keep=torch.tensor([2, 0])).logits, whole[:, [2, 0]]
    )


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
