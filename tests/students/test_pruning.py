import math
from types import SimpleNamespace

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)

from tutelage.errors import ModelError
from tutelage.models import load_language_student
from tutelage.students.language.pruned import Pruned
from tutelage.students.language.student import language_parameters
from tutelage.students.pruning.importance import measure_importance
from tutelage.students.pruning.plan import plan_pruning
from tutelage.students.pruning.pruning import prune

SIZES = {
    "vocab_size": 90,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CONFIGS = {
    "llama": LlamaConfig(**SIZES, tie_word_embeddings=True, attention_bias=True, mlp_bias=True),
    "untied": LlamaConfig(**SIZES, tie_word_embeddings=False),
    "mistral": MistralConfig(**SIZES, sliding_window=4),
    "qwen2": Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=4, max_window_layers=3),
    "qwen3": Qwen3Config(**SIZES, head_dim=12, tie_word_embeddings=True),
    "smollm3": SmolLM3Config(**SIZES, no_rope_layer_interval=2),
    "granite": GraniteConfig(
        **SIZES, logits_scaling=3.0, residual_multiplier=0.5, embedding_multiplier=4.0
    ),
    "gemma2": Gemma2Config(**SIZES, head_dim=8, sliding_window=4),
    "gemma3_text": Gemma3TextConfig(**SIZES, head_dim=8, sliding_window=4),
}


def build(config):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for name, weight in model.named_parameters():  # norms and biases are all alike at first
            if weight.ndim == 1:
                torch.nn.init.normal_(
                    weight,
                    mean=0.0 if "bias" in name or "gemma" in config.model_type else 1.0,
                    std=0.3,
                )
    return model.eval()


@pytest.fixture(scope="module", params=list(CONFIGS))
def large(request):
    return build(CONFIGS[request.param])


@pytest.fixture(scope="module")
def llama():
    return build(CONFIGS["llama"])


@pytest.fixture(scope="module")
def ids():
    return torch.randint(3, 90, (2, 12), generator=torch.Generator().manual_seed(1))


def logits(model, ids):
    with torch.inference_mode():
        return model.eval()(input_ids=ids).logits


def test_with_nothing_left_out_it_is_the_same(large, ids):
    full = {"layers": 5, "heads": 4, "intermediate_size": 40, "hidden_size": 32}
    for sizes in ({}, full):
        same = prune(large, **sizes)
        assert type(same) is type(large)
        assert torch.equal(logits(same, ids), logits(large, ids))
        assert same.state_dict().keys() == large.state_dict().keys()


def test_pruned_everywhere_it_saves_loads_and_generates(large, ids, tmp_path):
    before = {name: weight.clone() for name, weight in large.state_dict().items()}
    width = None if "gemma" in large.config.model_type else 24
    sizes = {"layers": 3, "heads": 2, "intermediate_size": 24, "hidden_size": width}
    small = prune(large, **sizes, choice="influence", calibration=[ids])
    assert small.training
    assert type(small) is type(large)
    assert all(torch.equal(weight, before[name]) for name, weight in large.state_dict().items())
    config = small.config
    assert (config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads) == (
        3,
        2,
        2,
    )
    assert (config.intermediate_size, config.hidden_size, config.vocab_size) == (
        24,
        width or 32,
        90,
    )
    assert small.model.layers[0].self_attn.head_dim == large.model.layers[0].self_attn.head_dim
    assert len(getattr(config, "layer_types", None) or [0] * 3) == 3
    tied = large.config.tie_word_embeddings
    assert (small.lm_head.weight is small.model.embed_tokens.weight) == tied
    parameters = sum(weight.numel() for weight in small.parameters())
    assert parameters == language_parameters(Pruned(**sizes), large.config)

    small.save_pretrained(tmp_path)
    loaded = load_language_student(tmp_path)
    assert type(loaded) is type(large)
    assert torch.equal(logits(loaded, ids), logits(small, ids))
    # One layer that writes where another one reads would change what the cache gives.
    settings = {
        "attention_mask": torch.ones_like(ids),
        "max_new_tokens": 6,
        "do_sample": False,
        "pad_token_id": 0,
    }
    cached = loaded.generate(ids, **settings)
    assert torch.equal(cached, loaded.generate(ids, use_cache=False, **settings))


def test_layers_that_stay_keep_their_weights_and_their_kind_of_attention():
    model = build(CONFIGS["qwen2"])
    small = prune(model, layers=3)
    assert [layer.self_attn.layer_idx for layer in small.model.layers] == [0, 1, 2]
    assert model.config.layer_types == ["full_attention"] * 3 + ["sliding_attention"] * 2
    assert small.config.layer_types == ["full_attention", "full_attention", "sliding_attention"]
    for new, old in enumerate((0, 2, 4)):
        theirs = model.model.layers[old].state_dict()
        assert all(
            torch.equal(weight, theirs[name])
            for name, weight in small.model.layers[new].state_dict().items()
        )


def test_layers_without_rotary_positions_stay_so():
    small = prune(build(CONFIGS["smollm3"]), layers=2)
    assert small.config.no_rope_layers == [1, 1]
    assert [layer.self_attn.use_rope for layer in small.model.layers] == [1, 1]


def test_a_layer_without_influence_goes_first(llama, ids):
    model = prune(llama)
    for idle in (2, 3):
        for projection in (
            model.model.layers[idle].self_attn.o_proj,
            model.model.layers[idle].mlp.down_proj,
        ):
            torch.nn.init.zeros_(projection.weight)
            torch.nn.init.zeros_(projection.bias)
    importance = measure_importance(model, [ids])
    assert importance.layers[[2, 3]].abs().max() < 1e-6 < importance.layers[[0, 1, 4]].min()
    small = prune(model, layers=3, choice="influence", calibration=[ids])
    torch.testing.assert_close(logits(small, ids), logits(model, ids))


def test_idle_parts_go_first(llama, ids):
    """Parts that add nothing are found and taken out, and the rest computes what it did before."""
    model = prune(llama)
    idle_dimensions, idle_channels, idle_head = (
        [3, 17, 20, 31],
        [0, 5, 39],
        1,
    )  # head 1 of each group of two
    with torch.no_grad():
        for layer in model.model.layers:
            for group in range(2):
                head = 2 * group + idle_head
                layer.self_attn.o_proj.weight[:, 8 * head : 8 * head + 8] = 0
            layer.mlp.down_proj.weight[:, idle_channels] = 0
            layer.mlp.gate_proj.weight[idle_channels] = 0
            layer.mlp.gate_proj.bias[idle_channels] = 0
            for norm in (layer.input_layernorm, layer.post_attention_layernorm):
                norm.weight[idle_dimensions] = 0
        model.model.norm.weight[idle_dimensions] = 0
    expected = logits(model, ids)
    narrow = prune(model, heads=2, intermediate_size=37, calibration=[ids])
    torch.testing.assert_close(logits(narrow, ids), expected)
    importance = measure_importance(model, [ids])
    assert (
        importance.hidden[:, idle_dimensions].max() == 0 < importance.hidden.sum(0).sort().values[4]
    )
    small = prune(model, hidden_size=28, calibration=[ids])
    kept = [index for index in range(32) if index not in idle_dimensions]
    assert torch.equal(small.model.embed_tokens.weight, model.model.embed_tokens.weight[:, kept])
    assert torch.equal(
        small.model.layers[1].mlp.down_proj.weight, model.model.layers[1].mlp.down_proj.weight[kept]
    )


def test_importance_is_what_its_definition_says(llama, ids):
    found = {}
    layer = llama.model.layers[1]
    handles = [
        layer.register_forward_hook(
            lambda _m, inputs, output: found.update(before=inputs[0], after=output)
        ),
        layer.self_attn.o_proj.register_forward_pre_hook(
            lambda _m, inputs: found.update(heads=inputs[0])
        ),
        layer.mlp.down_proj.register_forward_pre_hook(
            lambda _m, inputs: found.update(channels=inputs[0])
        ),
    ]
    with torch.no_grad():
        llama(input_ids=ids)
    for handle in handles:
        handle.remove()
    importance = measure_importance(llama, [ids[:1], ids[1:]])
    cosine = torch.cosine_similarity(found["before"], found["after"], dim=-1).mean()
    assert math.isclose(float(importance.layers[1]), 1 - float(cosine), abs_tol=1e-6)
    channels = found["channels"].abs().mean(1).square().sum(0).sqrt()
    torch.testing.assert_close(importance.channels[1].float(), channels)
    weight = layer.self_attn.o_proj.weight.detach()
    for head in range(4):
        part = slice(8 * head, 8 * head + 8)
        added = (found["heads"][..., part] @ weight[:, part].T).norm(dim=-1)
        size = added.mean(1).square().sum().sqrt()
        assert math.isclose(float(importance.heads[1, head]), float(size), rel_tol=1e-4)


def test_measuring_leaves_the_model_as_it_was(llama, ids):
    llama.train()
    measure_importance(llama, [ids])
    assert llama.training
    llama.eval()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in llama.modules())


def test_whole_groups_are_dropped_where_heads_do_not_divide():
    config = LlamaConfig(
        **{**SIZES, "num_attention_heads": 8, "num_key_value_heads": 4, "hidden_size": 48},
        head_dim=6,
    )
    model = build(config)
    ids = torch.arange(3, 30)[None]
    with torch.no_grad():
        model.model.layers[2].self_attn.o_proj.weight[:, :12] = (
            0  # the first group of the third layer
        )
    small = prune(model, heads=6, calibration=[ids])
    assert small.config.num_key_value_heads == 3
    keys, old = (
        small.model.layers[2].self_attn.k_proj.weight,
        model.model.layers[2].self_attn.k_proj.weight,
    )
    assert torch.equal(keys, old[6:])


def test_what_does_not_fit_is_refused_all_at_once(llama, ids):
    with pytest.raises(
        ValueError, match=r"layers is 6: a pruned model keeps 1 to 5.*; heads is 0: .* 1 to 4"
    ):
        prune(llama, layers=6, heads=0)
    with pytest.raises(
        ValueError,
        match=r"heads is 3: the 4 heads share 2 keys and values.*so 1, 2, 4 can be kept$",
    ):
        prune(llama, heads=3, calibration=[ids])
    with pytest.raises(
        ValueError, match=r"hidden_size 30 does not divide into 4 heads.*take hidden_size 28"
    ):
        prune(llama, hidden_size=30, calibration=[ids])
    with pytest.raises(ValueError, match="choice is 'best': expected one of even, influence"):
        prune(llama, layers=2, choice="best")
    with pytest.raises(
        ValueError, match=r"no calibration text.*hidden_size, heads ranks parts.*pass token ids"
    ):
        prune(llama, hidden_size=28, heads=2)
    with pytest.raises(ValueError, match=r"no calibration text.*choice: influence"):
        prune(llama, layers=2, choice="influence")
    with pytest.raises(ValueError, match="calibration text is empty"):
        prune(llama, heads=2, calibration=[ids[:, :0]])
    with pytest.raises(ValueError, match=r"holds the id 90, the model has ids 0 to 89: encode it"):
        prune(llama, heads=2, calibration=[ids, torch.tensor([[90]])])


def test_other_families_are_refused_by_name():
    other = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=2, n_head=2))
    with pytest.raises(
        ModelError, match=r"type gpt2 cannot be pruned, only llama, .*kind: transformer"
    ):
        prune(other, layers=1)
    with pytest.raises(
        ValueError, match=r"hidden_size is 16: models of type gemma2 multiply embeddings.*stay 32"
    ):
        plan_pruning(CONFIGS["gemma2"], hidden_size=16)


def test_unknown_weights_are_refused(llama):
    model = prune(llama)
    model.model.layers[0].mlp.gate = torch.nn.Linear(4, 4)
    with pytest.raises(
        ModelError, match=r"LlamaForCausalLM has weights model.layers.0.mlp.gate.weight.*fresh"
    ):
        prune(model, layers=2)


def test_what_holds_a_model_is_taken_too_and_lower_precision_is_raised(llama, ids):
    low = LlamaForCausalLM(llama.config).to(torch.bfloat16)
    low.generation_config.max_new_tokens = 7
    small = prune(SimpleNamespace(model=low, tokenizer=None), layers=2)
    assert {weight.dtype for weight in small.parameters()} == {torch.float32}
    assert small.config.dtype == torch.float32
    assert torch.equal(small.model.norm.weight, low.model.norm.weight.float())
    assert small.generation_config.max_new_tokens == 7
    assert small.config._attn_implementation == llama.config._attn_implementation


def test_the_random_state_is_left_alone(llama):
    before = torch.random.get_rng_state()
    prune(llama, layers=2)
    assert torch.equal(torch.random.get_rng_state(), before)
