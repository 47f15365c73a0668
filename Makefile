# make demo    the main job on a bundled talk, with real engines: captions and a Portuguese voice in demo/
# make test    everything: checks, then the whole test suite (real servers from Debian's packages, installed if missing)
# make check   ruff, mypy, generated files
# make bench   speed and memory against faster-whisper, as ratios in one run
# make generate / make samples   write the generated files / the bundled audio anew

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

# How many tests run side by side: most of them wait more than they compute, and each may hold a model.
WORKERS ?= $(shell n=$$(nproc); echo $$((n < 8 ? n + 1 : 8)))

.PHONY: demo test check bench generate samples clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	@mkdir -p demo
	$(BIN)/streamlation run testdata/audio/talk_en_60s.opus --from en --to pt \
	  -o demo/talk.pt.srt -o demo/talk.pt.vtt -o demo/talk.pt.wav
	@cat demo/talk.pt.srt
	@ls -l demo

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python tools/generate.py --check

test: check
	tools/debian_parts.sh
	@# What measures times runs alone and first; both parts run whatever the other finds.
	$(BIN)/python -m pytest -m timed; timed=$$?; \
	$(BIN)/python -m pytest -m 'not timed' --numprocesses $(WORKERS) --dist worksteal; exit $$((timed | $$?))

bench: $(VENV)/.dev
	$(BIN)/python tools/bench.py --json bench-results/bench.json

generate: $(VENV)/.dev
	$(BIN)/python tools/generate.py

samples: $(VENV)/.dev
	$(BIN)/python tools/make_samples.py

clean:
	rm -rf $(VENV) demo bench-results .mypy_cache .ruff_cache .pytest_cache .hypothesis
