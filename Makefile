# whycluster. `make` alone prints what it can do; everything else is reproducible from here.
.DEFAULT_GOAL := help
.SECONDEXPANSION:
.SUFFIXES:

ifdef PYTHON # an interpreter that has the packages already: nothing is created
READY :=
export PYTHONPATH := $(CURDIR)/lib$(if $(PYTHONPATH),:$(PYTHONPATH))
else
PYTHON := .venv/bin/python
READY := .venv/.ready
endif
export LAUNCH # puts a command before each run: LAUNCH="srun --gpus=1"
# Quick runs leave most of a machine idle: as many at a time as there are cores, unless -j says.
JOBS = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell getconf _NPROCESSORS_ONLN))
RUNS := $(PYTHON) -m whycluster.runs
LIBRARY := $(shell find lib/whycluster -type f -not -path '*/__pycache__/*')
QUICK := $(patsubst notebooks/%.ipynb,outputs/%/quick/report.ipynb,$(wildcard notebooks/*.ipynb))
FULL := $(patsubst parameters/%.yaml,outputs/%/report.ipynb,$(wildcard parameters/*/*.yaml))

.PHONY: help reproduce paper run quick full report cluster test bench lint lab clean

help:
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
reproduce: $(READY) ## run every notebook at its quick size, then build outputs/index.html
	@$(MAKE) --no-print-directory --keep-going $(JOBS) quick; status=$$?; $(RUNS) report && exit $$status
paper: $(READY) ## run every file of parameters/ at full scale, then build the site
	@$(MAKE) --no-print-directory --keep-going full; status=$$?; $(RUNS) report && exit $$status
run: $(RUN:%=outputs/%/report.ipynb) $(READY) ## one run: make run RUN=12-idc-biomedical/srbct
	@$(if $(RUN),$(RUNS) report,echo "which run? RUN=NOTEBOOK/NAME for a parameters/NOTEBOOK/NAME.yaml"; exit 2)
report: $(READY) ## build the site from the runs that are there
	@$(RUNS) report
cluster: $(READY) ## cluster your own table: make cluster DATA=table.csv [K=3] [OUT=folder]
	@$(LAUNCH) $(RUNS) cluster '$(DATA)' $(if $(K),--k '$(K)') $(if $(OUT),--out '$(OUT)')
test: $(READY) ## run the tests and verify the check cells of the notebooks
	@OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(PYTHON) -m pytest -n 2 --dist loadfile --nbval-lax --nbval-current-env tests lib notebooks
bench: $(READY) ## measure speed
	@for bench in tests/benchmarks/bench_*.py; do $(PYTHON) $$bench || exit; done
lint: $(READY) ## check style and format
	@$(PYTHON) -m ruff check . && $(PYTHON) -m ruff format --check .
lab: $(READY) ## open JupyterLab
	@$(PYTHON) -m jupyterlab notebooks
clean: ## remove generated outputs; committed reports and records stay
	@git clean -fdXq outputs

quick: $(QUICK)
full: $(FULL)
outputs/%/quick/report.ipynb: notebooks/%.ipynb $(LIBRARY) | $(READY)
	@$(LAUNCH) $(RUNS) execute $< --run quick --timeout $(or $(TIMEOUT),900)
outputs/%/report.ipynb: parameters/%.yaml notebooks/$$(*D).ipynb $(LIBRARY) | $(READY)
	@$(LAUNCH) $(RUNS) execute notebooks/$(*D).ipynb --run $(*F) --parameters $< --timeout $(or $(TIMEOUT),86400)

# The stamp is made last, so that a bootstrap that was cut off starts over.
.venv/.ready: requirements.lock
	@test -e $@ || rm -rf .venv; rm -f $@
	@python3 -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed")'
	python3 -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@
