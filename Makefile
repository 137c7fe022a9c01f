# make demo: the whole method on this machine, without a network. make test: the tests.
# Both install what they need into .venv first.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
# TensorFlow for GPUs if this machine has one. For a login node without a GPU: make install TENSORFLOW=gpu.
TENSORFLOW ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)

.PHONY: install demo test lint docs benchmark clean

install: .venv/.installed-$(TENSORFLOW)

.venv/.installed-$(TENSORFLOW): setup.py
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --editable ".[$(TENSORFLOW),edge,test]"
	touch $@

demo: install
	.venv/bin/sea run experiments/demo.yaml

test: install lint
	.venv/bin/python -m pytest

lint: install
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

docs: install
	.venv/bin/sphinx-build -W --keep-going docs build/docs
	@echo build/docs/index.html

benchmark: install
	.venv/bin/python -m pip install --quiet --editable ".[benchmark]"
	for each in benchmarks/benchmark_*.py; do .venv/bin/python -m benchmarks.$$(basename $$each .py) || exit 1; done

clean:
	rm -rf .venv build *.egg-info
