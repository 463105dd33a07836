# SPDX-License-Identifier: Apache-2.0
# Farline. `make help` lists the targets. One file, no recursion but for `check`, which runs each
# lane as its own make under a time limit.
ifeq ($(origin CC),default)
CC = gcc
endif
CLANG ?= clang
BUILD ?= build
CFLAGS ?= -O2 -g
PREFIX ?= /usr/local
SCENARIO ?= scenarios/writeback/sqlite.lua
FUZZ_SECONDS ?= 20
COVERAGE_MIN ?= 85

PKGS = libfabric libevent_core libevent_extra libevent_pthreads jansson lua5.4 libxxhash zlib sqlite3 libcrypto
WARN = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wconversion -Wno-sign-conversion -Werror
LANG_FLAGS = -std=c17 -D_GNU_SOURCE -I. $(WARN)
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null)
ALL_CFLAGS = $(LANG_FLAGS) $(PKG_CFLAGS) $(CFLAGS) -pthread
# The C library comes first, so that malloc is its own: mimalloc serves only what names it. A program
# that stands still in a trap may stand inside of mimalloc, and the simulator allocates meanwhile.
LIBS = $(PKG_LIBS) -lm -pthread -lc -lmimalloc

# ---- sources: one wildcard per layer; a test is tests/KIND/test_*.c, the rest there is shared ----
BASE_SRC = $(wildcard emu/base/*.c)
COH_SRC = $(wildcard coherence/*.c)
TP_SRC = $(wildcard transport/*.c)
MECH_SRC = $(wildcard emu/mech/*.c)
EMU_SRC = $(filter-out emu/main.c,$(wildcard emu/*.c))
LIB_SRC = $(BASE_SRC) $(COH_SRC) $(TP_SRC) $(MECH_SRC) $(EMU_SRC)
SUPPORT_SRC = $(filter-out $(wildcard tests/*/test_*.c tests/bench/bench_*.c),\
	$(wildcard tests/support/*.c tests/unit/*.c tests/sim/*.c tests/real/*.c tests/bench/*.c))
UNIT_SRC = $(wildcard tests/unit/test_*.c)
SIM_SRC = $(wildcard tests/sim/test_*.c)
REAL_SRC = $(wildcard tests/real/test_*.c)
# Some run at once: the longest begins first.
REAL_LONG = tests/real/test_scenarios.sh
REAL_SH = $(filter-out $(REAL_LONG),$(wildcard tests/real/test_*.sh))
# Those of them that look at the program's code again in an instrumented build; not at scripts.
PROGRAM_SH = $(filter-out %/test_ci.sh %/test_layers.sh %/test_readme.sh,$(REAL_SH))
BENCH_SRC = $(wildcard tests/bench/bench_*.c)
FUZZ_SRC = $(wildcard tests/fuzz/fuzz_*.c)
ALL_SRC = $(LIB_SRC) $(wildcard emu/main.c tests/*/*.c)
HEADERS = $(wildcard ci/*.h emu/base/*.h coherence/*.h transport/*.h emu/mech/*.h emu/*.h tests/*/*.h)
SHELL_SRC = $(filter-out %.txt %.yml %.h,$(wildcard ci/* .ci/run tests/*/*.sh))

# $(call bin,DIRS,SOURCES): the test programs of these sources in build directories
bin = $(foreach d,$(1),$(patsubst tests/%.c,$(d)/tests/%,$(2)))
say = @printf '  %-7s %s\n'

all: $(BUILD)/farline ## build build/farline

# ---- one build directory per variant --------------------------------------------------------------
# $(call variant,DIR,COMPILER,FLAGS,LIBS): objects, library, program and tests of one variant.
# DIR/flags changes only when compiler or flags do, so a changed CFLAGS rebuilds.
define variant
$(1)/flags: FORCE
	@mkdir -p $$(@D)
	@printf '%s\n' '$(2) $$(subst ','\'',$(3) $(4) $$(LDFLAGS))' | cmp -s - $$@ || \
		printf '%s\n' '$(2) $$(subst ','\'',$(3) $(4) $$(LDFLAGS))' > $$@

$(1)/obj/%.o: %.c $(1)/flags
	@mkdir -p $$(@D)
	$$(say) CC $$@
	@$(2) $(3) -MMD -MP -c $$< -o $$@

$(1)/libfarline.a: $$(patsubst %.c,$(1)/obj/%.o,$$(LIB_SRC))
	@rm -f $$@
	$$(say) AR $$@
	@ar rcs $$@ $$^

$(1)/libsupport.a: $$(patsubst %.c,$(1)/obj/%.o,$$(SUPPORT_SRC))
	@rm -f $$@
	@ar rcs $$@ $$^

$(1)/farline: $(1)/obj/emu/main.o $(1)/libfarline.a
	$$(say) LD $$@
	@$(2) $(3) $$(LDFLAGS) $$^ $(4) -o $$@

$(1)/tests/%: $(1)/obj/tests/%.o $(1)/libsupport.a $(1)/libfarline.a
	@mkdir -p $$(@D)
	$$(say) LD $$@
	@$(2) $(3) $$(LDFLAGS) $$^ -lcmocka $(4) -o $$@

.PRECIOUS: $(1)/obj/%.o
endef

# Instrumentation hides ranges of values from gcc: these two warnings then see what is not there.
QUIET = -Wno-format-truncation -Wno-maybe-uninitialized
ASAN_FLAGS = -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer $(QUIET)
TSAN_FLAGS = -O1 -g -fsanitize=thread $(QUIET)
COV_FLAGS = -O0 -g --coverage -fprofile-update=atomic -fprofile-abs-path $(QUIET)
FUZZ_FLAGS = -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined

$(eval $(call variant,$(BUILD),$$(CC),$$(ALL_CFLAGS),$$(LIBS)))
$(eval $(call variant,build-asan,$$(CC),$$(LANG_FLAGS) $$(PKG_CFLAGS) $$(ASAN_FLAGS) -pthread,$$(LIBS)))
$(eval $(call variant,build-tsan,$$(CC),$$(LANG_FLAGS) $$(PKG_CFLAGS) $$(TSAN_FLAGS) -pthread,$$(LIBS)))
$(eval $(call variant,build-cov,$$(CC),$$(LANG_FLAGS) $$(PKG_CFLAGS) $$(COV_FLAGS) -pthread,$$(LIBS)))
$(eval $(call variant,build-clang,$$(CLANG),$$(ALL_CFLAGS),$$(LIBS)))
$(eval $(call variant,build-fuzz,$$(CLANG),$$(LANG_FLAGS) $$(PKG_CFLAGS) $$(FUZZ_FLAGS) -pthread,$$(LIBS)))

# Other machines: cross compiler, libraries of that machine unpacked from Debian packages.
CROSS_PKGS = $(filter-out libclang-rt-dev,$(filter lib%-dev zlib1g-dev,$(shell ci/deps list check)))
CROSS = -O2 -g -pthread -Wl,--as-needed
CROSS_arm64 = aarch64-linux-gnu-gcc --sysroot=build-cross/arm64/root
CROSS_s390x = s390x-linux-gnu-gcc --sysroot=build-cross/s390x/root
$(eval $(call variant,build-arm64,$(CROSS_arm64),$$(LANG_FLAGS) $$(PKG_CFLAGS) $$(CROSS),$$(LIBS)))
$(eval $(call variant,build-s390x,$(CROSS_s390x),$$(LANG_FLAGS) $$(PKG_CFLAGS) $$(CROSS),$$(LIBS)))
build-arm64/flags: build-cross/arm64/packages
build-s390x/flags: build-cross/s390x/packages
build-cross/%/packages: ci/sysroot ci/deps
	@ci/sysroot $* build-cross/$* $(CROSS_PKGS)

build-fuzz/fuzz_%: build-fuzz/obj/tests/fuzz/fuzz_%.o build-fuzz/libfarline.a
	$(say) LD $@
	@$(CLANG) $(FUZZ_FLAGS) -fsanitize=fuzzer,address,undefined -pthread $^ $(LIBS) -o $@

# ---- lanes ------------------------------------------------------------------------------------------
check: ## every lane, timed; ends with the sum of all test cases
	@MAKE="$(MAKE)" ci/lanes $(LANES)

LANES ?= lint unit sim real rxe containers asan tsan clang cross fuzz coverage

# What several lanes need of the plain build: they run at once.
lanes-common: $(BUILD)/farline $(call bin,$(BUILD),$(UNIT_SRC) $(SIM_SRC) $(REAL_SRC))

unit: check-unit
check-unit: $(call bin,$(BUILD),$(UNIT_SRC)) ## unit tests, one program per source file
	@ci/run-tests unit --build $(BUILD) $^

check-sim: $(call bin,$(BUILD),$(SIM_SRC)) $(BUILD)/farline ## property tests in the simulator
	@ci/run-tests sim --build $(BUILD) --timeout 240 $(filter-out %/farline,$^)

check-real: $(call bin,$(BUILD),$(REAL_SRC)) $(BUILD)/farline ## tests with real processes and fabrics
	@ci/run-tests real --build $(BUILD) --timeout 240 $(REAL_LONG) $(filter-out %/farline,$^) $(REAL_SH)

# Guests with an RDMA device: QEMU and Debian's kernel (ci/deps rxe), see ci/rxe-guest.
RXE_BIN = $(BUILD)/farline $(addprefix $(BUILD)/tests/real/,test_fabric test_fabric_death test_fabric_link)
check-rxe: $(RXE_BIN) ## verbs on soft-RoCE devices in guests: fabric, scenarios, faults of the link
	@rm -rf $(BUILD)/matrix/rxe.tsv
	@ci/run-tests rxe --build $(BUILD) --timeout 800 --jobs 1 $(wildcard tests/rxe/test_*.sh)

# An image from Debian packages, run by podman (ci/deps containers).
check-containers: $(BUILD)/farline ## an image is built; scenarios with a container for each node
	@ci/run-tests containers --build $(BUILD) --timeout 580 ci/containers

smoke-rxe: $(RXE_BIN) ## of that, one boot: the fabric's tests and one scenario
	@ci/rxe-guest --timeout 400 ci/rxe-smoke $^

# The trap handler of the tracker must be ours, and only memory of its own may crash the program.
ASAN_ENV = ASAN_OPTIONS=handle_segv=0:handle_sigbus=0:allow_user_segv_handler=1:detect_stack_use_after_return=0:abort_on_error=1 \
	UBSAN_OPTIONS=print_stacktrace=1
check-asan: $(call bin,build-asan,$(UNIT_SRC) $(SIM_SRC) $(REAL_SRC)) build-asan/farline ## all tests with AddressSanitizer and UBSan
	@FABRICS="tcp sim" $(ASAN_ENV) ci/run-tests asan --build build-asan --timeout 600 $(REAL_LONG) \
		$(filter-out %/farline,$^) $(PROGRAM_SH)

# With addresses at random places TSan's shadow may not fit: off where this machine lets us.
check-tsan: $(call bin,build-tsan,$(UNIT_SRC) $(SIM_SRC) $(REAL_SRC)) ## tests with ThreadSanitizer, traps included (exclusions: ci/tsan-excluded.txt)
	@ci/run-tests tsan --build build-tsan --timeout 400 --exclude ci/tsan-excluded.txt \
		$(if $(shell setarch -R true 2>&1),,--wrap 'setarch -R') $^

check-clang: build-clang/farline $(call bin,build-clang,$(UNIT_SRC) $(SIM_SRC) $(REAL_SRC)) ## everything built by clang, unit tests run
	@ci/run-tests clang --build build-clang $(call bin,build-clang,$(UNIT_SRC))

# Left out are the tests of traps and sockets, named with the reason in ci/cross-excluded.txt.
CROSS_SRC = $(filter-out $(shell sed -n 's/^\(tests[^ ]*\.c\).*/\1/p' ci/cross-excluded.txt),$(UNIT_SRC) $(SIM_SRC))
check-cross: $(call bin,build-arm64 build-s390x,$(CROSS_SRC)) $(addsuffix /farline,$(BUILD) build-arm64 build-s390x) ## pure parts for arm64 and s390x under qemu-user, same trace hash
	@ci/cross $(patsubst tests/%.c,%,$(CROSS_SRC))

fuzz-smoke: $(patsubst tests/fuzz/%.c,build-fuzz/%,$(FUZZ_SRC)) ## each fuzz target for FUZZ_SECONDS on its corpus
	@ci/fuzz-smoke $(FUZZ_SECONDS) $^

# ---- lint -------------------------------------------------------------------------------------------
$(BUILD)/lint/%.tidy: %.c .clang-tidy ci/tidy.h $(HEADERS)
	@mkdir -p $(@D)
	$(say) TIDY $<
	@clang-tidy --quiet --warnings-as-errors='*' $< -- $(LANG_FLAGS) $(PKG_CFLAGS) \
		$(if $(filter emu/base/err.c,$<),,-include ci/tidy.h) > $@.log 2>&1 || \
		{ cat $@.log; exit 1; }
	@mv $@.log $@

tidy: $(patsubst %.c,$(BUILD)/lint/%.tidy,$(ALL_SRC))

lint: $(BUILD)/libfarline.a ## clang-tidy, cppcheck, shellcheck, format, include rule, pure cores
	@MAKE="$(MAKE)" BUILD=$(BUILD) ci/lint

format: ## rewrite all C files by .clang-format
	clang-format -i $(ALL_SRC) $(HEADERS)

lint-files: # names for ci/lint, one list a line
	@echo "c $(ALL_SRC)"; echo "h $(HEADERS)"; echo "sh $(SHELL_SRC)"

# ---- figures ----------------------------------------------------------------------------------------
coverage: $(call bin,build-cov,$(UNIT_SRC) $(SIM_SRC) $(REAL_SRC)) build-cov/farline ## line coverage of all tests, at least COVERAGE_MIN percent
	@FABRICS=sim ci/coverage build-cov $(COVERAGE_MIN) $(REAL_LONG) \
		$(filter-out %/farline,$^) $(PROGRAM_SH)

bench: $(call bin,$(BUILD),$(BENCH_SRC)) $(BUILD)/farline ## figures against raw code: table and build/bench.json
	@ci/bench --build $(BUILD) $(filter-out %/farline,$^)

bench-rxe: $(BUILD)/tests/rxe/bench_guest ## reads over verbs and tcp in a guest against raw libfabric; build/bench-rxe.json
	@mkdir -p $(BUILD)/bench-rxe
	@ci/rxe-guest --timeout 300 --mem 2560 --out $(BUILD)/bench-rxe sh -c \
		'ci/bench --build $(BUILD) $<; rc=$$?; cp $(BUILD)/bench.json /out; exit $$rc'
	@mv $(BUILD)/bench-rxe/bench.json $(BUILD)/bench-rxe.json

demo: $(BUILD)/farline ## SQLite on the memory of other processes, checked
	$(BUILD)/farline run $(SCENARIO)

# ---- install ----------------------------------------------------------------------------------------
install: $(BUILD)/farline ## PREFIX, DESTDIR: program, man pages, scenarios
	install -D -m 755 $(BUILD)/farline $(DESTDIR)$(PREFIX)/bin/farline
	set -e; for m in $(wildcard emu/man/*.[1-8]); do \
		install -D -m 644 $$m $(DESTDIR)$(PREFIX)/share/man/man$${m##*.}/$$(basename $$m); done
	set -e; find scenarios -type f | while read -r f; do \
		install -D -m 644 "$$f" "$(DESTDIR)$(PREFIX)/share/farline/$$f"; done

clean: ## remove what was built
	rm -rf $(BUILD) build-*

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | sort | while IFS='	' read -r t d; do \
		printf '%-14s %s\n' "$$t" "$$d"; done

FORCE:
.SECONDARY:
.SUFFIXES:
.DELETE_ON_ERROR:
.PHONY: all check lanes-common unit check-unit check-sim check-real check-rxe check-containers check-asan check-tsan \
	check-clang check-cross fuzz-smoke tidy lint lint-files format coverage bench bench-rxe \
	smoke-rxe demo install clean help FORCE
-include $(wildcard $(foreach d,$(BUILD) build-asan build-tsan build-cov build-clang build-fuzz build-arm64 build-s390x,\
	$(foreach s,emu emu/base emu/mech coherence transport tests/unit tests/sim tests/real tests/support tests/fuzz tests/bench tests/rxe,$(d)/obj/$(s)/*.d)))
