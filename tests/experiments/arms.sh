#!/usr/bin/env bash
# Runs arms of the shapes experiment on a cluster on this machine and writes docs/experiments.md's tables.
#
#   bash tests/experiments/arms.sh [--out DIR] [--workers N] [ARM ...]
#
# An ARM is a run file deploy/examples/shapes-ARM.yaml (default: rsidiff sft). Takes about an hour on two
# cores. Started again with the same --out it goes on where it ended. Needs the release build of
# deploy/quickstart.sh and the test environment of tests/run.sh (numpy and Pillow for the checker).
set -euo pipefail
cd "$(dirname "$0")/../.."

out=build/experiments
workers=2
arms=()
while [ $# -gt 0 ]; do
  case "$1" in
    --out) out=$2; shift ;;
    --workers) workers=$2; shift ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "arms.sh: unknown option '$1' (see --help)" >&2; exit 2 ;;
    *) arms+=("$1") ;;
  esac
  shift
done
[ "${#arms[@]}" -gt 0 ] || arms=(rsidiff sft)

mkdir -p "$out"
for arm in "${arms[@]}"; do
  bash deploy/quickstart.sh --data "$out/$arm" --workers "$workers" --run-file "deploy/examples/shapes-$arm.yaml" \
    | tee "$out/$arm.log"
  # The cluster has stopped; a coordinator alone answers the questions about samples.
  rm -f "$out/$arm/coordinator/coordinator.json"
  build/release/bin/rsidiff-coordinator --data "$out/$arm/coordinator" --listen 127.0.0.1:0 --http 127.0.0.1:0 \
    2> "$out/$arm/collect.log" &
  coordinator=$!
  trap 'kill "$coordinator" 2> /dev/null || true' EXIT
  for _ in $(seq 100); do
    [ ! -f "$out/$arm/coordinator/coordinator.json" ] || break
    sleep 0.1
  done
  .venv-test/bin/python tests/experiments/collect.py build/release/bin/rsidiff "$out/$arm" "$arm"
  kill "$coordinator"
  wait "$coordinator" || true
  trap - EXIT
done
.venv-test/bin/python tests/experiments/tables.py "$out" "${arms[@]}"
