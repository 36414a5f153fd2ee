#!/usr/bin/env bash
# Build the peers and what the benchmarks need, pinned, into bench/.venv and bench/build. For Debian 12: as root, or
# where the packages are installed already. Run it again at any time: it does only what is missing or out of date.
set -euo pipefail
cd "$(dirname "$0")"
build=$(realpath -m ../build)
venv=$(realpath -m ../.venv)

NODE_MAJOR_MIN=20 # what Fastify 5 asks for; Debian 12 has 18 itself

main() {
  packages
  python_peers
  go_peer
  fastify_peer
}

packages() {
  local missing=() each
  for each in golang-go gcc libc6-dev golang-github-{valyala-fasthttp,valyala-fastjson,dgraph-io-badger}-dev; do
    dpkg-query -W -f='${db:Status-Status}' "$each" 2>/dev/null | grep -qx installed || missing+=("$each")
  done
  command -v wrk >/dev/null || missing+=(wrk)
  command -v setpriv >/dev/null || missing+=(util-linux)
  command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing+=(nginx-light)
  if [ ${#missing[@]} -gt 0 ]; then
    echo "installing ${missing[*]} ..."
    apt-get update -qq </dev/null
    apt-get install -qq -y --no-install-recommends "${missing[@]}" </dev/null >/dev/null
  fi
}

python_peers() {
  if [ ! -e "$venv/.installed" ] || [ requirements.lock -nt "$venv/.installed" ]; then
    echo "installing the Python peers ..."
    "${PYTHON:-python3}" -m venv --clear "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check --require-hashes -r requirements.lock
    touch "$venv/.installed"
  fi
}

go_peer() {
  mkdir -p "$build/go"
  if [ ! -e "$build/go/peer" ] || [ -n "$(find go -newer "$build/go/peer")" ]; then
    echo "building the Go peer ..."
    (
      cd go
      export GO111MODULE=off GOFLAGS='' GOPATH=/usr/share/gocode GOCACHE="$build/go-cache" CGO_CFLAGS='-O2 -w'
      go build -o "$build/go/peer" .
    )
  fi
}

fastify_peer() {
  if ! command -v npm >/dev/null || [ "$(node -p 'process.versions.node.split(".")[0]')" -lt "$NODE_MAJOR_MIN" ]; then
    echo "no Node from $NODE_MAJOR_MIN up, or no npm: Fastify is left out" >&2
    return
  fi
  local there=$build/fastify
  mkdir -p "$there"
  if [ ! -d "$there/node_modules" ] || ! cmp -s fastify/package-lock.json "$there/package-lock.json"; then
    echo "installing the Fastify peer ..."
    cp fastify/package.json fastify/package-lock.json "$there/"
    (cd "$there" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error </dev/null >/dev/null)
  fi
  cp fastify/*.mjs "$there/"
}

main
