#!/usr/bin/env bash
# Build the peers and what the benchmarks need, all pinned, into bench/.venv and bench/build. Debian; as root, or with
# the packages installed already. Run it again after a pull: it does only what is missing or older than its source.
set -euo pipefail
cd "$(dirname "$0")"
readonly peers=$PWD build=$PWD/../build venv=$PWD/../.venv
readonly packages=(wrk nginx-light util-linux golang-go golang-github-valyala-fasthttp-dev
  golang-github-valyala-fastjson-dev golang-github-dgraph-io-badger-dev)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if ! command -v nginx >/dev/null && [ ! -x /usr/sbin/nginx ]; then :; else missing=("${missing[@]/nginx-light/}"); fi
command -v node >/dev/null || missing+=(nodejs npm)
if [ -n "${missing[*]// /}" ]; then
  # shellcheck disable=SC2068 # an emptied entry must vanish
  apt-get update -q </dev/null && apt-get install -q -y --no-install-recommends ${missing[@]} </dev/null
fi

if [ ! -e "$venv/.installed" ] || [ requirements.lock -nt "$venv/.installed" ]; then
  "${PYTHON:-python3}" -m venv --clear "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check --require-hashes -r requirements.lock
  touch "$venv/.installed"
fi

mkdir -p "$build/go" "$build/fastify"
if [ -n "$(find go -newer "$build/go/peer" 2>/dev/null || echo first)" ]; then
  (cd go && GO111MODULE=off GOFLAGS='' GOPATH=/usr/share/gocode GOCACHE="$build/go-cache" CGO_CFLAGS=-w go build -o "$build/go/peer" .)
fi

cp "$peers"/fastify/*.mjs "$peers"/fastify/package.json "$build/fastify/"
if [ ! -d "$build/fastify/node_modules" ] || [ fastify/package-lock.json -nt "$build/fastify/package-lock.json" ]; then
  cp "$peers/fastify/package-lock.json" "$build/fastify/"
  (cd "$build/fastify" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error </dev/null)
fi
