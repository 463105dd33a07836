# SPDX-License-Identifier: Apache-2.0
# Farline. `make help` lists the targets.
CC ?= gcc
BUILD ?= build
CFLAGS ?= -O2 -g
PKGS = libfabric libevent_core libevent_extra libevent_pthreads jansson lua5.4 libxxhash zlib sqlite3 libcrypto
WARN = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wconversion -Wno-sign-conversion -Werror
ALL_CFLAGS = -std=c17 -D_GNU_SOURCE -I. $(WARN) $(shell pkg-config --cflags $(PKGS)) $(CFLAGS) -pthread -MMD -MP
LIBS = $(shell pkg-config --libs $(PKGS)) -lmimalloc -lm -pthread

BASE_SRC = $(wildcard emu/base/*.c)
COH_SRC = $(wildcard coherence/*.c)
TP_SRC = $(wildcard transport/*.c)
MECH_SRC = $(wildcard emu/mech/*.c)
EMU_SRC = $(filter-out emu/main.c,$(wildcard emu/*.c))
obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
LIB = $(BUILD)/libfarline.a

all: $(BUILD)/farline ## build build/farline

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c $< -o $@

$(LIB): $(call obj,$(BASE_SRC) $(COH_SRC) $(TP_SRC) $(MECH_SRC) $(EMU_SRC))
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/farline: $(call obj,emu/main.c) $(LIB)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $^ $(LIBS) -o $@

$(BUILD)/tests/%: tests/%.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) $< $(LIB) $(LIBS) -lcmocka -o $@

unit: $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c)) ## unit tests
	@for t in $^; do echo "== $$t"; $$t || exit 1; done

clean: ## remove what was built
	rm -rf $(BUILD)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile

.PHONY: all unit clean help
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
