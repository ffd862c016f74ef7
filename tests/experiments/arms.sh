#!/usr/bin/env bash
# Runs the arms of the shapes experiment on a cluster on this machine, and makes the tables and curves of docs/experiments.md.
#
#   bash tests/experiments/arms.sh [--out DIR] [--workers N] [--rounds N] [--seeds N] [--set KEY=VALUE] [ARM ...]
#
# An ARM is a run file deploy/examples/shapes-ARM.yaml (default: sft preference rsidiff; round 0 of each is the base model).
# --rounds 8 and --seeds 3 are the defaults: hours on two cores. --set changes a value of every arm. Started again with the
# same --out it goes on where it ended. Needs the release build of deploy/quickstart.sh and the test environment of tests/run.sh
# (numpy and Pillow for the checker).
set -euo pipefail
cd "$(dirname "$0")/../.."

out=build/experiments
workers=2
rounds=8
seeds=3
settings=()
arms=()
while [ $# -gt 0 ]; do
  case "$1" in
    --out) out=$2; shift ;;
    --workers) workers=$2; shift ;;
    --rounds) rounds=$2; shift ;;
    --seeds) seeds=$2; shift ;;
    --set) settings+=(--set "$2"); shift ;;
    -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "arms.sh: unknown option '$1' (see --help)" >&2; exit 2 ;;
    *) arms+=("$1") ;;
  esac
  shift
done
[ "${#arms[@]}" -gt 0 ] || arms=(sft preference rsidiff)

# One arm with one seed, into folder $1.
run_arm() {
  local folder=$1 arm=$2 seed=$3 coordinator
  [ ! -f "$folder/rounds.json" ] || return 0
  bash deploy/quickstart.sh --data "$folder" --workers "$workers" --run-file "deploy/examples/shapes-$arm.yaml" \
    --rounds "$rounds" --set "seed=$seed" "${settings[@]}" | tee "$folder.log"
  # The cluster has stopped; a coordinator alone answers the questions about samples.
  rm -f "$folder/coordinator/coordinator.json"
  build/release/bin/rsidiff-coordinator --data "$folder/coordinator" --listen 127.0.0.1:0 --http 127.0.0.1:0 \
    2> "$folder/collect.log" &
  coordinator=$!
  trap 'kill "$coordinator" 2> /dev/null || true' EXIT
  for _ in $(seq 100); do
    [ ! -f "$folder/coordinator/coordinator.json" ] || break
    sleep 0.1
  done
  .venv-test/bin/python tests/experiments/collect.py build/release/bin/rsidiff "$folder" "$arm"
  kill "$coordinator"
  wait "$coordinator" || true
  trap - EXIT
}

mkdir -p "$out"
# Seed by seed, so that every arm has something to show early.
for ((seed = 1; seed <= seeds; seed++)); do
  for arm in "${arms[@]}"; do run_arm "$out/$arm-$seed" "$arm" "$seed"; done
done
.venv-test/bin/python tests/experiments/tables.py "$out" "${arms[@]}"
.venv-test/bin/python tests/experiments/curves.py "$out" "${arms[@]}"
