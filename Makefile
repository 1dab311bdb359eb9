# Two commands do everything on a machine that has Python 3.11+ and make:
#   make demo    the first result, from nothing to out/report.html
#   make test    lint, types, tests
#   make check   lint, types and the quick tests, in a minute
#   make setup   the environment alone, in .venv
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Tiny models run slower on many threads; workers are processes here.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false
export HF_HUB_DISABLE_TELEMETRY ?= 1

.PHONY: setup demo test check lint types unit notebooks atlas mutation setup-verl test-verl test-trl-oldest \
  test-trl-suite clean help

help:
	@sed -n 's/^#   //p' Makefile

setup: $(STAMP)

# torch first: a looser requirement pulls gigabytes of CUDA packages where a CPU build is wanted.
$(STAMP): pyproject.toml constraints/main.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "diffsmooth needs Python 3.11 or newer; found: $$($(PYTHON) --version)"; exit 2; }
	@echo "Setting up $(VENV) (a few minutes, once)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints/main.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints/main.txt \
	  -e '.[verify,fast,trl,notebooks,judges,dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/diffsmooth demo --out out

test: lint types unit notebooks

# What touches no trainer, no simulation and no statement.
QUICK := tests/records tests/theory/test_*.py tests/test_*.py tests/llm/tasks/test_math*.py

check: lint types
	$(BIN)/pytest -q -n 2 --dist worksteal -m "not slow" $(QUICK)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

unit: $(STAMP)
	$(BIN)/pytest -q -n 2 --dist worksteal --durations=15

notebooks: $(STAMP)
	$(BIN)/pytest -q -n 2 --nbmake notebooks

atlas: $(STAMP)
	$(BIN)/diffsmooth atlas --out out/atlas

mutation: $(STAMP)
	$(BIN)/python benchmarks/mutation_theory.py --out out/mutation

# verl needs other versions of the same packages: an environment of its own.
VERL := .venv-verl
VERL_STAMP := $(VERL)/.installed

setup-verl: $(VERL_STAMP)

$(VERL_STAMP): pyproject.toml constraints/verl.txt
	@echo "Setting up $(VERL) (a few minutes, once)"
	$(PYTHON) -m venv $(VERL)
	$(VERL)/bin/pip install --quiet --disable-pip-version-check -c constraints/verl.txt torch==2.13.0
	$(VERL)/bin/pip install --quiet --disable-pip-version-check -c constraints/verl.txt \
	  -e '.[verl]' pytest hypothesis
	@touch $@

# Ray comes with verl: the sweep on a cluster is tested here too.
test-verl: $(VERL_STAMP)
	RAY_AUTH_MODE=disabled $(VERL)/bin/pytest -q tests/llm/verl -W default --durations=3
	RAY_AUTH_MODE=disabled $(VERL)/bin/pytest -q tests/sim/test_ray.py -W default

# The oldest TRL that the engine supports, over the packages of .venv.
OLDEST := .venv-trl-oldest
OLDEST_STAMP := $(OLDEST)/.installed

$(OLDEST_STAMP): $(STAMP)
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -c "import sysconfig, pathlib; \
	  pathlib.Path(sysconfig.get_path('purelib'), 'shared.pth').write_text( \
	    'import site; site.addsitedir(' + repr('$(abspath $(VENV))' + \
	    sysconfig.get_path('purelib').removeprefix('$(abspath $(OLDEST))')) + ')')"
	$(OLDEST)/bin/pip install --quiet --disable-pip-version-check --no-deps trl==0.29.0
	$(OLDEST)/bin/pip install --quiet --disable-pip-version-check requests
	@touch $@

test-trl-oldest: $(OLDEST_STAMP)
	$(OLDEST)/bin/python -c "import trl; assert trl.__version__ == '0.29.0', trl.__version__"
	$(OLDEST)/bin/python -m pytest -q tests/llm/test_trl.py tests/llm/test_trl_pieces.py \
	  tests/llm/test_trl_loss.py tests/llm/test_trl_ranks.py tests/llm/test_train_resume.py

# TRL's own GRPO tests, plain and smoothed with strength 0: TRL_TESTS=.../trl/tests names a copy.
test-trl-suite: $(STAMP)
	$(BIN)/python -m tests.llm.trl_suite.run

clean:
	rm -rf build dist out .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
