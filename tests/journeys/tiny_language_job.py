"""A tiny language-model job: made-up documents in every form, and a random teacher with a chat
template.

Also a program that runs a recipe, kills it (SIGKILL) at random moments and starts it again:
`python -m tests.journeys.tiny_language_job RECIPE KILLS SEED`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tests.journeys.tiny_job import sentences

RECIPE = """\
name: tiny
task: {{kind: causal_lm, sequence_length: 96}}
data: {{train: train.jsonl, validation: validation.jsonl, test: test.jsonl{data}}}
teacher: {{kind: causal_lm, model: teacher}}
targets: {targets}
students:
{students}
objective: {objective}
train: {{epochs: 2, batch_tokens: 512, micro_batch_tokens: 256, learning_rate: 8e-3, checkpoint_every_steps: 3}}
evaluate: {{control: true, bootstrap_samples: 100, generation_prompts: 1, generation_tokens: 4}}
"""
FORMS = {
    "text": "",
    "pairs": ", prompt_field: question, response_field: answer",
    "messages": ", messages_field: messages",
}


def rows(form: str, count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of a form; only what must not be learned holds the letters zq."""
    found = []
    for text, label in sentences(count, seed=seed):
        match form:
            case "text":
                found.append({"text": text})
            case "pairs":
                found.append({"question": f"is this zq {text}", "answer": f"it is {label}"})
            case _:
                turns = [
                    ("user", f"is this zq {text}"),
                    ("assistant", "let me look"),
                    ("tool", f"zq {text[:9]}"),
                ]
                turns += [("assistant", f"it is {label}")]
                found.append(
                    {"messages": [{"role": role, "content": content} for role, content in turns]}
                )
    return found


def write_teacher(folder: Path, *, seed: int = 0, corpus: int = 1) -> Path:
    """A random Llama with a byte-pair tokenizer, ChatML, and rows of its matrix that no token
    has."""
    import torch
    from tests.data.tiny_tokenizer import CHAT_TEMPLATE
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    backend.train_from_iterator([text for text, _ in sentences(200, seed=corpus)], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=special[1], eos_token=special[2], pad_token=special[0]
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer) + 7, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=256, bos_token_id=1,
                eos_token_id=2, pad_token_id=0,
            )
        )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)  # far from uniform
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_language_job(
    folder: Path,
    teacher: Path,
    *,
    form: str = "text",
    targets: str = "{kind: sampled, threshold: 0.05}",
    students: str = "half: {kind: pruned, layers: 1}",
    objective: str = "{divergence: forward_kl}",
    count: int = 36,
) -> Path:
    """Write recipe.yaml and its data; the recipe's path."""
    everything = rows(form, count + 20)
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", everything[:count]), ("validation", everything[count : count + 8]),
                       ("test", everything[count + 8 :])):  # fmt: skip
        (folder / f"{name}.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in part), encoding="utf-8"
        )
    if not (folder / "teacher").exists():
        (folder / "teacher").symlink_to(teacher)
    text = RECIPE.format(
        data=FORMS[form], targets=targets, objective=objective,
        students="\n".join(f"  {line.strip()}" for line in students.strip().splitlines()),
    )  # fmt: skip
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    return folder / "recipe.yaml"


def in_float32(recipe: Path) -> Path:
    """Have the teacher compute in float32 on any machine; the recipe's path."""
    text = recipe.read_text(encoding="utf-8")
    old = "teacher: {kind: causal_lm, model: teacher}"
    assert old in text
    recipe.write_text(text.replace(old, f"{old[:-1]}, dtype: float32}}"), encoding="utf-8")
    return recipe


def run_until_trained(recipe: Path, out: Path) -> None:
    """Label and train on one thread."""
    import torch

    from tutelage.recipes.loading import load_recipe
    from tutelage.recipes.run import run as run_recipe

    torch.set_num_threads(1)
    loaded: Any = load_recipe(recipe)
    run_recipe(loaded, out=out, until="train")


def lines_there(out: Path) -> dict[str, int]:
    """How many lines each metrics.jsonl of a run has."""
    return {
        str(path.relative_to(out)): len(path.read_bytes().splitlines())
        for path in sorted(out.glob("*/*/metrics.jsonl"))
    }


def killed_after(seconds: float, recipe: Path, out: Path, *, lines: int | None = None) -> bool:
    """Run in a process of its own and kill it after so many seconds; whether it was still at work.

    With `lines` it is killed as soon as so many lines of metrics are there, so that how long it
    takes to start on this machine does not matter.
    """
    child = os.fork()
    if child == 0:
        run_until_trained(recipe, out)
        os._exit(0)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and (lines is None or sum(lines_there(out).values()) < lines):
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def main(recipe: Path, kills: int, seed: int) -> None:
    """Run undisturbed in `whole/run`; in `killed/run`, kill at random moments so many times, then
    let it finish."""
    import accelerate.tracking  # noqa: F401  once, here: what a fork need not do again
    import torch._dynamo  # which optimizers import
    import torch.utils.tensorboard  # noqa: F401
    import transformers.models.llama.modeling_llama  # noqa: F401

    import tutelage.tasks.language.job  # noqa: F401

    root = recipe.parent
    child = os.fork()
    if child == 0:
        started = time.monotonic()
        run_until_trained(recipe, root / "whole" / "run")
        (root / "seconds").write_text(str(time.monotonic() - started))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    seconds, moments = float((root / "seconds").read_text()), random.Random(seed)
    reached: list[dict[str, Any]] = []
    out = root / "killed" / "run"
    for kill in range(kills):
        if kill == 0:
            at_work = killed_after(moments.uniform(0.15, 0.6) * seconds, recipe, out)
        else:
            more = sum(lines_there(out).values()) + moments.randrange(1, 5)
            at_work = killed_after(5 * seconds, recipe, out, lines=more)
        if not at_work:
            break
        whole = (out / "targets" / "manifest.json").is_file()
        reached.append({"labelled": whole, "lines": lines_there(out)})
    run_until_trained(recipe, out)
    print(json.dumps(reached))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
