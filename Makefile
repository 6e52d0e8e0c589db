# The whole build.  `make help` prints the targets.
#
# MODE is debug, release, asan, tsan or fuzz; each builds in its own folder, so that one never
# waits for or spoils another.  BUILD may point anywhere.
MODE  ?= debug
BUILD ?= build
OUT   := $(BUILD)/$(MODE)

VERSION := 0.1.0
PREFIX  ?= /usr/local
UNITS   := /lib/systemd/system

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
        -Wpointer-arith -Wcast-qual -Wwrite-strings -Wformat=2 -Wundef -Wvla -Werror
MODE_debug   := -O0 -g3
MODE_release := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
MODE_asan    := -O1 -g3 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
MODE_tsan    := -O1 -g3 -fno-omit-frame-pointer -fsanitize=thread
MODE_fuzz    := -O1 -g3 -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined \
                -fno-sanitize-recover=all
MODE_LDFLAGS_release := -pie -Wl,-z,relro,-z,now
# A hundred test programs are linked in each mode that is not shipped: gold (of binutils) takes a fifth of the time.
ifeq ($(filter release fuzz,$(MODE)),) # (of what clang instruments gold complains)
MODE_LDFLAGS_$(MODE) := $(if $(shell command -v ld.gold),-fuse-ld=gold)
endif
ifeq ($(filter $(MODE),debug release asan tsan fuzz),)
$(error MODE is '$(MODE)': use debug, release, asan, tsan or fuzz)
endif

# gcc builds what ships; clang builds the fuzzers and checks lock discipline (-Wthread-safety).
ifeq ($(MODE),fuzz)
CC := clang
endif
ifeq ($(origin CC),default)
CC := gcc
endif
ifneq ($(findstring clang,$(CC)),)
WARN += -Wthread-safety -Wmissing-variable-declarations
endif

CPPFLAGS += -D_GNU_SOURCE -Iinclude -DTB_VERSION='"$(VERSION)"'
LDFLAGS  += -Wl,--build-id=sha1
CFLAGS   += -std=c17 $(WARN) $(MODE_$(MODE)) -MMD -MP
comma    := ,
LDFLAGS  += $(filter -fsanitize=address$(comma)% -fsanitize=thread,$(MODE_$(MODE))) $(MODE_LDFLAGS_$(MODE))
LDLIBS   += -lmicrohttpd -lgnutls -lcurl -lcrypto -ljansson -lexpat -lpcap -lzstd -lsqlite3 -lyaml -lseccomp \
            -lsystemd -lm -lpthread

LIB_SRC   := $(filter-out src/cli/main.c,$(wildcard src/*/*.c)) $(wildcard webhooks/*.c webhooks/*/*.c)
AWSIM_SRC := $(wildcard tests/lab/awsim/*.c)
UNIT_SRC  := $(wildcard tests/unit/*/test_*.c)
FUZZ_SRC  := $(wildcard tests/fuzz/fuzz_*.c)
TOOL_SRC  := $(wildcard tests/lab/tools/*.c)
BENCH_SRC := $(wildcard tests/bench/*.c)

obj = $(patsubst %.c,$(OUT)/obj/%.o,$(1))
LIB   := $(OUT)/libtapbox.a
UNIT  := $(patsubst tests/unit/%.c,$(OUT)/unit/%,$(UNIT_SRC))
FUZZ  := $(patsubst tests/fuzz/%.c,$(OUT)/fuzz/%,$(FUZZ_SRC))
TOOLS := $(patsubst tests/lab/tools/%.c,$(OUT)/tools/%,$(TOOL_SRC))
BENCH := $(patsubst tests/bench/%.c,$(OUT)/bench/%,$(BENCH_SRC))
SUPPORT_OBJ := $(call obj,$(wildcard tests/support/*.c))
PROGRAMS := $(if $(wildcard src/cli/main.c),$(OUT)/tapbox) $(if $(AWSIM_SRC),$(OUT)/awsim) $(TOOLS)

# A line a file; V=1 shows the commands, -s nothing.
ifeq ($(filter 1,$(V))$(findstring s,$(firstword -$(MAKEFLAGS))),)
Q = @echo "  $(1) $(patsubst $(BUILD)/%,%,$@)";
endif

.PHONY: all
all: $(PROGRAMS) ## Build tapbox and the lab's programs (MODE=debug|release|asan|tsan)

$(OUT)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call Q,CC)$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

# The API's description and the policy that ships are embedded as they are.
$(call obj,src/http/meta.c): src/http/openapi.json
$(call obj,src/config/policy_file.c): infra/policy/default.yaml

# The schema's steps become one table of name and text (octets, as C bounds string literals).
MIGRATIONS := $(sort $(wildcard src/store/migrations/*.sql))
$(OUT)/gen/migrations.c: $(MIGRATIONS)
	@mkdir -p $(@D)
	@{ echo '#include "migrations_int.h"'; echo 'const struct store_migration store_migrations[] = {'; \
	for f in $^; do echo "{\"$$(basename $$f .sql)\", (const char[]){"; \
	    od -An -v -tx1 $$f | sed 's/ \(..\)/0x\1,/g'; echo '0}},'; done; \
	echo '}; const size_t store_migration_count = $(words $(MIGRATIONS));'; } > $@.new
	@mv $@.new $@
$(OUT)/obj/gen/migrations.o: $(OUT)/gen/migrations.c
	@mkdir -p $(@D)
	$(call Q,CC)$(CC) $(CPPFLAGS) -Isrc/store $(CFLAGS) -c -o $@ $<

$(LIB): $(call obj,$(LIB_SRC)) $(OUT)/obj/gen/migrations.o
	@mkdir -p $(@D)
	@rm -f $@
	$(call Q,AR)ar rcs $@ $^

$(OUT)/tapbox: $(call obj,src/cli/main.c) $(LIB)
	$(call Q,LD)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

# awsim shares nothing with tapbox: not the library, not a header.
$(call obj,$(AWSIM_SRC)): CPPFLAGS := -D_GNU_SOURCE
$(OUT)/awsim: $(call obj,$(AWSIM_SRC))
	$(call Q,LD)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lmicrohttpd -lcrypto -ljansson -lpthread

$(OUT)/tools/%: $(OUT)/obj/tests/lab/tools/%.o
	@mkdir -p $(@D)
	$(call Q,LD)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lpcap -lcrypto -lpthread

$(OUT)/bench/%: $(OUT)/obj/tests/bench/%.o $(LIB)
	@mkdir -p $(@D)
	$(call Q,LD)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(OUT)/unit/%: $(OUT)/obj/tests/unit/%.o $(SUPPORT_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(call Q,LD)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS)

# Built with MODE=fuzz these are libFuzzer programs; in every other mode replay.c runs the corpus.
ifeq ($(MODE),fuzz)
$(OUT)/fuzz/%: $(OUT)/obj/tests/fuzz/%.o $(LIB)
	@mkdir -p $(@D)
	$(call Q,LD)$(CC) $(CFLAGS) -fsanitize=fuzzer,address,undefined -o $@ $^ $(LDLIBS)
else
$(OUT)/fuzz/%: $(OUT)/obj/tests/fuzz/%.o $(OUT)/obj/tests/fuzz/replay.o $(LIB)
	@mkdir -p $(@D)
	$(call Q,LD)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
endif

.PHONY: check-build
check-build: $(UNIT) $(FUZZ) ## Build the unit tests and the corpus replayers

.PHONY: unit-programs
unit-programs: $(UNIT)

.PHONY: fuzzers
fuzzers: $(FUZZ) ## Build the fuzzers (MODE=fuzz)

.PHONY: check
check: all check-build ## Unit tests and the fuzz corpora, in MODE
	tests/run.sh --mode $(MODE) --build $(BUILD) unit corpus

.PHONY: integration
integration: all ## The integration tests, in the lab
	tests/run.sh --mode $(MODE) --build $(BUILD) integration

.PHONY: lint
lint: ## Layout, layers, static analysis, shell
	tests/run.sh --build $(BUILD) lint

.PHONY: chaos
chaos: deps-demo ## SIGKILL at every crash point, then count what is left (RUNS=1000 SEED=1 [JOBS=...])
	$(MAKE) --no-print-directory MODE=release all
	tests/chaos/chaos.py --build $(BUILD) --runs $(or $(RUNS),1000) --seed $(or $(SEED),1) $(if $(JOBS),--jobs $(JOBS))

.PHONY: bench
bench: deps-bench ## tapbox beside tcpdump, dumpcap and stenotype (BENCH_SECONDS=5 ROWS=cpu,rate,...)
	$(MAKE) --no-print-directory MODE=release all bench-programs
	tests/bench/bench.py --build $(BUILD) $(if $(BENCH_SECONDS),--seconds $(BENCH_SECONDS)) $(if $(ROWS),--rows "$(ROWS)")

.PHONY: bench-programs
bench-programs: $(BENCH)

.PHONY: fuzz-smoke
fuzz-smoke: ## Fuzz every parser for a few seconds (SECONDS_EACH=5)
	tests/run.sh --build $(BUILD) fuzz

.PHONY: test
test: deps ## Install what is missing, then everything that has to pass
	tests/run.sh --build $(BUILD) all

.PHONY: demo
demo: deps-demo ## Install what is missing, then the main job in the lab, shown
	$(MAKE) --no-print-directory MODE=release all
	tests/lab/demo.sh --build $(BUILD)

.PHONY: install
install: INSTALLED = $(or $(PROGRAM),$(BUILD)/release/tapbox)
install: ## Install the release build below DESTDIR (PREFIX=/usr/local; PROGRAM=: another build)
	$(if $(PROGRAM),,$(MAKE) --no-print-directory -s MODE=release all)
	install -D -m 755 $(INSTALLED) $(DESTDIR)$(PREFIX)/bin/tapbox
	install -D -m 644 src/cli/tapbox.1 $(DESTDIR)$(PREFIX)/share/man/man1/tapbox.1
	install -D -m 644 infra/completion/tapbox.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/tapbox
	install -D -m 644 infra/completion/_tapbox $(DESTDIR)$(PREFIX)/share/zsh/vendor-completions/_tapbox
	install -D -m 644 infra/needrestart/tapbox.conf $(DESTDIR)/etc/needrestart/conf.d/tapbox.conf
	install -d -m 755 $(DESTDIR)/etc/tapbox $(DESTDIR)/etc/default
	[ -e $(DESTDIR)/etc/tapbox/tapbox.yaml ] || \
	    $(INSTALLED) check-config --defaults >$(DESTDIR)/etc/tapbox/tapbox.yaml
	[ -e $(DESTDIR)/etc/default/tapbox ] || \
	    install -m 644 infra/systemd/tapbox.default $(DESTDIR)/etc/default/tapbox
	install -d -m 755 $(DESTDIR)$(UNITS)
	for unit in infra/systemd/*.service infra/systemd/*.timer; do \
	    sed 's,/usr/bin/tapbox,$(PREFIX)/bin/tapbox,' $$unit >$(DESTDIR)$(UNITS)/$${unit##*/} || exit 1; done
	install -D -m 644 infra/systemd/tapbox.sysusers $(DESTDIR)/usr/lib/sysusers.d/tapbox.conf
	install -D -m 644 infra/systemd/tapbox.tmpfiles $(DESTDIR)/usr/lib/tmpfiles.d/tapbox.conf

.PHONY: deb
deb: ## Build the Debian package
	tests/support/deps.sh build deb
	$(MAKE) --no-print-directory -s MODE=release all
	infra/debian/build.sh $(BUILD) $(VERSION) $(BUILD)/release/tapbox

.PHONY: lab-shell
lab-shell: deps-demo ## A shell in the lab, with everything running
	$(MAKE) --no-print-directory MODE=release all
	tests/lab/shell.sh --build $(BUILD) --mode release

.PHONY: deps deps-demo deps-build deps-bench
deps: ## Install the Debian packages that building and testing need
	tests/support/deps.sh build lab test
deps-demo:
	tests/support/deps.sh build lab
deps-build:
	tests/support/deps.sh build
deps-bench:
	tests/support/deps.sh build lab bench

.PHONY: clean
clean: ## Remove what was built
	rm -rf $(BUILD)

.PHONY: help
help: ## Print the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

-include $(shell find $(OUT)/obj -name '*.d' 2>/dev/null)
