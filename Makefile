# Short names for what CONTRIBUTING.md describes. Nothing here is needed to build or to test.

.PHONY: build test long race bench fuzz lint page

build: ## the binary, page and nats.conf inside it
	go build -o yjet ./cmd/yjet

test: ## what the README says
	go test ./...

long: ## the ledgers in full: some hours, as root where a file system is mounted
	YJET_LONG=1 go test -count=1 -timeout 12h ./...

race:
	go test -race -count=1 ./internal/natsd/... ./stream/... ./auth/... ./snapshot/... ./ingest/... ./cmd/...

bench:
	go test -run '^$$' -bench . ./...

fuzz: ## every target for 30 s
	.ci/fuzz 30 600

lint:
	test -z "$$(git ls-files '*.go' | xargs gofmt -l)"
	go vet ./...
	go mod tidy -diff
	go tool -modfile=.ci/tools.mod staticcheck ./...

page: ## web/dist from web/src
	cd web && npm ci --ignore-scripts && node build.mjs
