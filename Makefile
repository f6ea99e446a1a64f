# make repro   the environment, then every stage that is out of date
# make test    the environment, then lint, types and tests
# make seeds, positions, placement       sweeps of the default network: reports/sweeps/*.md
# make readings       the paper's rates and INT8 loss, by each way to read them, on make seeds' runs or RUNS='FOLDER...'
# make prune          smaller networks (prune.target), early exits, and both; on photographs: make prune-photos PHOTOS=...
# make bits           weights of 8 and 4 bits, quantized after training and in it; on photographs: make bits-photos PHOTOS=...
# make promises       how often the guaranteed policy's promise is broken, on the run in this folder
# make vww     all of Visual Wake Words: docs/data.md; other params: make vww ARGS='-S joint.w_final=0.5'
# make photos PHOTOS=... TEACHER=...   the default network on photographs, taught by a bigger one: docs/photographs.md
# make photos-pretrained, make regimes PHOTOS=... PRETRAINED=...   a trained MobileNetV1 on photographs
# make readme  the generated blocks of README.md and docs/*.md, from reports/
# make clean   removes the environment, data, models and caches of tools
# VENV=/path   use or make the environment elsewhere

export PHOTOS TEACHER PRETRAINED CAMERA
PYTHON ?= python3
VENV ?= .venv
BIN = $(abspath $(VENV))/bin
RUN = PATH="$(BIN):$$PATH"
# What runs leave in data and models: all but the two files that Git tracks.
MADE = find data models -mindepth 1 ! -path data/README.md ! -path models/README.md
# Named by content, so that another clone with the same requirements finds the environment ready.
READY = $(VENV)/.ready-$(shell cat requirements.txt constraints.txt | cksum | cut -d ' ' -f 1)
READY_DEV = $(VENV)/.ready-dev-$(shell cat requirements.txt requirements-dev.txt constraints.txt | cksum | cut -d ' ' -f 1)

.PHONY: repro test lint clean readme promises readings seeds positions placement prune prune-photos bits bits-photos regimes vww photos photos-pretrained show given-photos given-pretrained

# From a clean clone it also notes how long everything took, for the README.
repro: $(READY)
	@clean=$$(test -n "$$($(MADE) -print -quit 2> /dev/null)" || echo yes); start=$$(date +%s); \
	$(RUN) python -m experiments.mend && $(RUN) dvc repro && { test -z "$$clean" || echo "\`make repro\` from a clean clone, the installation apart:" \
	"$$(($$(date +%s) - start)) seconds on $$(nproc) cores." > reports/wall_time.md; }
	@cat reports/table1.md reports/memory.md; test ! -f reports/wall_time.md || cat reports/wall_time.md
	@echo "One page to look at: reports/report.html. Figures: reports/plots/*.png. INT8 segments: models/int8/early_exit. C library: models/firmware. Next: README.md, 'Change something'."

test: $(READY_DEV) lint
	$(RUN) mypy
	$(RUN) pytest

lint: $(READY_DEV)
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) lint-imports --no-logo --no-cache

# Finished stages come from the run cache. Experiments of an earlier sweep on the same commit are replaced.
FORGET = $(RUN) dvc exp list --name-only | grep -E '^$@(_[a-z]+)?(-[0-9]+)?$$' | $(RUN) xargs -r dvc exp remove --quiet
# On two cores, two experiments of one thread each are done sooner: make seeds JOBS=2 SWEEP='-S train.threads=1'
JOBS ?= 1
QUEUE = $(RUN) dvc exp run --queue --quiet $(SWEEP)
RUN_QUEUED = $(RUN) dvc exp run --run-all -j $(JOBS)

seeds: $(READY)
	$(FORGET)
	$(QUEUE) --name seeds -S train.seed=1,2,3,4,5
	$(RUN_QUEUED)
	$(RUN) python -m experiments.seeds seeds

positions: $(READY)
	$(FORGET)
	$(QUEUE) --name positions -S 'exits.mobilenet_v2=[block2,block4,block6],[block1,block3,block5],[block2,block3,block5],[block2,block5,block8],[block4,block6,block8]'
	$(RUN_QUEUED)
	$(RUN) python -m experiments.compare positions exits.mobilenet_v2

# Exits of params.yaml against searched ones. The other backbone: make placement SWEEP='-S model.backbone=mobilenet_v1'
placement: $(READY)
	$(FORGET)
	$(QUEUE) --name placement -S exits.placement=given,searched -S train.seed=1,2,3
	$(RUN_QUEUED)
	$(RUN) python -m experiments.placement placement

# The baseline at a share of its cycles, early exits, and both. Target 0.99 removes next to nothing: it shows what the
# training after pruning brings by itself.
SEEDS ?= 1,2,3
TARGETS ?= null,0.99,0.7,0.5
define RUN_PRUNE
	$(FORGET)
	$(QUEUE) --name $@ $(RECIPE_OF_PRUNE) -S prune.target=$(TARGETS) -S train.seed=$(SEEDS)
	$(RUN_QUEUED)
	$(RUN) python -m experiments.prune $@
endef

prune: $(READY)
	$(RUN_PRUNE)

# The same on photographs, as make photos takes them. Absolute paths: queued experiments run in a copy of this folder.
prune-photos: SEEDS = 1
RECIPE_OF_PHOTOS = $$($(RUN) python -m experiments.recipes photos$(if $(PRETRAINED),-continued)) \
-S "data.source='$$(realpath "$$PHOTOS")'" $(if $(TEACHER),-S "teacher.model='$$(realpath "$$TEACHER")'") \
$(if $(PRETRAINED),-S "baseline.pretrained='$$(realpath "$$PRETRAINED")'")
prune-photos: RECIPE_OF_PRUNE = $(RECIPE_OF_PHOTOS)
prune-photos: $(READY) given-photos
	$(RUN_PRUNE)

# Weights of eight and of four bits: quantized after training, in it, and after as much more training in float; and the
# larger network that fits the device thanks to four bits. TFLM unpacks weights in its arena, so the limit is raised. Only
# the stages run whose results are compared.
BITS ?= 8,4
WEIGHTS ?= per_channel,per_tensor
QAT_EPOCHS ?= 2
ANY_SRAM = -S memory.sram_limit.mobilenet_v2=131072
MEASURED = evaluate memory
TRAINED_ON = -S qat.epochs=$(QAT_EPOCHS) $(OF_BITS)
define QUEUE_BITS
	$(FORGET)
	$(QUEUE) --name $@_ptq $(OF_BITS) $(MEASURED)
	$(QUEUE) --name $@_qat $(TRAINED_ON) $(MEASURED)
	$(QUEUE) --name $@_float -S qat.rounding=false $(TRAINED_ON) $(MEASURED)
endef

bits: OF_BITS = $(ANY_SRAM) -S ptq.bits=$(BITS) -S ptq.weights=$(WEIGHTS) -S train.seed=$(SEEDS)
bits: $(READY)
	$(QUEUE_BITS)
	$(QUEUE) --name $@_larger $$($(RUN) python -m experiments.recipes four-bits) -S train.seed=$(SEEDS) $(MEASURED)
	$(RUN_QUEUED)
	$(RUN) python -m experiments.bits $@ ptq qat float larger

bits-photos: SEEDS = 1
bits-photos: WEIGHTS = per_channel
bits-photos: OF_BITS = $(ANY_SRAM) $(RECIPE_OF_PHOTOS) -S ptq.bits=$(BITS) -S ptq.weights=$(WEIGHTS) -S train.seed=$(SEEDS)
bits-photos: $(READY) given-photos
	$(QUEUE_BITS)
	$(RUN_QUEUED)
	$(RUN) python -m experiments.bits $@ ptq qat float

promises: $(READY)
	$(RUN) dvc repro policy evaluate
	$(RUN) python -m experiments.promises

# Names of experiments, or folders of finished runs; RUNS=. is the run in this folder.
RUNS ?= seeds

readings: $(READY)
	$(RUN) python -m experiments.readings $(RUNS)

# Absolute paths: queued experiments run in a copy of this folder.
ON_PHOTOS = -S "data.source='$$(realpath "$$PHOTOS")'" -S "baseline.pretrained='$$(realpath "$$PRETRAINED")'" \
-S baseline.epochs=0 -S model.backbone=mobilenet_v1 -S 'exits.mobilenet_v1=[block5,block8]' \
-S disjoint.temperature=4 -S joint.temperature=4 -S joint.freeze_norm=true
BY_LABELS = -S disjoint.distill=0 -S joint.distill=0
DISTILLED = -S disjoint.distill=0.9 -S joint.distill=0.9
DISJOINT = -S disjoint.epochs=20 -S joint.epochs=0
JOINT = -S disjoint.epochs=0 -S joint.epochs=6
BOTH = -S disjoint.epochs=20 -S joint.epochs=6

regimes: $(READY) given-photos given-pretrained
	$(FORGET)
	$(QUEUE) --name regimes-1 $(ON_PHOTOS) $(DISJOINT) $(BY_LABELS)
	$(QUEUE) --name regimes-2 $(ON_PHOTOS) $(DISJOINT) $(DISTILLED)
	$(QUEUE) --name regimes-3 $(ON_PHOTOS) $(JOINT) $(BY_LABELS)
	$(QUEUE) --name regimes-4 $(ON_PHOTOS) $(JOINT) $(DISTILLED)
	$(QUEUE) --name regimes-5 $(ON_PHOTOS) $(BOTH) $(BY_LABELS)
	$(QUEUE) --name regimes-6 $(ON_PHOTOS) $(BOTH) $(DISTILLED)
	$(RUN_QUEUED)
	$(RUN) python -m experiments.compare regimes disjoint.epochs joint.epochs joint.distill

# In this folder, not in a copy that DVC removes when it is interrupted: the download and the trainings go on from there.
# OMP_WAIT_POLICY: threads that wait for each other sleep; by default they spin, which slows down all where others work.
define RUN_RECIPE
	$(RUN) python -m experiments.mend
	$(FORGET)
	OMP_WAIT_POLICY=passive $(RUN) dvc exp run --name $@ $$($(RUN) python -m experiments.recipes $(RECIPE)) $(GIVEN) $(ARGS)
	$(RUN) python -m experiments.collect $@ reports/$(subst -,_,$@)
endef
RECIPE = $@
GIVEN = $(if $(PHOTOS),-S "data.source='$$PHOTOS'") $(if $(TEACHER),-S "teacher.model='$$TEACHER'") \
$(if $(PRETRAINED),-S "baseline.pretrained='$$PRETRAINED'") $(if $(CAMERA),-S "shift.folder='$$CAMERA'")

vww: $(READY)
	$(RUN_RECIPE)

# From random weights, or from PRETRAINED.
photos: RECIPE = photos$(if $(PRETRAINED),-continued)
photos: $(READY) given-photos
	$(RUN_RECIPE)

photos-pretrained: $(READY) given-photos given-pretrained
	$(RUN_RECIPE)

# Of each experiment what changed: its params, the final accuracy, and the p50 row of Table I.
show: $(READY)
	$(RUN) dvc exp show --only-changed --drop '^(Created|fp32|int8|exit\d|within|searched|guaranteed|p(?!50)\d|.*/|.*(macs|emulated)$$)'

given-photos:
	@test -d "$$PHOTOS" || { echo "PHOTOS=/path: a folder that holds annotations/instances_{train,val}.json and \
	images/{train,val}/"; exit 1; }

given-pretrained:
	@test -f "$$PRETRAINED" || { echo "PRETRAINED=/path: a safetensors file of a MobileNetV1 0.25; see docs/pretrained.md"; exit 1; }

readme: $(READY)
	$(RUN) python -m experiments.readme

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
	mkdir -p data models && $(MADE) -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and \
	"Python 3.11, 3.12 or 3.13 is needed (TensorFlow has no wheels for others): make PYTHON=python3.12")'
	@echo "Installing into $(VENV): about 5 GB, a few minutes"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -q -r requirements.txt
	touch $@

$(READY_DEV): | $(READY)
	$(BIN)/pip install --disable-pip-version-check -q -r requirements-dev.txt
	touch $@
