# `make demo` and `make test` are all a fresh machine needs: Python 3.11 or newer, make, and a network for the install.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: demo test check slow notebooks bench-ml100k bench-ml1m bench-beauty ablation-ml100k bench-index bench-serving bench-speed audit clean

demo: $(INSTALLED)
	$(BIN)/recsys demo --out runs/demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -q

audit: $(INSTALLED)  ## known vulnerabilities of what is installed; says so where nobody could be asked
	$(BIN)/python .ci/audit.py

check: $(INSTALLED)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

SLOW ?= tests
slow: $(INSTALLED)  ## the tests that take minutes
	$(BIN)/python -m pytest -q -m slow $(SLOW)

notebooks: $(INSTALLED)  ## execute the notebooks
	$(BIN)/python -m pytest -q --nbmake --nbmake-timeout=600 notebooks

bench-ml100k: $(INSTALLED) .venv-recommenders/installed  ## README's table: five seeds beside baselines and peers
	$(BIN)/python -m benchmarks.accuracy.run ml-100k

bench-ml1m: $(INSTALLED) .venv-recommenders/installed  ## the same on data/ml-1m, which has to be put there by hand
	$(BIN)/python -m benchmarks.accuracy.run ml-1m

bench-beauty: $(INSTALLED) .venv-recommenders/installed  ## the same on data/amazon-beauty, under two protocols
	$(BIN)/python -m benchmarks.accuracy.run amazon-beauty
	$(BIN)/python -m benchmarks.accuracy.run amazon-beauty-temporal

ablation-ml100k: $(INSTALLED)  ## README's ablation: one part left out at a time
	$(BIN)/python -m benchmarks.accuracy.run ml-100k --ablation

bench-index: $(INSTALLED) .venv-peers/installed  ## the index beside its peers, twenty minutes; needs runs/demo and a quiet machine
	$(BIN)/python -m benchmarks.index.run --bundle runs/demo --seconds 1 --out benchmarks/results/index-true
	$(BIN)/python -m benchmarks.index.run --bundle runs/demo --rows 1000000 --seconds 1 --out benchmarks/results/index-1m
	$(BIN)/python -m benchmarks.index.tables benchmarks/results/index-1m/index.json

bench-serving: $(INSTALLED)  ## the service under load, overload, swaps and kills; needs runs/demo and a quiet machine
	$(BIN)/python -m benchmarks.serving.run --bundle runs/demo --out benchmarks/results/serving.json
	$(BIN)/python -m benchmarks.serving.tables benchmarks/results/serving.json

bench-speed: $(INSTALLED) .venv-recommenders/installed  ## training speed and memory beside RecTools' SASRec
	$(BIN)/python -m benchmarks.peers.speed

.venv-recommenders/installed: benchmarks/peers/requirements.txt
	test -d .venv-recommenders || $(PYTHON) -m venv .venv-recommenders
	.venv-recommenders/bin/pip install -q --disable-pip-version-check -r $<
	touch $@

.venv-peers/installed: benchmarks/index/requirements-peers.txt
	test -d .venv-peers || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install -q --disable-pip-version-check -r $<
	touch $@

$(INSTALLED): pyproject.toml constraints.txt Makefile
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[cpu,milvus-lite,multilingual,offline,serve,tune,notebooks,dev]'
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache dist
