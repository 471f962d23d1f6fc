# All paths are relative, so that the checkout may lie under a path with spaces.

PYTHON ?= python3
# A Python named by the caller must be the environment's; the default accepts an environment of any version.
KEEP_PYTHON := $(if $(filter file,$(origin PYTHON)),--keep_python)
MAKE_VENV = @command -v "$(PYTHON)" >/dev/null || { echo "make: '$(PYTHON)' was not found; name one, as in: make PYTHON=python3.12" >&2; exit 1; }; \
	"$(PYTHON)" tools/make_venv.py $(KEEP_PYTHON)
# More for pytest, as in: make test TESTS="tests/test_config.py -x"
TESTS ?=
# Test processes at a time, each of which takes whole files: a core is idle while the other waits for one test. In their
# own order: sorted by their number of tests, as xdist has it, the notebook's one long test would come last and alone.
PROCESSES ?= --numprocesses=2 --dist=loadfile --no-loadscope-reorder

.PHONY: help venv venv-latest demo test test-latest test-edge test-mediapipe test-micro test-raspberry-pi test-web lint format clean

help:
	@echo "make demo         train, score, export and use a classifier on built-in data; result in demo/"
	@echo "make test         run the tests (TensorFlow 2.16 with tensorflow-io, in .venv)"
	@echo "make test-latest  run the tests (newest supported TensorFlow, in .venv-latest)"
	@echo "make test-edge    run the demo's model on NumPy, soundfile and ai-edge-litert alone, in .venv-edge"
	@echo "make test-mediapipe   run an exported model on MediaPipe Tasks, in .venv-mediapipe"
	@echo "make test-micro   run the demo's model in TensorFlow Lite Micro, in .venv-micro"
	@echo "make test-raspberry-pi   find the client's wheels for 64-bit ARM, and have systemd read its unit"
	@echo "make test-web     run the page of export/web in headless Chromium; takes Node.js and Chromium"
	@echo "make lint         ruff and mypy"
	@echo "make format       let ruff rewrite what it can"
	@echo "make venv, make venv-latest   only make the virtual environments"
	@echo "make clean        remove environments, caches and the demo"

venv:
	$(MAKE_VENV) --set=io --folder=.venv

venv-latest:
	$(MAKE_VENV) --set=latest --folder=.venv-latest

demo: venv
	.venv/bin/python tools/demo.py --output_dir=demo

test: venv
	.venv/bin/python -m pytest $(PROCESSES) $(TESTS)

test-latest: venv-latest
	.venv-latest/bin/python -m pytest $(PROCESSES) $(TESTS)

# The demo's model on a device's three packages, against Keras on the same files.
test-edge: demo
	"$(PYTHON)" -m venv .venv-edge
	.venv-edge/bin/python -m pip install --quiet numpy soundfile ai-edge-litert
	.venv/bin/python -m tfaudio predict --model=demo/run --format=jsonl demo/sounds > demo/keras.jsonl
	.venv-edge/bin/python -m tfaudio.runtime demo/export/model_float32.tflite demo/sounds/*.wav > demo/edge.jsonl
	.venv-edge/bin/python -m tfaudio.runtime demo/export/model_int8.tflite --self_test
	.venv-edge/bin/python tools/compare_predictions.py demo/keras.jsonl demo/edge.jsonl

lint: venv
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m mypy

format: venv
	.venv/bin/python -m ruff check --fix .
	.venv/bin/python -m ruff format .

clean:
	rm -rf .venv .venv-latest .venv-edge .venv-mediapipe .venv-micro demo export/web/node_modules export/web/dist build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# MediaPipe wants another absl-py than tensorflow-model-optimization, so it gets an environment of its own.
test-mediapipe: venv
	"$(PYTHON)" -m venv .venv-mediapipe
	.venv-mediapipe/bin/python -m pip install --quiet mediapipe soundfile
	.venv/bin/python -m pytest tests/clients

# TensorFlow Lite Micro's interpreter wants NumPy 2, so it gets an environment of its own too.
test-micro: demo
	"$(PYTHON)" -m venv .venv-micro
	.venv-micro/bin/python -m pip install --quiet tflite-micro
	.venv/bin/python -m tfaudio export --run_dir=demo/run --formats=tflm --output_dir=demo/micro --overwrite
	.venv-micro/bin/python export/microcontroller/run_in_tflm.py demo/micro/microcontroller

# What cannot be run without one: Python 3.11 to 3.13 find a wheel for 64-bit ARM of all that the client needs, as far
# down as Bookworm's glibc, and systemd accepts the unit (but for the program's path, which is not here).
test-raspberry-pi: venv
	@folder="$$(mktemp -d)" && trap 'rm -rf "$$folder"' EXIT && set -e && for version in 3.11 3.12 3.13; do \
	  .venv/bin/python -m pip download --quiet --dest="$$folder/$$version" --only-binary=:all: --implementation=cp \
	    --python-version="$$version" --platform=manylinux_2_28_aarch64 --platform=manylinux_2_27_aarch64 \
	    --platform=manylinux_2_17_aarch64 --platform=manylinux2014_aarch64 \
	    --requirement=export/raspberry_pi/requirements.txt; \
	  ls "$$folder/$$version" | grep aarch64; \
	done; \
	sed 's#^ExecStart=[^ ]*#ExecStart=/bin/true#' export/raspberry_pi/tfaudio-listen.service > "$$folder/tfaudio-listen.service"; \
	told="$$(systemd-analyze verify "$$folder/tfaudio-listen.service" 2>&1)" && test -z "$$told" || { echo "$$told"; exit 1; }

# The page against a whistle that never stops, then against the interpreters on the demo's sounds.
test-web: demo
	cd export/web && npm ci && npm run check && npm test && npm run build
	cd export/web && MODEL="$(CURDIR)/demo/export/model_int8.tflite" SOUND="$(CURDIR)/demo/sounds/whistle.wav" LABEL=whistle npm run test:browser
	.venv/bin/python tools/compare_clients.py --model=demo/export/model_int8.tflite --clients=tf.lite,ai-edge-litert,chromium demo/sounds/*.wav
