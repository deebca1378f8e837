# make demo: encrypted association on the example cohort.  make test: install everything, lint, type-check, test.
# PYTHON names the interpreter (3.11 or later), TORCH the torch that the MPC engine and the tests install,
# WORKERS how many processes run the tests, SECONDS how long `make fuzz` looks, KILLS how often `make test-long` kills a role.

SHELL := /bin/bash
PYTHON ?= python3
TORCH ?= torch==2.13.0
WORKERS ?= 2
SECONDS ?= 600
KILLS ?= 20
VENV := .venv
RUN := $(VENV)/bin/python
OUT := demo-out
COHORT := --bfile examples/cohort --pheno examples/cohort.pheno.tsv --covar examples/cohort.covar.tsv
PIP := $(RUN) -m pip --disable-pip-version-check --quiet

# Every process of a test would compile the package's sources again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo demo-mpc test test-long fuzz lint coverage docs bench bench-page bench-published bench-scale release clean check-prerequisites
help:
	@echo "make demo      encrypted association on the example cohort (no torch), table, plots and report in $(OUT)/"
	@echo "make demo-mpc  the same cohort by secret sharing between parties"
	@echo "make test      install every extra, ruff, mypy and the whole test suite"
	@echo "make test-long kill -9 of every role at random times, KILLS=20 each, and the same command again: hours"
	@echo "make fuzz      changed files, keys and messages for every parser, SECONDS=600 of them; what fails is kept in fuzz-out/; new examples for the property tests"
	@echo "make lint      ruff and mypy only"
	@echo "make coverage  the test suite again, measured: slower; fails below the floor in pyproject.toml"
	@echo "make docs      execute every example of the documentation and make its site, docs-out/index.html"
	@echo "make bench     benchmarks against peers, a table of ratios in bench-out/; make bench-page puts that run into the docs"
	@echo "make bench-published  the settings of published systems at their sizes, some minutes"
	@echo "make bench-scale  a million variants, many people, columns and sites: forty minutes, kept, and put into the docs"
	@echo "make release   wheel, sdist, a lock file with hashes, a bill of materials (CycloneDX) and pip-audit, in dist/; LOCK='--upgrade' for newer versions"
	@echo "make clean     remove $(VENV), $(OUT), bench-out, docs-out and caches"

check-prerequisites:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "securegen needs Python 3.11 or later as $(PYTHON) (another one: make PYTHON=python3.12 …)."; \
	    echo "On Debian or Ubuntu, as root: apt-get install -y make python3-venv"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make virtual environments. As root: apt-get install -y make python3-venv"; exit 1; }

$(VENV)/bin/python: | check-prerequisites
	$(PYTHON) -m venv $(VENV)

$(VENV)/core.stamp: pyproject.toml | $(VENV)/bin/python
	@echo "installing securegen into $(VENV) (about a minute)"
	$(PIP) install --editable '.[plot]'
	@touch $@

$(VENV)/kernels.stamp: $(VENV)/core.stamp $(wildcard securegen/kernels/*.py)
	@echo "compiling the kernels once (about a minute)"
	@find securegen -name '*.nb[ci]' -delete  # Numba watches a kernel's own file only, not what it is built from
	$(RUN) examples/compile_kernels.py
	@touch $@

# A pinned torch first: the version range of the extra could otherwise bring a build with gigabytes of GPU libraries.
$(VENV)/all.stamp: pyproject.toml | $(VENV)/bin/python
	@echo "installing securegen with every extra into $(VENV) (a few minutes)"
	$(PIP) install '$(TORCH)'
	$(PIP) install --editable '.[all]'
	@touch $(VENV)/core.stamp $@

demo: $(VENV)/kernels.stamp
	@mkdir -p $(OUT)
	$(RUN) -m securegen run-local gwas --engine ckks $(COHORT) --pheno-name QT --compare-plain --out $(OUT)/encrypted
	@echo "Manhattan and QQ plots, and a report with who learned what:"
	@$(RUN) -m securegen plot $(OUT)/encrypted --only manhattan --only qq
	@$(RUN) -m securegen report $(OUT)/encrypted

demo-mpc: $(VENV)/kernels.stamp
	@mkdir -p $(OUT)
	@echo "This needs no torch. Programs of CrypTen do: securegen[mpc] takes about 1 GB, several more with CUDA."
	@echo "Three sites, each a process; then two splits of one cohort over mutual TLS:"
	$(RUN) -m securegen run-local gwas --engine federated $(COHORT) --pheno-name QT --compare-plain --out $(OUT)/three-sites
	$(RUN) -m securegen run-local gwas --engine mpc --split vertical --threshold 1e-6 $(COHORT) --pheno-name QT --out $(OUT)/two-parties
	$(RUN) -m securegen run-local gwas --engine mpc --split outsourced $(COHORT) --pheno-name QT --compare-plain --out $(OUT)/two-servers

lint: $(VENV)/all.stamp
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# Checks and compilation have one process each: side by side.
test: $(VENV)/all.stamp
	@$(MAKE) --no-print-directory --output-sync=target -j 2 lint $(VENV)/kernels.stamp
	$(RUN) -m pytest -q -rfEs -n $(WORKERS) --dist loadfile --no-loadscope-reorder -p no:benchmark

# The shares run side by side; each prints its seed, which with --seed kills at the same times again.
test-long: $(VENV)/all.stamp $(VENV)/kernels.stamp
	@mkdir -p survival-out
	SECUREGEN_SLURM=1 $(RUN) -m pytest -q tests/test_slurm.py
	set -o pipefail; status=0; for i in $$(seq $(WORKERS)); do \
	  $(RUN) tests/survival --kills $(KILLS) --real --share $$i/$(WORKERS) > survival-out/share-$$i.jsonl & jobs="$$jobs $$!"; \
	done; for job in $$jobs; do wait $$job || status=1; done; tail -n 1 survival-out/share-*.jsonl; exit $$status

fuzz: $(VENV)/all.stamp $(VENV)/kernels.stamp
	$(RUN) tests/fuzz --seconds $(SECONDS) --keep fuzz-out
	$(RUN) -m pytest -q -p no:benchmark --hypothesis-profile long $$(grep -rl '^@given' tests)

coverage: $(VENV)/all.stamp $(VENV)/kernels.stamp
	$(RUN) -m coverage erase
	$(RUN) -m coverage run -m pytest -q
	$(RUN) -m coverage combine -q
	$(RUN) -m coverage report

docs: $(VENV)/all.stamp $(VENV)/kernels.stamp
	$(RUN) docs/notebooks/execute.py docs/notebooks/*.ipynb
	$(RUN) -m pytest -q tests/test_docs.py tests/test_notebooks.py tests/test_doctests.py
	$(RUN) -m sphinx -q -W --keep-going -E docs docs-out
	@echo "open docs-out/index.html"

bench: $(VENV)/all.stamp $(VENV)/kernels.stamp
	@mkdir -p bench-out
	$(RUN) -m pytest -q benchmarks --benchmark-json=bench-out/benchmarks.json
	$(RUN) benchmarks/table.py bench-out/benchmarks.json | tee bench-out/benchmarks.md
	@echo "to keep this run and put it into docs/explanation/benchmarks.md: make bench-page"

bench-page: | $(VENV)/bin/python
	$(RUN) benchmarks/page.py bench-out/benchmarks.json

bench-published: $(VENV)/all.stamp $(VENV)/kernels.stamp
	@mkdir -p bench-out
	$(RUN) benchmarks/published.py --out bench-out/published.json
	@echo "to keep this run: $(RUN) benchmarks/page.py bench-out/published.json"

# Each kind ends within its minutes, and what it measured is kept before the next begins.
bench-scale: $(VENV)/all.stamp $(VENV)/kernels.stamp
	$(RUN) benchmarks/scale/run.py grid --minutes 6
	$(RUN) benchmarks/scale/run.py columns --minutes 6
	$(RUN) benchmarks/scale/run.py sites --minutes 6
	$(RUN) benchmarks/scale/run.py people --minutes 6
	$(RUN) benchmarks/scale/run.py chromosomes --minutes 12
	$(RUN) benchmarks/page.py

release: | $(VENV)/bin/python
	$(PIP) install --editable '.[release]'
	$(RUN) release/release.py $(LOCK)

clean:
	rm -rf $(VENV) $(OUT) bench-out docs-out fuzz-out survival-out build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
	find securegen tests examples protocols benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
