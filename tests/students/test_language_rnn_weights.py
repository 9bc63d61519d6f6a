"""The weights of recurrent language models: first values, gradients, learning, saving, and a
growing vocabulary."""

import pytest
import torch
from safetensors import safe_open
from tests.students.tiny_language_rnn import BEGIN, END, MODELS, PROMPT, VOCABULARY, shape_of, tiny
from transformers import AutoModelForCausalLM

import tutelage
from tutelage.models.output import TellsStates
from tutelage.students import RecurrentForCausalLM, RecurrentLanguageConfig, build_language_rnn
from tutelage.students.language.specs import LanguageRNN

tutelage.register()
CELLS = ["gru", "lstm"]


@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_every_weight_and_the_embeddings_from_both_uses(name):
    model = tiny(**shape_of(MODELS[name])).train()
    model(PROMPT, labels=PROMPT).loss.backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in model.parameters())
    apart = RecurrentForCausalLM(
        RecurrentLanguageConfig.from_dict({**model.config.to_dict(), "tie_word_embeddings": False})
    )
    apart.load_state_dict(
        {**model.state_dict(), "lm_head.weight": model.embedding.weight}, strict=False
    )
    apart.train()
    assert apart.lm_head.weight is not apart.embedding.weight
    for each in (model, apart):
        each.apply(
            lambda module: (
                setattr(module, "p", 0.0) if isinstance(module, torch.nn.Dropout) else None
            )
        )
        each.zero_grad()
        each(PROMPT, labels=PROMPT).loss.backward()
    assert apart.embedding.weight.grad.any()
    assert apart.lm_head.weight.grad.any()
    torch.testing.assert_close(
        model.embedding.weight.grad, apart.embedding.weight.grad + apart.lm_head.weight.grad
    )


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_make_no_difference_to_the_values(cell):
    model = MODELS[cell]
    with torch.no_grad():
        without = model(PROMPT)
    torch.testing.assert_close(model(PROMPT).logits, without.logits)
    torch.testing.assert_close(
        model.train()(PROMPT, use_cache=True).state[0].shape, without.state[0].shape
    )
    assert model(PROMPT).state is None
    model.eval()


def test_dropout_works_while_training_only():
    model = tiny(dropout=0.5).train()
    assert not torch.equal(model(PROMPT).logits, model(PROMPT).logits)
    model.eval()
    assert torch.equal(model(PROMPT).logits, model(PROMPT).logits)


@pytest.mark.parametrize("cell", CELLS)
def test_it_learns(cell):
    model = tiny(
        cell=cell, embedding_size=16, hidden_size=24, embedding_std=0.02, dropout=0.0
    ).train()
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
    settings = {
        "cell": cell,
        "hidden_size": 8,
        "layers": 2,
        "dropout": 0.1,
    }
    before = torch.get_rng_state()
    first, again, other = (
        build_language_rnn(LanguageRNN(**settings), teacher.tokenizer, seed=seed)
        for seed in (0, 0, 1)
    )
    assert torch.equal(before, torch.get_rng_state())
    assert first.training
    assert isinstance(first, TellsStates)
    assert first.config.vocab_size == len(teacher.tokenizer)
    assert first.config.embedding_size == 8
    assert first.projection is None
    ids = first.generation_config
    end = teacher.tokenizer.eos_token_id
    assert (ids.bos_token_id, ids.eos_token_id, ids.pad_token_id) == (
        teacher.tokenizer.bos_token_id,
        end,
        end,
    )
    weights = [dict(model.named_parameters()) for model in (first, again, other)]
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())
    assert not torch.equal(weights[0]["embedding.weight"], weights[2]["embedding.weight"])
    narrow = LanguageRNN(**settings, embedding_size=4)
    assert build_language_rnn(narrow, teacher.tokenizer).projection.weight.shape == (4, 8)


def test_without_a_begin_token_texts_begin_with_the_end_token():
    class Tokenizer:
        bos_token_id, eos_token_id, pad_token_id = None, 5, 7

        def __len__(self):
            return 9

    ids = build_language_rnn(LanguageRNN(hidden_size=4), Tokenizer()).generation_config
    assert (ids.bos_token_id, ids.eos_token_id, ids.pad_token_id) == (5, 5, 7)


def test_the_first_weights_are_as_promised():
    model = tiny(cell="lstm", embedding_std=0.02, embedding_size=64, layers=1)
    cell = model.layers[0].cell
    torch.testing.assert_close(
        cell.weight_hh_l0[:5] @ cell.weight_hh_l0[:5].T, torch.eye(5), atol=1e-5, rtol=0
    )
    assert cell.bias_ih_l0.tolist() == [0.0] * 5 + [1.0] * 5 + [0.0] * 10
    assert model.embedding.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert model(PROMPT).logits.std().item() == pytest.approx(
        0.16, rel=0.3
    )  # 0.02 times the root of 64


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
