# petrel. "make run" starts a server to try; "make test" is what CI runs.

GO      ?= go
BIN     := bin/petrel
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
# Without cgo and paths of this machine: what is compiled for one such target is compiled for all.
PLAIN   := CGO_ENABLED=0 $(GO)
# The race detector everywhere but in SQLite: that is C, translated, whose memory lies outside of Go's heap, where the detector
# sees nothing; looking there takes most of the time of all tests.
RACE    := -race -gcflags='modernc.org/sqlite/lib=-race=false' -gcflags='modernc.org/libc/...=-race=false' -gcflags='modernc.org/memory=-race=false'
# Packages are tested side by side: one more than there are processors, for they often wait.
JOBS    ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
SUDO    := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

ROUNDS   ?= 300
FUZZTIME ?= 20s
PEERS    ?= petrel,mosquitto,nats,nats-sync
TIMEOUT  ?= 15m
PAHO     ?= ../paho.mqtt.testing
JS_DEPS  := e2e/js/node_modules/.package-lock.json examples/browser/node_modules/.package-lock.json
PY_DEPS  := e2e/python/.venv/installed examples/python/.venv/installed

.DEFAULT_GOAL := build
.PHONY: run build test long check bench crash conformance fuzz tools e2e-deps fmt-check

build:
	$(PLAIN) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/petrel

run: build
	$(BIN) serve --dev --data ./petrel-dev-data

# What the tests call, by the names of Debian's packages; those that are missing are installed. The browser is the
# largest, 100 MB to download; what it recommends (printing, notifications) is not needed.
tools:
	@missing=; need() { command -v $$1 >/dev/null || missing="$$missing $$2"; }; \
	need mosquitto_pub mosquitto-clients; need curl curl; need node nodejs; need npm npm; need python3 python3; \
	need cc "gcc libc6-dev"; need turnserver coturn; \
	python3 -c 'import venv, ensurepip' 2>/dev/null || missing="$$missing python3-venv"; \
	for b in chromium chromium-browser google-chrome; do command -v $$b >/dev/null && break; done || need chromium-headless-shell chromium-headless-shell; \
	[ -z "$$missing" ] || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends $$missing; }

# The other clients of the tests in e2e and examples, in the versions that are pinned there.
e2e-deps: tools $(JS_DEPS) $(PY_DEPS)

%/node_modules/.package-lock.json: %/package-lock.json
	cd $* && npm ci --no-audit --no-fund --ignore-scripts
	@touch $@

%/.venv/installed: %/requirements.txt
	python3 -m venv $*/.venv
	$*/.venv/bin/pip install -q --disable-pip-version-check -r $<
	@touch $@

fmt-check:
	@files=$$(gofmt -l $$(find . -name '*.go' -not -path '*/node_modules/*' -not -path '*/.venv/*')); \
	if [ -n "$$files" ]; then echo "not formatted; run gofmt -w on:"; echo "$$files"; exit 1; fi

# All tests but the two that have a target of their own below.
test: e2e-deps build fmt-check
	$(GO) vet $(RACE) ./...
	RAPID_CHECKS=40 $(GO) test $(RACE) -p $(JOBS) -shuffle=on -timeout $(TIMEOUT) -skip '^TestTalkScripts$$' $$($(GO) list ./... | grep -vE '/(crash|conformance)$$')
	$(PLAIN) test -trimpath -shuffle=on -timeout $(TIMEOUT) -run '^TestTalkScripts$$' ./cmd/petrel # hundreds of programs, each of which starts slowly with -race

# The long forms of tests that make test runs short: random runs, cuts at every byte, killed programs, calls of five in browsers.
long: e2e-deps build
	PETREL_LONG=1 $(GO) test -count=1 -timeout 2h ./client/... ./broker/hub ./broker/plain ./broker/rpc ./chat ./examples ./signaling/sfu

check: fmt-check
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) test -run '^Test' -count=1 .

# Against Debian's mosquitto and nats-server in the same run; prints a table with ratios. Calls: make bench PEERS=petrel ARGS='--scenarios calls'.
bench: build
	@command -v mosquitto >/dev/null || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy mosquitto; }
	$(BIN) bench --peers $(PEERS) $(ARGS)

crash: build
	$(GO) test -count=1 -timeout 2h ./crash -rounds=$(ROUNDS)

# The suites of eclipse/paho.mqtt.testing, from a checkout of that repository: PAHO=directory.
conformance: build
	@[ -d "$(PAHO)/interoperability" ] || { echo "there is no checkout of eclipse/paho.mqtt.testing in $(PAHO): clone it and say PAHO=directory"; exit 1; }
	conformance/run.sh $(BIN) "$(PAHO)"

# Every fuzz target of every package for FUZZTIME; go test takes one target at a time.
fuzz:
	@set -e; for pkg in $$($(GO) list ./...); do \
		targets=$$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); \
		for f in $$targets; do \
			echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; done
