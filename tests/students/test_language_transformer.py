import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from tutelage.students.language.specs import LanguageTransformer
from tutelage.students.language.transformer import (
    build_language_transformer,
    language_transformer_config,
)
from tutelage.students.saving import save_model


def build(teacher, **more):
    settings = {key: more.pop(key) for key in ("seed", "tie") if key in more}
    student = LanguageTransformer(**{"layers": 2, "hidden_size": 32, **more})
    return build_language_transformer(student, teacher.tokenizer, sequence_length=64, **settings)


def test_it_is_a_stock_llama_over_the_teachers_tokens(teacher, tmp_path):
    model = build(teacher, heads=4, kv_heads=2)
    assert type(model) is LlamaForCausalLM
    assert model.training
    assert model.config.vocab_size == len(teacher.tokenizer)
    assert (model.config.bos_token_id, model.config.eos_token_id) == (1, 0)
    assert model.generation_config.eos_token_id == 0
    assert model.config.max_position_embeddings == 64
    assert model.lm_head.weight is model.model.embed_tokens.weight
    save_model(model, teacher.tokenizer, tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = AutoTokenizer.from_pretrained(tmp_path)("a good film", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        assert torch.equal(loaded(input_ids=ids).logits, model.eval()(input_ids=ids).logits)


def test_the_seed_alone_decides_the_weights(teacher):
    before = torch.random.get_rng_state()
    first, again, other = build(teacher, seed=1), build(teacher, seed=1), build(teacher, seed=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    weights = dict(again.named_parameters())
    assert all(torch.equal(weight, weights[name]) for name, weight in first.named_parameters())
    assert not torch.equal(first.model.embed_tokens.weight, other.model.embed_tokens.weight)


def test_untied(teacher):
    model = build(teacher, tie=False)
    assert model.lm_head.weight is not model.model.embed_tokens.weight


@pytest.mark.parametrize(
    ("width", "heads", "channels"),
    [(384, 6, 1024), (576, 9, 1536), (256, 4, 704), (100, 2, 288), (32, 1, 96)],
)
def test_default_sizes(width, heads, channels):
    config = language_transformer_config(LanguageTransformer(hidden_size=width), 50)
    assert (config.num_attention_heads, config.num_key_value_heads, config.intermediate_size) == (
        heads,
        heads,
        channels,
    )


def test_sizes_that_do_not_divide_are_refused(teacher):
    with pytest.raises(ValueError, match="hidden_size 32 does not divide into 5 heads"):
        build(teacher, heads=5)
    with pytest.raises(
        ValueError, match="hidden_size 32 does not divide into 32 heads of an even width"
    ):
        build(teacher, heads=32)
    with pytest.raises(ValueError, match="4 heads cannot share 3 kv_heads evenly"):
        build(teacher, heads=4, kv_heads=3)
