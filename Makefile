# Two commands from a fresh clone: `make demo` and `make test`. Each sets up what it needs.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
NEWEST ?= python3.13
SUITE := pytest -m "not slow" --numprocesses=2 --dist=loadfile

.PHONY: install demo quick-degradation test test-newest test-slow lint bench device soak docs

install: $(STAMP)

# constraints.txt holds the exact versions; pyproject.toml only what is needed.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

demo: install
	$(BIN)/python launch.py train --config=experiments/lenet5_digits.py --workdir=runs/demo

# A quarter of an hour on two cores, with CIFAR-10 in $$TFDS_DATA_DIR.
quick-degradation: install
	$(BIN)/python launch.py sweep --config=degradation:quick --workdir=runs/quick-degradation
	$(BIN)/python launch.py report runs/quick-degradation -o runs/quick-degradation/report.html

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/$(SUITE)

# Without constraints.txt: the newest jax and the newest of all else that it and Python allow. With
# jax's plugin for CUDA, a test compiles the training loop for an NVIDIA GPU, which need not be there.
test-newest:
	@$(NEWEST) -c 'import sys; sys.exit(sys.version_info < (3, 13))' 2>/dev/null || { \
	  echo "$(NEWEST) is not a Python 3.13 or later: make test-newest NEWEST=/path/to/python"; \
	  exit 1; }
	$(NEWEST) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --upgrade pip
	.venv-newest/bin/python -m pip install --quiet --upgrade --upgrade-strategy=eager --editable '.[dev,cuda13]'
	.venv-newest/bin/$(SUITE)

test-slow: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,prepare]'
	$(BIN)/pytest -m "slow or hypothesis" --hypothesis-profile=many --numprocesses=2 --dist=loadfile

# The pages of docs/ into site/; a link that leads nowhere is an error.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# An hour of faults at random, on Linux: SOAK="--minutes=5 --seed=3", or --help.
soak: install
	$(BIN)/python -m soak $(SOAK)

# Half an hour on two cores, with nothing else to do: results/benchmarks/ and docs/speed.md.
bench: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	$(BIN)/python benchmarks/train_step.py --write
	$(BIN)/python benchmarks/input.py --write
	$(BIN)/python benchmarks/start.py --write
	$(BIN)/python benchmarks/compile.py --write
	$(BIN)/python benchmarks/evaluate.py --write
	$(BIN)/python benchmarks/augment.py --write
	$(BIN)/python benchmarks/plan.py --write
	$(BIN)/python benchmarks/memory.py --write

# On one accelerator, beside PyTorch: half an hour, into results/benchmarks/ and docs/speed.md.
# It goes on where it was; the trainings as well: DEVICE="--stages=1,2,3,4 --minutes=240".
EXTRA ?= cuda13
DEVICE ?= --stages=1,3 --minutes=60
device: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,bench,$(EXTRA)]'
	$(BIN)/python benchmarks/device.py $(DEVICE) --write
