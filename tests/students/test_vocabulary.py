import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from tutelage.errors import ModelError
from tutelage.students.language.specs import LanguageRNN
from tutelage.students.saving import save_model
from tutelage.students.vocabulary.cutting import GONE, trim_vocabulary
from tutelage.students.vocabulary.training import train_tokenizer

TEXTS = st.lists(st.text("abcé 1.", max_size=30), min_size=1, max_size=6)
KINDS = ["bytes", "bytes, whole words first", "letters, else bytes"]
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>", "<|user|>"]


def corpus():
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(list("aaabbcé  1."), size=40)) for _ in range(200)]


def byte_level(*, whole_words: bool) -> Tokenizer:
    backend = Tokenizer(models.BPE(ignore_merges=whole_words))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(corpus(), trainer)
    return backend


def letters_else_bytes() -> Tokenizer:
    """As converted from sentencepiece: words joined by marks, bytes for letters that are not in the
    vocabulary."""
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Replace(" ", "▁")
    learner.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=120, show_progress=False))
    learned = json.loads(learner.to_str())["model"]
    names = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *learned["vocab"]]
    backend = Tokenizer(
        models.BPE(
            vocab={name: index for index, name in enumerate(names)},
            merges=[tuple(merge) for merge in learned["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    backend.add_special_tokens(SPECIAL)
    return backend


@pytest.fixture(scope="module", params=KINDS)
def language_model(request):
    backend = (
        letters_else_bytes()
        if request.param == KINDS[2]
        else byte_level(whole_words=request.param == KINDS[1])
    )
    backend.add_tokens([AddedToken("<tool>", normalized=False)])
    ids = [(name, backend.token_to_id(name)) for name in ("<s>", "</s>")]
    backend.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=ids
            ),
        ]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens=["<|user|>"],
        model_max_length=77,
        padding_side="left",
        chat_template="{% for m in messages %}<|user|>{{ m['content'] }}</s>{% endfor %}",
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 9,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|user|>")],
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config).eval()
    return SimpleNamespace(model=model, tokenizer=tokenizer)


def trim(language_model, corpus_texts, **more):
    ids = {index for row in language_model.tokenizer(corpus_texts)["input_ids"] for index in row}
    return trim_vocabulary(language_model.model, language_model.tokenizer, ids, **more)


def logits(model, ids):
    with torch.inference_mode():
        return model.eval()(input_ids=torch.as_tensor(ids)[None]).logits[0]


@settings(max_examples=30, deadline=None)
@given(texts=TEXTS, other=st.text("abcé 1.東🙂\x00<>|tol", max_size=20))
@example(texts=[""], other="1 b")  # a mark of spaces that nobody kept must not come back as bytes
def test_the_corpus_is_encoded_as_before_and_everything_else_is_spelled(
    language_model, texts, other
):
    old = language_model.tokenizer
    _, tokenizer, remap = trim(language_model, texts)
    for text in texts:
        assert tokenizer(text)["input_ids"] == remap[old(text)["input_ids"]].tolist()
    options = {"skip_special_tokens": True}
    assert tokenizer.decode(tokenizer(other)["input_ids"], **options) == old.decode(
        old(other)["input_ids"], **options
    )


@settings(max_examples=10, deadline=None)
@given(texts=TEXTS)
def test_logits_of_kept_tokens_do_not_change(language_model, texts):
    model, tokenizer, remap = trim(language_model, texts)
    assert model.config.vocab_size == len(tokenizer) == len(set(remap.tolist()) - {GONE})
    old = language_model.tokenizer(texts[0])["input_ids"]
    before = logits(language_model.model, old)[:, torch.from_numpy(np.flatnonzero(remap != GONE))]
    torch.testing.assert_close(logits(model, remap[old]), before, atol=1e-6, rtol=1e-5)


def test_the_table_names_the_same_tokens(language_model):
    model, tokenizer, remap = trim(language_model, ["ab ab ca", "1."])
    old = language_model.tokenizer
    assert remap.dtype == np.int64
    assert len(remap) == language_model.model.config.vocab_size
    assert (remap[len(old) :] == GONE).all()
    kept = np.flatnonzero(remap != GONE)
    assert remap[kept].tolist() == list(range(len(tokenizer)))
    assert tokenizer.convert_ids_to_tokens(remap[kept].tolist()) == old.convert_ids_to_tokens(
        kept.tolist()
    )
    assert len(tokenizer) < len(old) - 60
    weight = language_model.model.model.embed_tokens.weight
    assert torch.equal(model.model.embed_tokens.weight, weight[kept])
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.training


def test_special_tokens_and_settings_follow(language_model, tmp_path):
    model, tokenizer, remap = trim(language_model, ["ab ab ca", "ab<tool>ca"])
    old = language_model.tokenizer
    for name in ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id"):
        assert getattr(tokenizer, name) == remap[getattr(old, name)]
    assert tokenizer.extra_special_tokens == ["<|user|>"]
    assert (tokenizer.padding_side, tokenizer.model_max_length) == ("left", 77)
    user = int(remap[old.convert_tokens_to_ids("<|user|>")])
    for settings_of in (model.config, model.generation_config):
        assert settings_of.eos_token_id == [tokenizer.eos_token_id, user]
        assert settings_of.pad_token_id == tokenizer.pad_token_id
        assert settings_of.bos_token_id == tokenizer.bos_token_id
    chat = [{"role": "user", "content": "ab<tool>ca"}]
    rendered = old.apply_chat_template(chat, return_dict=False)
    tool = old.convert_tokens_to_ids("<tool>")
    assert tool in rendered
    assert remap[tool] != GONE
    assert tokenizer.apply_chat_template(chat, return_dict=False) == remap[rendered].tolist()

    save_model(model, tokenizer, tmp_path)
    loaded, again = (
        AutoTokenizer.from_pretrained(tmp_path),
        AutoModelForCausalLM.from_pretrained(tmp_path),
    )
    for text in ("ab ab ca", "ab<tool> é東\x00 ca</s>"):
        ids = tokenizer(text)["input_ids"]
        assert loaded(text)["input_ids"] == ids
        assert torch.equal(logits(again, ids), logits(model, ids))
    assert loaded.chat_template == old.chat_template
    assert again.generation_config.eos_token_id == [tokenizer.eos_token_id, user]


def test_the_large_ones_stay_as_they_were(language_model):
    state = language_model.tokenizer.backend_tokenizer.to_str()
    weight = language_model.model.model.embed_tokens.weight.detach().clone()
    trim(language_model, ["ab"])
    assert language_model.tokenizer.backend_tokenizer.to_str() == state
    assert torch.equal(language_model.model.model.embed_tokens.weight, weight)
    assert language_model.model.config.vocab_size == len(weight)


def test_texts_outside_of_the_kept_ids_are_found_out(language_model):
    trim(language_model, ["ab ab ca"], texts=["ab ab ca"])
    with pytest.raises(
        ModelError,
        match=r"encodes 'aaab.*' in another way: give the ids of all texts.*vocabulary: full",
    ):
        trim(language_model, ["c"], texts=["c", "aaabaab"])


def test_an_untied_output_matrix(language_model):
    config = LlamaConfig(**{**language_model.model.config.to_dict(), "tie_word_embeddings": False})
    untied = SimpleNamespace(
        model=LlamaForCausalLM(config).to(torch.bfloat16), tokenizer=language_model.tokenizer
    )
    model, _, remap = trim(untied, ["ab"])
    kept = np.flatnonzero(remap != GONE)
    assert torch.equal(model.lm_head.weight, untied.model.lm_head.weight[kept].float())
    assert torch.equal(
        model.model.embed_tokens.weight, untied.model.model.embed_tokens.weight[kept].float()
    )
    assert not torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)


def test_other_architectures_and_recurrent_students(language_model):
    from tutelage.students.language.rnn import build_language_rnn

    ids = language_model.tokenizer("ab ca")["input_ids"]
    gpt2 = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(language_model.tokenizer), n_embd=8, n_layer=1, n_head=2)
    )
    recurrent = build_language_rnn(LanguageRNN(hidden_size=8), language_model.tokenizer)
    for large in (gpt2.eval(), recurrent.eval()):
        small, _, remap = trim_vocabulary(large, language_model.tokenizer, ids)
        kept = torch.from_numpy(np.flatnonzero(remap != GONE))
        torch.testing.assert_close(
            logits(small, remap[ids]), logits(large, ids)[:, kept], atol=1e-6, rtol=1e-5
        )


def test_what_cannot_be_exact_is_refused(language_model):
    model, tokenizer = language_model.model, language_model.tokenizer
    with pytest.raises(
        ValueError, match=r"keep_ids holds 9999, but the tokenizer has the ids 0 to \d+: encode"
    ):
        trim_vocabulary(model, tokenizer, [1, 9999])
    small = LlamaForCausalLM(LlamaConfig(**{**model.config.to_dict(), "vocab_size": 50}))
    with pytest.raises(
        ModelError, match=r"has \d+ tokens, the model embeddings for 50 only: give the model's own"
    ):
        trim_vocabulary(small, tokenizer, [1])
    words = train_tokenizer(["good film"] * 2)
    with pytest.raises(
        ModelError, match=r"is a WordPiece tokenizer; expected byte-pair encoding.*vocabulary: full"
    ):
        trim_vocabulary(model, words, [1])
    with pytest.raises(
        ModelError, match=r"SimpleNamespace is not a fast tokenizer.*vocabulary: full"
    ):
        trim_vocabulary(model, SimpleNamespace(), [1])
    state = json.loads(tokenizer.backend_tokenizer.to_str())

    def changed(**entries):
        return SimpleNamespace(
            backend_tokenizer=SimpleNamespace(to_str=lambda: json.dumps({**state, **entries}))
        )

    with pytest.raises(ModelError, match="draws its merges by chance"):
        trim_vocabulary(model, changed(model={**state["model"], "dropout": 0.1}), [1])
    with pytest.raises(
        ModelError,
        match="is a BPE tokenizer; expected byte-pair encoding without marks inside words",
    ):
        trim_vocabulary(model, changed(model={**state["model"], "end_of_word_suffix": "</w>"}), [1])
    silent = {**state["model"], "byte_fallback": False}
    with pytest.raises(ModelError, match="does not spell unknown words in bytes"):
        trim_vocabulary(model, changed(model=silent, pre_tokenizer=None), [1])


def test_more_that_depends_on_the_vocabulary_is_refused(language_model):
    class Biased(LlamaForCausalLM):
        def __init__(self, config):
            super().__init__(config)
            self.extra = torch.nn.Parameter(torch.zeros(config.vocab_size))

    with pytest.raises(ModelError, match="Biased has more that depends on the vocabulary"):
        trim_vocabulary(Biased(language_model.model.config), language_model.tokenizer, [1])
