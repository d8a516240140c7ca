# make search: a real search on the embedded teacher.  make test: the whole test suite.  make lint: ruff and mypy.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
STUDY ?= studies/quick

.PHONY: search test lint bench clean

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,minilm,onnx]'
	touch $@

search: $(VENV)/ready
	@$(RUN)/stillhouse run search/specs/quick.toml $(STUDY)
	@$(RUN)/stillhouse front $(STUDY)
	@$(RUN)/stillhouse report $(STUDY)
	@$(RUN)/stillhouse export $(STUDY) $(STUDY)/best --max-parameters 50%
	@echo
	@echo "the study:    $(STUDY)              Parquet, students, log"
	@echo "the page:     $(STUDY)/report.html  open it in a browser"
	@echo "the student:  $(STUDY)/best         AutoModel.from_pretrained('$(STUDY)/best')"
	@echo "next:         $(RUN)/stillhouse resume $(STUDY) --set budget.trials=40   search on"
	@echo "              $(RUN)/stillhouse best $(STUDY) --max-latency-ms 2"
	@echo "              $(RUN)/stillhouse check search/specs/quick.toml  a spec to copy for your own teacher"

test: $(VENV)/ready
	$(RUN)/python -m pytest --quiet --numprocesses 2 --dist loadgroup

lint: $(VENV)/ready
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

bench: $(VENV)/ready
	@ls tests/bench/*.py | sed 's|^|$(RUN)/python |'

clean:
	rm -rf $(VENV) build *.egg-info
