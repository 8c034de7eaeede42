# kvmprofs: one file, not recursive.   make help
VERSION := 0.1.0

PREFIX  ?= /usr/local
SBINDIR ?= $(PREFIX)/sbin
MANDIR  ?= $(PREFIX)/share/man
BASHCOMPDIR ?= $(PREFIX)/share/bash-completion/completions
DESTDIR ?=

CC         ?= cc
PKG_CONFIG ?= pkg-config
CFLAGS     ?= -O2 -g
# Of the users' choice: SANITIZE=address,undefined or SANITIZE=thread; V=1 shows commands.
SANITIZE ?=
V        ?=

comma := ,
BUILD := build$(if $(SANITIZE),-$(subst $(comma),-,$(SANITIZE)))
Q     := $(if $(V),,@)
say    = $(if $(V),,@printf '  %-7s %s\n' '$(1)' '$(2)')

# The package, the oldest version that is known to do, and Debian's name for it.
LIBS := fuse3:3.14:libfuse3-dev libssh:0.10:libssh-dev libelf:0.188:libelf-dev libzstd:1.5.2:libzstd-dev \
	libbpf:1.1:libbpf-dev libtraceevent:1.7:libtraceevent-dev json-c:0.16:libjson-c-dev zlib:1.2:zlib1g-dev

NEEDS_NO_LIBS := help clean uninstall deps demo check bench bench-lab lint
ifneq ($(filter-out $(NEEDS_NO_LIBS),$(or $(MAKECMDGOALS),all)),)
missing := $(strip $(foreach l,$(LIBS),$(shell $(PKG_CONFIG) --atleast-version=$(word 2,$(subst :, ,$(l))) \
	$(word 1,$(subst :, ,$(l))) || echo $(word 3,$(subst :, ,$(l))))))
ifneq ($(missing),)
$(error missing libraries: install $(missing), or run `make deps` as root)
endif
endif
lib_names   := $(foreach l,$(LIBS),$(firstword $(subst :, ,$(l))))
LIB_CFLAGS  := $(shell $(PKG_CONFIG) --cflags $(lib_names) 2>/dev/null)
LIB_LDLIBS  := $(shell $(PKG_CONFIG) --libs $(lib_names) 2>/dev/null)
TEST_LDLIBS  = $(shell $(PKG_CONFIG) --libs cmocka)

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wpointer-arith -Wwrite-strings -Wvla -Wformat=2 -Wundef -Wconversion -Wno-sign-conversion
override ALL_CFLAGS := -std=gnu11 -D_GNU_SOURCE -DFUSE_USE_VERSION=314 -DKVMPROFS_VERSION='"$(VERSION)"' \
	-I. -pthread -fstack-protector-strong -fno-strict-aliasing $(WARNINGS) $(LIB_CFLAGS) $(CFLAGS) \
	$(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -O1,-D_FORTIFY_SOURCE=2)
override ALL_LDFLAGS := -pthread $(LDFLAGS) $(if $(SANITIZE),-fsanitize=$(SANITIZE))

# ---- the rooms, bottom first: a library each; a test links its room and those below ------------
ROOMS := symsrc profiler fs
symsrc_src   := $(wildcard symsrc/base/*.c symsrc/*.c symsrc/memory/*.c)
profiler_src := $(filter-out %.bpf.c,$(wildcard profiler/*.c profiler/exits/*.c profiler/perfdata/*.c))
fs_src       := $(filter-out fs/main.c,$(wildcard fs/*.c))
objs          = $(patsubst %.c,$(BUILD)/%.o,$(1))
libs_of_symsrc   := $(BUILD)/libsymsrc.a
libs_of_profiler := $(BUILD)/libprofiler.a $(libs_of_symsrc)
libs_of_fs       := $(BUILD)/libfs.a $(libs_of_profiler)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all
all: $(BUILD)/kvmprofs

$(BUILD)/kvmprofs: $(BUILD)/fs/main.o $(libs_of_fs)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIB_LDLIBS)

define room_rule
$(BUILD)/lib$(1).a: $(call objs,$($(1)_src))
	$(call say,AR,$$@)
	$(Q)rm -f $$@ && $(AR) rcs $$@ $$^
endef
$(foreach r,$(ROOMS),$(eval $(call room_rule,$(r))))

# ---- the program for guests: static and small, needs nothing there but a kernel --------------------
# GUEST_CC=musl-gcc makes it a tenth of the size.
GUEST_CC ?= $(CC)
guest_flags := -std=gnu11 -D_GNU_SOURCE -DKVMPROFS_VERSION='"$(VERSION)"' -I. $(WARNINGS) -Os -ffunction-sections \
	-fdata-sections $(if $(findstring address,$(SANITIZE)),-g -fsanitize=$(SANITIZE),-static -s -Wl$(comma)--gc-sections)
.PHONY: guest-helper
guest-helper: $(BUILD)/kvmprofs-guest
$(BUILD)/kvmprofs-guest: $(wildcard symsrc/guest-helper/*.[ch]) $(BUILD)/flags
	$(call say,GUESTCC,$@)
	$(Q)$(GUEST_CC) $(guest_flags) -o $@ $(filter %.c,$^)

# ---- the programs for the kernel: BPF, which clang alone compiles here; embedded by object.c --------
BPF_CC    ?= $(firstword $(foreach c,clang clang-14,$(shell command -v $(c) 2>/dev/null)) clang)
BPF_FLAGS := -O2 -g -target bpf -ffreestanding -mcpu=v2 -I. -I/usr/include/$(shell $(CC) -print-multiarch 2>/dev/null) \
	-Wall -Wextra -Werror $(shell $(PKG_CONFIG) --cflags libbpf 2>/dev/null)
bpf_object := profiler/exits/exits.bpf.o
define bpf_rule
$(1)/%.bpf.o: %.bpf.c $(addprefix profiler/exits/,abi.h counting.h places.h)
	$$(call say,BPFCC,$$@)
	$(Q)command -v $$(BPF_CC) >/dev/null || { echo 'clang compiles the BPF programs: install it, or run `make deps` as root' >&2; exit 1; }
	$(Q)mkdir -p $$(@D) && $$(BPF_CC) $$(BPF_FLAGS) -c -o $$@ $$<
$(1)/profiler/exits/object.o: $(1)/$$(bpf_object)
$(1)/profiler/exits/object.o: private override $(2) += -Wa,-I$(1)
endef
$(eval $(call bpf_rule,$(BUILD),ALL_CFLAGS))
$(eval $(call bpf_rule,build-fuzz,LIB_CFLAGS))

# Everything is rebuilt when the flags change.
$(BUILD)/flags: FORCE
	@mkdir -p $(BUILD)
	@echo '$(subst ','\'',$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS))' | cmp -s - $@ || \
		echo '$(subst ','\'',$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS))' >$@
.PHONY: FORCE

$(BUILD)/%.o: %.c $(BUILD)/flags
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

# ---- tests --------------------------------------------------------------------------------------
# tests/unit/ROOM/test_MODULE.c; helpers that several tests share: tests/unit/lib/*.c
unit_src  := $(wildcard tests/unit/*/test_*.c)
unit_bin  := $(patsubst %.c,$(BUILD)/%,$(unit_src))
unit_libs := $(call objs,$(wildcard tests/unit/lib/*.c))

define unit_rule
$(BUILD)/tests/unit/$(1)/test_%: $(BUILD)/tests/unit/$(1)/test_%.o $(unit_libs) $(libs_of_$(1))
	$$(call say,LD,$$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $$@ $$^ $(LIB_LDLIBS) $$(TEST_LDLIBS)
endef
$(foreach r,$(ROOMS),$(eval $(call unit_rule,$(r))))

$(BUILD)/tests/unit/symsrc/test_virtio_guest: | $(BUILD)/kvmprofs-guest

.PHONY: unit-tests check check-unit demo bench bench-lab deps fuzz lint
unit-tests: $(unit_bin)

# What the tests and the demo need, from Debian's packages; does nothing when all is there.
deps:
	@tests/install-deps

# All tests, also on a machine where nothing is installed yet. FLOORS="unit fs" picks some.
# Under a sanitizer only what it can see into.
FLOORS ?= $(if $(SANITIZE),unit fs guest,lint unit self fuzz fs guest lab)
check:
	@tests/install-deps
	@tests/run --build '$(BUILD)' --sanitize '$(SANITIZE)' $(FLOORS)

check-%:
	@tests/run --build '$(BUILD)' --sanitize '$(SANITIZE)' $*

demo:
	@tests/install-deps --for demo
	@$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$$(nproc)) all
	@tests/demo $(BUILD)/kvmprofs

bench:
	@tests/install-deps
	@tests/bench/run --build '$(BUILD)'

# What wants a KVM whose exits are traced, in the lab's.
bench-lab:
	@tests/install-deps
	@tests/bench/run --build '$(BUILD)' --lab

lint:
	@tests/install-deps
	@tests/lint

# ---- fuzzers: tests/fuzz/fuzz_*.c, one parser each, libFuzzer (clang) -----------------------------
FUZZ_CC    ?= clang
fuzz_src   := $(wildcard tests/fuzz/fuzz_*.c)
fuzz_bin   := $(patsubst tests/fuzz/%.c,build-fuzz/%,$(fuzz_src))
FUZZ_FLAGS := -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all
fuzz_makers := $(addprefix tests/unit/lib/,fakeram.c kernelmaker.c kernelmaker_tables.c modulemaker.c)
fuzz_objs   = $(patsubst %.c,build-fuzz/%.o,$(symsrc_src) $(profiler_src) fs/control.c fs/options.c fs/mountpoint.c \
	$(fuzz_makers))
fuzz: $(fuzz_bin)
build-fuzz/%.o: %.c
	$(call say,FUZZCC,$@)
	$(Q)mkdir -p $(@D) && $(FUZZ_CC) -std=gnu11 -D_GNU_SOURCE -DKVMPROFS_VERSION='"$(VERSION)"' -I. -pthread $(LIB_CFLAGS) \
		-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -g -O1 -MMD -MP -c -o $@ $<
build-fuzz/libfuzzed.a: $(fuzz_objs)
	$(Q)rm -f $@ && $(AR) rcs $@ $^
build-fuzz/fuzz_%: tests/fuzz/fuzz_%.c build-fuzz/libfuzzed.a
	$(call say,FUZZLD,$@)
	$(Q)mkdir -p $(@D) && $(FUZZ_CC) -std=gnu11 -D_GNU_SOURCE -I. -pthread $(LIB_CFLAGS) $(FUZZ_FLAGS) -o $@ $^ $(LIB_LDLIBS)
-include $(shell find build-fuzz -name '*.d' 2>/dev/null)

# ---- benchmarks: tests/bench/bench_*.c ----------------------------------------------------------
bench_bin := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/bench/bench_*.c))
$(BUILD)/tests/bench/bench_%: $(BUILD)/tests/bench/bench_%.o $(libs_of_fs)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIB_LDLIBS)
# A guest that is nothing but a storm of exits; libc is all it needs.
$(BUILD)/tests/bench/storm: $(BUILD)/tests/bench/storm.o
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^
.PHONY: bench-bin
bench-bin: $(bench_bin) $(BUILD)/tests/bench/storm

# ---- install ------------------------------------------------------------------------------------
.PHONY: install uninstall clean help
install: all
	install -D -m 755 $(BUILD)/kvmprofs '$(DESTDIR)$(SBINDIR)/kvmprofs'
	install -D -m 644 fs/kvmprofs.8 '$(DESTDIR)$(MANDIR)/man8/kvmprofs.8'
	install -D -m 644 fs/kvmprofs.bash-completion '$(DESTDIR)$(BASHCOMPDIR)/kvmprofs'

uninstall:
	rm -f '$(DESTDIR)$(SBINDIR)/kvmprofs' '$(DESTDIR)$(MANDIR)/man8/kvmprofs.8' \
		'$(DESTDIR)$(BASHCOMPDIR)/kvmprofs'

clean:
	rm -rf build build-*

help:
	@echo 'make                the program, as build/kvmprofs'
	@echo 'make demo           everything on a fresh Debian machine: install, build, a guest of its own, a look'
	@echo 'make check          all tests, installing what they need; FLOORS="unit fs" for some of them'
	@echo 'make bench          speed beside the peers; make bench-lab: with the exits of the lab'"'"'s KVM, in minutes'
	@echo 'make lint           clang-format, clang-tidy, cppcheck, the include direction, function length'
	@echo 'make fuzz           the fuzzers, as build-fuzz/fuzz_*'
	@echo 'make guest-helper   the program for guests without an agent, as build/kvmprofs-guest (see examples/)'
	@echo 'make install        DESTDIR=$(DESTDIR) PREFIX=$(PREFIX); make uninstall'
	@echo 'make clean          SANITIZE=address,undefined or thread builds into a directory of its own'
