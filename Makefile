# Caravan: train one language model together.   `make help` prints this page.
#
#   make              build what this machine can build, into build/release
#   make demo         watch it work: the main job on real text, in under five minutes
#   make test         every test, after installing what is missing (only that needs root)
#   make check        what CI does: lint, tests under release and asan+ubsan
#   make bench        speed, side by side with PyTorch and llm.c where they are there
#   make test-reference   the same mathematics and tokens as PyTorch, transformers, tokenizers
#   make fuzz SECONDS=60 [TARGET=name]   libFuzzer on everything that reads bytes from outside
#   make unit, make lint                 parts of make test
#   make install-deps                    the packages this needs, on Debian and Ubuntu
#   make install PREFIX=/usr/local       caravan-node, under DESTDIR
#   make clean
#
#   VARIANT=release|asan|tsan   objects of different variants never mix (default release)
#   CUDA=0|1                    with or without the GPU engine (default: 1 where nvcc is found)
#   CC=gcc|clang  V=1           another compiler; show the commands

VARIANT ?= release
ifeq ($(filter release asan tsan,$(VARIANT)),)
  $(error VARIANT is release, asan or tsan, not '$(VARIANT)')
endif
CC := $(if $(filter default undefined,$(origin CC)),gcc,$(CC))
NVCC ?= $(firstword $(wildcard /usr/local/cuda/bin/nvcc) $(shell command -v nvcc 2>/dev/null))
CUDA ?= $(if $(NVCC),1,0)
Q := $(if $(V),,@)
# Objects of another variant or compiler never mix with these.
BUILD := build/$(VARIANT)$(if $(filter-out gcc cc,$(notdir $(CC))),-$(subst /,_,$(notdir $(firstword $(CC)))))
SECONDS := 60
PREFIX ?= /usr/local

PACKAGES := libsodium libzstd jansson yaml-0.1 openblas
CPPFLAGS += -I. -D_POSIX_C_SOURCE=200809L -MMD -MP
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wswitch-enum -Wvla -Wundef
WARNINGS += $(if $(WERROR),-Werror)
# No contraction of a*b+c into one rounding: machines would disagree on shared state.
CFLAGS_release := -O2 -g
CFLAGS_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
CFLAGS_tsan := -O1 -g -fsanitize=thread
CFLAGS_ALL = -std=c11 $(WARNINGS) $(CFLAGS_$(VARIANT)) -ffp-contract=off -fno-math-errno -pthread $(CFLAGS)
LDFLAGS_ALL = $(CFLAGS_$(VARIANT)) -pthread $(LDFLAGS)
PKG_CFLAGS = $(shell pkg-config --cflags $(PACKAGES))
PKG_LIBS = $(shell pkg-config --libs $(PACKAGES)) -lm

sources = $(filter-out %/main.c,$(wildcard $(1)/*.c $(1)/*/*.c))
PROTO_C := $(call sources,proto)
COMPRESS_C := $(call sources,compress)
# One source, several instruction sets: kernels/cpu/isa_*.c is compiled for each (see its README).
ISA_C := $(wildcard kernels/cpu/isa_*.c)
KERNELS_C := $(filter-out $(ISA_C),$(call sources,kernels))
NODE_C := $(call sources,node)
COORDINATOR_C := $(call sources,coordinator)
CUDA_CU := $(if $(filter 1,$(CUDA)),$(wildcard kernels/cuda/*.cu))

ISAS := base $(if $(filter x86_64,$(shell uname -m)),avx2 avx512)
ISA_FLAGS_base := -O3
ISA_FLAGS_avx2 := -O3 -mavx2 -mfma -mf16c
ISA_FLAGS_avx512 := -O3 -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma -mf16c -mprefer-vector-width=512

objects = $(patsubst %.c,$(BUILD)/%.o,$(1))
CUDA_O := $(patsubst %.cu,$(BUILD)/%.cu.o,$(CUDA_CU))
ISA_O := $(foreach isa,$(ISAS),$(patsubst %.c,$(BUILD)/%.$(isa).o,$(ISA_C)))
LIB_O := $(call objects,$(PROTO_C) $(COMPRESS_C) $(KERNELS_C)) $(ISA_O) $(CUDA_O)
NODE_O := $(call objects,$(NODE_C))

PROGRAMS := $(BUILD)/caravan-node
UNIT_C := $(wildcard tests/unit/test_*.c)
UNIT := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(UNIT_C))
BENCH := $(patsubst tests/bench/%.c,$(BUILD)/tests/%,$(wildcard tests/bench/bench_*.c))
SUPPORT_O := $(call objects,$(wildcard tests/unit/support*.c))
FUZZ := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
REPLAY := $(FUZZ:%=$(BUILD)/tests/replay_%)

.PHONY: all help
.SECONDARY:
all: $(PROGRAMS)
help:
	@sed '/^#/!q;s/^# \{0,1\}//' Makefile

# A changed flag, compiler or package makes every object anew: the stamp changes with them.
STAMP := $(BUILD)/flags
STAMP_TEXT := $(CC) $(CPPFLAGS) $(CFLAGS_ALL) $(LDFLAGS) CUDA=$(if $(CUDA_CU),$(CUDA) $(NVCC) $(CUDA_ARCHS))
.PHONY: force
force:
$(STAMP): force
	@mkdir -p $(@D)
	@echo '$(STAMP_TEXT)' | cmp -s - $@ || echo '$(STAMP_TEXT)' >$@

$(BUILD)/caravan-node: $(BUILD)/node/main.o $(NODE_O) $(LIB_O)
	@echo "  link    $@"
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(PKG_LIBS)

$(BUILD)/%.o: %.c $(STAMP)
	@mkdir -p $(@D)
	@echo "  cc      $<"
	$(Q)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS_ALL) -c -o $@ $<

# Inner steps are not shared state, so these may use fused multiply-add where it is written as one.
define isa_rule
$(BUILD)/kernels/cpu/%.$(1).o: kernels/cpu/%.c $(STAMP)
	@mkdir -p $$(@D)
	@echo "  cc      $$< ($(1))"
	$(Q)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS_ALL) $(ISA_FLAGS_$(1)) -DISA=$(1) -c -o $$@ $$<
endef
$(foreach isa,$(ISAS),$(eval $(call isa_rule,$(isa))))

# Debian's nvcc finds ptxas and fatbinary by PATH, and fails with those of a newer toolkit there.
NVCC_RUN = $(if $(filter /usr/bin/nvcc,$(NVCC)),env -u CUDA_HOME -u LIBRARY_PATH PATH=/usr/bin:/bin )$(NVCC)
ifneq ($(CUDA_CU),)
CUDA_KNOWN := $(shell $(NVCC_RUN) --list-gpu-arch 2>/dev/null | sed -n 's/^compute_//p')
CUDA_ARCHS ?= $(filter $(CUDA_KNOWN),70 75 80 86 89 90 120)
CUDA_FLAGS = -O3 -fmad=false -Xcompiler -fPIC $(foreach a,$(CUDA_ARCHS),-gencode arch=compute_$(a),code=sm_$(a))
PKG_LIBS += -L$(dir $(NVCC))../lib64 -lcudart -lcublas -lstdc++
endif
$(BUILD)/%.cu.o: %.cu $(STAMP)
	@mkdir -p $(@D)
	@echo "  nvcc    $<"
	$(Q)$(NVCC_RUN) -I. $(CUDA_FLAGS) -c -o $@ $<

$(BUILD)/tests/%: tests/unit/%.c $(SUPPORT_O) $(NODE_O) $(LIB_O)
	@mkdir -p $(@D)
	@echo "  test    $@"
	$(Q)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS_ALL) -MF $@.d -o $@ $< $(SUPPORT_O) $(NODE_O) $(LIB_O) $(LDFLAGS) $(PKG_LIBS) -lcmocka

# Every file of a fuzz target's corpus goes through it in the ordinary tests, without libFuzzer.
$(BUILD)/tests/replay_%: tests/fuzz/fuzz_%.c tests/fuzz/replay.c $(NODE_O) $(LIB_O)
	@mkdir -p $(@D)
	@echo "  replay  $@"
	$(Q)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS_ALL) -MF $@.d -o $@ $< tests/fuzz/replay.c $(NODE_O) $(LIB_O) $(LDFLAGS) $(PKG_LIBS)

# libFuzzer comes with clang. What a run finds goes to build/fuzz/corpus, never into the tree.
FUZZ_CFLAGS := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
FUZZ_BUILD := build/fuzz
.PHONY: fuzz fuzz-binaries
fuzz-binaries: $(FUZZ:%=$(FUZZ_BUILD)/tests/fuzz_%)
$(FUZZ_BUILD)/tests/fuzz_%: tests/fuzz/fuzz_%.c $(NODE_O) $(LIB_O)
	@mkdir -p $(@D)
	@echo "  fuzz    $@"
	$(Q)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS_ALL) -fsanitize=fuzzer -MF $@.d -o $@ $< $(NODE_O) $(LIB_O) $(LDFLAGS) $(PKG_LIBS)
fuzz:
	$(Q)$(MAKE) --no-print-directory CC=clang BUILD=$(FUZZ_BUILD) CFLAGS_release='$(FUZZ_CFLAGS)' FUZZ='$(or $(TARGET),$(FUZZ))' fuzz-binaries
	$(Q)tests/fuzz/fuzz.sh $(FUZZ_BUILD) $(SECONDS) $(or $(TARGET),$(FUZZ))

$(BUILD)/tests/%: tests/bench/%.c $(NODE_O) $(LIB_O)
	@mkdir -p $(@D)
	@echo "  bench   $@"
	$(Q)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS_ALL) -MF $@.d -o $@ $< $(NODE_O) $(LIB_O) $(LDFLAGS) $(PKG_LIBS)

$(BUILD)/tests/%: tests/reference/%.c $(NODE_O) $(LIB_O)
	@mkdir -p $(@D)
	@echo "  test    $@"
	$(Q)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS_ALL) -MF $@.d -o $@ $< $(NODE_O) $(LIB_O) $(LDFLAGS) $(PKG_LIBS)

# Each comparison with another program has a Python of its own, with what it needs, under build/.
build/venv-tokenizer:
	$(Q)python3 -m venv $@.partial && $@.partial/bin/pip -q install tokenizers && mv $@.partial $@
build/venv-model:
	$(Q)tests/reference/venv_model.sh $@
.PHONY: test-reference reference-tokenizer reference-model golden
test-reference: reference-tokenizer reference-model
reference-tokenizer: $(BUILD)/tests/tokenizer_ids build/venv-tokenizer
	$(Q)build/venv-tokenizer/bin/python3 tests/reference/compare_tokenizer.py $<
reference-model: $(BUILD)/tests/model_probe build/venv-model
	$(Q)build/venv-model/bin/python3 tests/reference/compare_transformers.py $<
# Written anew only on purpose: they are what the unit tests compare with.
golden: build/venv-model
	$(Q)build/venv-model/bin/python3 tests/reference/compare_transformers.py --golden tests/golden/models

.PHONY: unit tests test lint check demo install-deps install
unit: $(UNIT)
	$(Q)for t in $(UNIT); do $$t || exit 1; done
tests: all $(UNIT) $(REPLAY)

# The inner make starts after the packages are there: pkg-config is asked when it reads this file.
test:
	$(Q)deploy/install-deps.sh
	$(Q)$(MAKE) --no-print-directory tests WERROR=$(WERROR) VARIANT=$(VARIANT)
	$(Q)tests/run.sh $(BUILD)
lint:
	$(Q)tests/lint/lint.sh
check:
	$(Q)deploy/install-deps.sh
	$(Q)tests/check.sh
demo: all
	$(Q)deploy/demo.sh $(BUILD)
install-deps:
	$(Q)deploy/install-deps.sh
install: all
	install -D -m 755 $(BUILD)/caravan-node $(DESTDIR)$(PREFIX)/bin/caravan-node

.PHONY: bench
bench: $(BENCH)
	$(Q)tests/bench/bench.sh $(BUILD)

.PHONY: clean
clean:
	rm -rf build

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
