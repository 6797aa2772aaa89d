#!/usr/bin/env bash
# Compare the contracts with those of a git ref (main): fails on a change that breaks callers.
# The third-party protos are git-ignored, so both sides get today's.
set -euo pipefail
ref=${1:-main}
if ! git cat-file -e "$ref:protos" 2>/dev/null; then
  echo "no contracts on $ref to compare with"
  exit 0
fi
base=$(mktemp -d)
trap 'rm -rf "$base"' EXIT
git archive "$ref" -- buf.yaml protos | tar -x -C "$base"
mkdir -p "$base/third_party"
cp -r third_party/proto "$base/third_party/"
buf breaking protos --against "$base/protos"
