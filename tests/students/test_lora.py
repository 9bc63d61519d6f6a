import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tutelage.errors import ModelError
from tutelage.models import load_language_student
from tutelage.students.language.lora import add_lora, merge_lora

IDS = torch.arange(3, 15)[None]


@pytest.fixture
def model():
    config = LlamaConfig(
        vocab_size=60,
        hidden_size=32,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()


def logits(model):
    with torch.inference_mode():
        return model.eval()(input_ids=IDS).logits


def test_adapters_change_nothing_at_first_and_only_they_train(model):
    before = logits(model)
    state = torch.random.get_rng_state()
    wrapped = add_lora(model, rank=3, alpha=6)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert wrapped.training
    assert torch.equal(logits(wrapped), before)
    trained = {
        name.split(".lora_")[0].rsplit(".", 1)[-1]
        for name, w in wrapped.named_parameters()
        if w.requires_grad
    }
    assert trained == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert {w.shape[0] for name, w in wrapped.named_parameters() if "lora_A" in name} == {3}


def test_the_same_seed_gives_the_same_adapters(model):
    first = {
        n: w.clone()
        for n, w in add_lora(model, rank=2, alpha=4, seed=5).named_parameters()
        if "lora_A" in n
    }
    merged = merge_lora(add_lora(LlamaForCausalLM(model.config), rank=2))
    again = dict(add_lora(merged, rank=2, alpha=4, seed=5).named_parameters())
    other = dict(
        add_lora(LlamaForCausalLM(model.config), rank=2, alpha=4, seed=6).named_parameters()
    )
    assert first
    assert all(torch.equal(weight, again[name]) for name, weight in first.items())
    assert not any(torch.equal(weight, other[name]) for name, weight in first.items())


def test_merged_it_is_a_stock_model_that_computes_the_same(model, tmp_path):
    before = logits(model)
    embeddings = model.model.embed_tokens.weight.detach().clone()
    wrapped = add_lora(model, rank=2, alpha=4)
    optimizer = torch.optim.AdamW([w for w in wrapped.parameters() if w.requires_grad], lr=0.05)
    for _ in range(3):
        wrapped(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    trained = logits(wrapped)
    assert not torch.allclose(trained, before, atol=1e-3)
    merged = merge_lora(wrapped)
    assert type(merged) is LlamaForCausalLM
    torch.testing.assert_close(logits(merged), trained, atol=1e-5, rtol=1e-4)
    assert not any("lora" in name for name in merged.state_dict())
    assert all(weight.requires_grad for weight in merged.parameters())
    assert merged.lm_head.weight is merged.model.embed_tokens.weight
    assert torch.equal(merged.lm_head.weight, embeddings)
    merged.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("adapter*"))
    assert torch.equal(logits(load_language_student(tmp_path)), logits(merged))


def test_a_model_without_adapters_is_returned_as_it_is(model):
    assert merge_lora(model) is model


def test_recurrent_students_are_refused():
    class Recurrent:
        def hidden_states(self, input_ids):
            return input_ids

        def output_layer(self):
            return None

    with pytest.raises(
        ModelError, match=r"Recurrent keeps its weights in recurrent cells.*remove lora"
    ):
        add_lora(Recurrent(), rank=2, alpha=4)
