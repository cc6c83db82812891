# whycluster. `make` alone prints what it can do; everything else is reproducible from here.
.SUFFIXES:
# What a user writes is text: make expands none of it, and recipes find it in their environment.
$(foreach name,DATA OUT K RUN TIMEOUT LAUNCH PYTHON,$(eval override $(name) := $$(value $(name))))
export DATA OUT K RUN TIMEOUT LAUNCH # a command before each run: LAUNCH="srun --gpus=1"
export WHYCLUSTER_PYTHON := $(or $(PYTHON),.venv/bin/python)
READY := $(if $(PYTHON),,.venv/.ready) # PYTHON has the packages already: nothing is created
export PYTHONPATH := $(if $(PYTHON),$(CURDIR)/lib$(if $(PYTHONPATH),:))$(PYTHONPATH)
WITH := "$$WHYCLUSTER_PYTHON" -m
# Quick runs leave most of a machine idle: as many at a time as there are cores, unless -j says.
JOBS = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell getconf _NPROCESSORS_ONLN))
# With -n, -q and -t a line with $(MAKE) runs all the same, and must not write the site.
SITE = $(if $(strip $(foreach f,n q t,$(findstring $f,$(firstword -$(MAKEFLAGS))))),:,$(WITH) whycluster.runs report)
LIBRARY := $(shell find lib/whycluster -type f -not -path '*/__pycache__/*')
ODD := '[]!-,:-@[-^`{-~[:space:]]' # in names: what make or the shell would read as code is refused
NAMED = $(shell ls -d $(1) 2>/dev/null | LC_ALL=C grep -av $(ODD))
QUICK := $(patsubst notebooks/%.ipynb,outputs/%/quick/report.ipynb,$(call NAMED,notebooks/*.ipynb))
FULL := $(patsubst parameters/%.yaml,outputs/%/report.ipynb,$(call NAMED,parameters/*/*.yaml))
.PHONY: help reproduce paper run names quick full report cluster test torture bench lint lab clean
.PRECIOUS: outputs/%/quick/report.ipynb outputs/%/report.ipynb # whole, whenever make is stopped
help:
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
reproduce: $(READY) ## run every notebook at its quick size, then build outputs/index.html
	@$(MAKE) --no-print-directory --keep-going $(JOBS) quick; status=$$?; $(SITE) && exit $$status
paper: $(READY) ## run every file of parameters/ at full scale, then build the site
	@$(MAKE) --no-print-directory --keep-going full; status=$$?; $(SITE) && exit $$status
run: $(READY) ## one run: make run RUN=12-idc-biomedical/srbct
	@test "$$RUN" || { echo "which run? RUN=NOTEBOOK/NAME for a parameters/NOTEBOOK/NAME.yaml"; exit 2; }
	@$(MAKE) --no-print-directory "outputs/$$RUN/report.ipynb" && $(SITE)
report: $(READY) ## build the site from the runs that are there
	@$(WITH) whycluster.runs report
cluster: $(READY) ## cluster your own table: make cluster DATA=table.csv [K=3] [OUT=folder]
	@$(LAUNCH) $(WITH) whycluster.runs cluster $${K:+--k="$$K"} $${OUT:+--out="$$OUT"} $${TIMEOUT:+--timeout="$$TIMEOUT"} -- "$$DATA"
test: $(READY) ## run the tests and verify the check cells of the notebooks
	@OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(WITH) pytest -n 2 --dist loadfile --nbval-lax --nbval-current-env tests lib notebooks
torture: $(READY) ## damage, kill and fill what there is; takes an hour
	@for t in tests/torture/*.py; do "$$WHYCLUSTER_PYTHON" $$t || exit; done
bench: $(READY) ## measure speed
	@for bench in tests/benchmarks/bench_*.py; do "$$WHYCLUSTER_PYTHON" $$bench || exit; done
lint: $(READY) ## check style, format and types
	@$(WITH) ruff check . && $(WITH) ruff format --check . && $(WITH) mypy
lab: $(READY) ## open JupyterLab
	@$(WITH) jupyterlab notebooks
clean: $(READY) ## remove what runs made; reports and records of full-scale runs stay
	@$(WITH) whycluster.runs clean
names:
	@! ls -d notebooks/*.ipynb parameters/*/*.yaml 2>/dev/null | LC_ALL=C grep -a $(ODD) | sed "s/$$/: rename it; use letters, digits, '.', '_' and '-' only/" | grep . >&2
quick: names $(QUICK)
full: names $(FULL)
.SECONDEXPANSION:
outputs/%/quick/report.ipynb: notebooks/%.ipynb $(LIBRARY) | $(READY)
	@$(LAUNCH) $(WITH) whycluster.runs execute $< --run quick --timeout "$${TIMEOUT:-900}"
outputs/%/report.ipynb: parameters/%.yaml notebooks/$$(*D).ipynb $(LIBRARY) | $(READY)
	@$(LAUNCH) $(WITH) whycluster.runs execute notebooks/$(*D).ipynb --run $(*F) --parameters $< --timeout "$${TIMEOUT:-86400}"
.venv/.ready: requirements.lock
	@test -e $@ || rm -rf .venv; rm -f $@; python3 -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed")'
	python3 -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@ # last, so that a bootstrap that was cut off starts over
