# Each target sets up what it needs, and works first or again.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STUDY ?= benchmarks/studies/collapse.yaml
# A benchmark is a script whose first lines show it with --quick; what others import has no such option.
BENCHMARKS := $(shell grep -ls -- '^ *python benchmarks/.* --quick' benchmarks/*.py benchmarks/speed/*.py)
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
# The workers share the cores: a library that starts a thread for each core in each of them slows all down.
export OMP_NUM_THREADS ?= 1

.PHONY: help study test lint types notebooks smoke wheel clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*##/\t/' | expand -t 12

study: $(VENV)/installed  ## run the study of collapse, or what is left of it, and say where its report is
	$(BIN)/ebm study run $(STUDY)
	$(BIN)/ebm study report $(STUDY)

test: $(VENV)/installed-dev  ## run all tests
	$(BIN)/pytest -n auto

lint: $(VENV)/installed-dev  ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev  ## check types
	$(BIN)/mypy

notebooks: $(VENV)/installed-dev  ## execute every notebook
	$(BIN)/pytest notebooks -n auto

smoke: $(VENV)/installed-dev  ## the study with one seed and few steps, and every benchmark in small
	rm -rf build/smoke
	WANDB_MODE=disabled $(BIN)/ebm study run $(STUDY) --seeds 0 --results build/smoke -- --trainer.max_epochs=2
	$(BIN)/ebm study report $(STUDY) --seeds 0 --results build/smoke -- --trainer.max_epochs=2
	printf '%s\n' $(BENCHMARKS) | OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 xargs -P 2 -I{} sh -c 'echo "-- {}" && $(BIN)/python {} --quick || { echo "-- {} failed"; exit 1; }'

wheel: $(VENV)/installed-dev  ## build the wheel, install it in an empty environment, and import it from elsewhere
	rm -rf build dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist . > /dev/null
	$(PYTHON) -m venv build/empty
	build/empty/bin/pip install --quiet --disable-pip-version-check -c constraints.txt dist/*.whl
	cd build && empty/bin/python -c "import ebm, ebm.losses, ebm.regularizers; print(ebm.losses.__file__)"
	cd build && empty/bin/ebm study status ../$(STUDY)

clean:  ## remove the environment and all that was built; results stay
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: setup.cfg constraints.txt | $(VENV)/bin/pip
	$(INSTALL) -e ".[wandb]"
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(INSTALL) -e ".[dev]"
	$(INSTALL) --no-deps sweeps  # W&B's schema of sweeps; it asks for a numpy of long ago, which it does not need
	touch $@
