# make run [DATA=folder] [OUT=folder] [PRESET=embedded] [SET="a.b=value ..."]   the whole job
# make test                                                                      every check
# make check                                                                     those that need no training or server
# make gpu [GPU_PACK=folder] [GPU_OUT=folder] [GPU_SECONDS=520]                    a better base, on one GPU
# make wheel                                                                     the package as it is installed
# make bench [RUN=folder] [REPEATS=5]                                             our loops beside what people run, and the limits
# make lint | readmes | lock | upgrade | serve | stop | faults [FAULTS=200] [SEED=0] | clean
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

PRESET ?= embedded
PHANTOM_PAIRS ?= 240
PHANTOM := runs/phantom-$(PHANTOM_PAIRS)
DATA ?= $(PHANTOM)
OUT ?= runs/$(notdir $(patsubst %/,%,$(DATA)))-$(PRESET)
# The demonstration on drawn data takes a quarter of a real run's training, no domain stage, draws from text alone, and a
# benchmark of three minutes; SET="..." replaces this.
SET ?= $(if $(filter $(PHANTOM),$(DATA)),$(SHORTER))
SHORTER := adapt.steps=75 adapt.domain=never adapt.prior_share=0 synthesis.candidate_limit=2 synthesis.ways={"text":1} \
	benchmark.budget=3 benchmark.classifier.size=64 benchmark.classifier.probe=336 benchmark.segmenter.size=64
# Two at a time, whole files each and in the order of the folders, the longest of which is not the last.
PYTEST_ARGS ?= --numprocesses 2 --dist loadfile --no-loadscope-reorder
COMPILE := uv pip compile pyproject.toml --all-extras --generate-hashes --no-emit-index-url --no-header --universal --quiet
FAULTS ?= 200
SEED ?= 0
GPU_PYTHON ?= python3
GPU_PACK ?= .gpu
GPU_OUT ?= runs/gpu
GPU_WORK ?= runs/gpu-work
GPU_SECONDS ?= 520
GPU_MORE ?=
REPEATS ?= 5

export PYTHONDONTWRITEBYTECODE =
export NO_ALBUMENTATIONS_UPDATE = 1
export DO_NOT_TRACK = 1

.PHONY: run gpu bench test check lint format readmes lock upgrade wheel serve stop faults clean setup
.DEFAULT_GOAL := run

setup: $(READY)

$(READY): requirements.lock pyproject.toml .ci/setup
	@.ci/setup $(VENV)

run: $(READY) $(if $(filter $(PHANTOM),$(DATA)),$(PHANTOM))
	@$(BIN)/evenderm run --data "$(DATA)" --out "$(OUT)" --preset "$(PRESET)" $(foreach one,$(SET),--set '$(one)')

# For a machine with one GPU and no network: trains the base on and measures the Stable Diffusion 2 preset, 9 minutes
# in all; GPU_PACK is what `python tests/benchmarks/gpu_session.py pack` wrote where the pictures are.
gpu:
	@mkdir -p "$(GPU_WORK)/site"
	@if ls "$(GPU_PACK)"/wheels/*.whl >/dev/null 2>&1 && ! ls "$(GPU_WORK)"/site/* >/dev/null 2>&1; then \
		$(GPU_PYTHON) -m pip install --quiet --no-index --no-deps --no-compile --target "$(GPU_WORK)/site" "$(GPU_PACK)"/wheels/*.whl; fi
	@PYTHONPATH="$(abspath $(GPU_WORK))/site:$$PYTHONPATH" $(GPU_PYTHON) tests/benchmarks/gpu_session.py go --pack "$(GPU_PACK)" \
		--out "$(GPU_OUT)" --work "$(GPU_WORK)" --seconds $(GPU_SECONDS) $(GPU_MORE)

# A finished RUN has candidates, on which the search for repeats is measured too.
bench: $(READY)
	@$(BIN)/python tests/benchmarks/peers.py --out .readme/speed.csv --repeats $(REPEATS) $(if $(RUN),--run "$(RUN)")
	@$(BIN)/python tests/benchmarks/limits.py --out .readme/limits.json

# Written beside its name and moved, so that a killed make never leaves half a dataset.
$(PHANTOM): | $(READY)
	@rm -rf "$@.part" && mkdir -p "$(dir $@)"
	@$(BIN)/evenderm phantom --out "$@.part" --pairs $(PHANTOM_PAIRS) --seed 1
	@mv "$@.part" "$@"

test: lint
	@.ci/browser
	@OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest $(PYTEST_ARGS)

check: lint
	@OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest $(PYTEST_ARGS) -m "not (slow or server or browser)"

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy flows augment evaluate manifests

# Resolves every dependency anew within pyproject's bounds; what the lock holds already stays where it may.
lock:
	@$(COMPILE) --output-file requirements.lock

# What the newest versions within pyproject's bounds break: the fast lane in an environment of their own. The lock stays.
upgrade:
	@rm -rf runs/upgrade && mkdir -p runs/upgrade
	@$(COMPILE) --upgrade --output-file runs/upgrade/requirements.lock
	@diff requirements.lock runs/upgrade/requirements.lock | grep '^[<>] [a-z].*==' || echo "upgrade: nothing is newer"
	@uv venv --quiet --seed --python 3.11 runs/upgrade/venv
	@uv pip install --quiet --python runs/upgrade/venv/bin/python --require-hashes -r runs/upgrade/requirements.lock
	@uv pip install --quiet --python runs/upgrade/venv/bin/python --no-deps --no-build-isolation --editable .
	@touch runs/upgrade/venv/.ready
	@$(MAKE) --no-print-directory check VENV=runs/upgrade/venv \
		&& echo "upgrade: the fast lane passes; cp runs/upgrade/requirements.lock . takes them over" \
		|| { echo "upgrade: the newer versions break what is told above; bound them in pyproject.toml, with the symptom" >&2; exit 1; }

# Wheel, empty environment, another folder; a tiny run, its report, an explanation.
wheel: $(READY)
	@.ci/wheel "$(VENV)" runs/wheel

format: $(READY)
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

# The tables of the READMEs, from the JSON files in .readme.
readmes: $(READY)
	@$(BIN)/python .readme/tables.py

# A Prefect server with its page, workers and the deployments of prefect.yaml, all on loopback.
# PREFECT_SERVER_DATABASE_CONNECTION_URL names a PostgreSQL instead of the SQLite file.
serve: $(READY) $(if $(filter $(PHANTOM),$(DATA)),$(PHANTOM))
	@$(BIN)/python -m flows.orchestration.serving start runs/.prefect "$(DATA)" "$(OUT)"

stop: $(READY)
	@$(BIN)/python -m flows.orchestration.serving stop runs/.prefect

# Tiny runs that are killed, starved and cut off at random moments; every one must end as if undisturbed.
faults: $(READY)
	@$(BIN)/python -m tests.faults.campaign --count $(FAULTS) --seed $(SEED) --out runs/faults

clean:
	rm -rf $(VENV) runs build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
