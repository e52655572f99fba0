# SPDX-License-Identifier: Apache-2.0

SUDO := $(shell [ $$(id -u) = 0 ] || echo sudo)

# Nothing may ask for another toolchain than the one that is here.
export GOTOOLCHAIN := local

.PHONY: run test lint build docs setup mutants verify-builds verify-gate verify-matrix verify-slurm verify-trace bench bench-builds clean

## run: the main job: Linux 7.3 without and with an IOMMU
run: setup build
	bin/farm run $(ARGS)

## test: everything that is checked, with real guests
test: setup lint build
	@# Fetches the source, over which some tests run that would be skipped without it.
	bin/farm kconfig
	@# Three packages at a time: what one waits for, on two processors two others use.
	go test -race -count=1 -p 3 -parallel 4 -timeout 40m ./...

## lint: formatting, vet, staticcheck, and who may import whom
lint:
	@bad=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$bad" ] || { echo "gofmt would change: $$bad"; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	go test -count=1 ./internal/rooms

build:
	go build -o bin/farm ./farm

## setup: install what is missing, and say what
setup:
	@.ci/setup

## docs: write the table of what is tested where, and the schema of matrix files
docs: build
	bin/farm suites --markdown > docs/coverage.md
	bin/farm matrix schema > matrix.schema.json

## mutants: break the kernel on purpose and see which statements turn red (slow;
## M=GLOB picks some, DIRS="DIR..." adds patches of your own, ARGS=-older goes on)
mutants: setup
	go run ./internal/mutants -match '$(or $(M),*)' $(ARGS) suites/testdata/mutants $(DIRS)

## verify-gate: a series of five patches, judged one by one, killed and resumed (slow)
verify-gate: setup build
	go test -count=1 -timeout 2h -run 'TestGate$$' -v ./farm -noiommu.slow

## verify-builds: a build from a neighbour is the kernel that a build from nothing gives (slow)
verify-builds: setup
	go test -count=1 -timeout 2h -run 'NeighbourEqual' -v ./kernels -noiommu.slow

## verify-late: what a kernel complains of when the test is over is the test's (slow)
verify-late: setup build
	go test -count=1 -timeout 2h -run 'TestHeardLate$$' -v ./farm -noiommu.slow

## verify-matrix: the smoke matrix, killed at ten random moments and resumed (slow)
verify-matrix: setup build
	go test -count=1 -timeout 3h -run 'TestMatrixTenKills$$' -v ./farm -noiommu.slow

## verify-slurm: a plan through a cluster of two nodes on this machine, one of which dies (slow);
## installs the Debian packages slurmctld, slurmd, slurm-client and munge
verify-slurm: setup build
	@for p in slurmctld slurmd slurm-client munge; do \
		dpkg-query -W -f '$${db:Status-Status}' $$p 2>/dev/null | grep -qx installed || missing="$$missing $$p"; \
	done; [ -z "$$missing" ] || { echo "installing$$missing"; $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing; }
	go test -count=1 -timeout 1h -run 'TestSlurm$$' -v ./farm -noiommu.slow

## verify-trace: the functions that a test calls, from a kernel with the function tracer (slow)
verify-trace: setup build
	go test -count=1 -timeout 2h -run 'TestTrace$$' -v ./farm -noiommu.slow

## bench: what a guest, a test and a program's output cost, against what else there is, as a table
## (ARGS="-only start,memory -n 5" measures some); then planning 100,000 cells and indexing a
## million results (slow)
bench: setup build
	go run ./internal/bench $(ARGS)
	go test -run '^$$' -bench 'Plan|Index' -benchtime 3x ./farm/matrix ./results/index

## bench-builds: twelve kernels of the VFIO family from an empty cache, and CCACHE of them with plain make and ccache (slow)
CCACHE ?= 0
bench-builds: setup
	go test -count=1 -timeout 6h -v -run 'TestBenchBuilds|TestBenchCcache' ./kernels -noiommu.bench -noiommu.ccache $(CCACHE)

clean:
	rm -rf bin
