#!/usr/bin/env bash
# Runs arms of the shapes experiments on a cluster on this machine, and rewrites tables, curves and picture grids of docs/experiments.md.
#
#   bash tests/experiments/arms.sh [--out DIR] [--results DIR] [--workers N] [--rounds N] [--seeds N] [--set KEY=VALUE]
#                                  [--bin DIR] [--docs DIR] [ARM ...]
#
# An ARM is a line of arms.txt (default: sft preference rsidiff). --rounds 8 and --seeds 3 are the defaults: hours on two
# cores. --set changes a value of every arm. What an arm with a seed came to is kept as RESULTS/ARM-SEED.json (default
# tests/experiments/results) and not run again; an unfinished one goes on from --out (default build/experiments). To
# repeat everything: --results build/results. Needs the release build of deploy/quickstart.sh (or --bin) and the test
# environment of tests/run.sh (numpy and Pillow for the checker). --docs names another folder than docs, with a copy of
# experiments.md and a folder images.
set -euo pipefail
cd "$(dirname "$0")/../.."

out=build/experiments
results=tests/experiments/results
bin=build/release/bin
docs=docs
workers=2
rounds=8
seeds=3
settings=()
arms=()
while [ $# -gt 0 ]; do
  case "$1" in
    --out) out=${2:?--out needs a folder}; shift ;;
    --results) results=${2:?--results needs a folder}; shift ;;
    --bin) bin=${2:?--bin needs a folder}; shift ;;
    --docs) docs=${2:?--docs needs a folder}; shift ;;
    --workers) workers=${2:?--workers needs a number}; shift ;;
    --rounds) rounds=${2:?--rounds needs a number}; shift ;;
    --seeds) seeds=${2:?--seeds needs a number}; shift ;;
    --set) settings+=("${2:?--set needs KEY=VALUE}"); shift ;;
    -h | --help) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "arms.sh: unknown option '$1' (see --help)" >&2; exit 2 ;;
    *) arms+=("$1") ;;
  esac
  shift
done
[ "${#arms[@]}" -gt 0 ] || arms=(sft preference rsidiff)

# The line of arms.txt, "NAME FILE KEY=VALUE ...".
line_of() {
  if [ "$1" = base ]; then
    echo "arms.sh: base is no arm of its own: it is round 0 of every arm" >&2
    return 2
  fi
  awk -v name="$1" '$1 == name { print; found = 1 } END { exit !found }' tests/experiments/arms.txt ||
    { echo "arms.sh: arms.txt has no arm '$1'" >&2; return 2; }
}

# One arm with one seed, into folder $1.
run_arm() {
  local folder=$1 name=$2 seed=$3 result=$4 line file changed coordinator
  line=$(line_of "$name")
  read -r _ file changed <<< "$line"
  local arguments=() value
  # shellcheck disable=SC2086  # words of the line
  for value in "seed=$seed" $changed "${settings[@]}"; do arguments+=(--set "$value"); done
  bash deploy/quickstart.sh --data "$folder" --workers "$workers" --run-file "deploy/examples/shapes-$file.yaml" \
    --rounds "$rounds" "${arguments[@]}" --bin "$bin" | tee "$folder.log"
  # The cluster has stopped; a coordinator alone answers the questions about samples.
  rm -f "$folder/coordinator/coordinator.json"
  "$bin/rsidiff-coordinator" --data "$folder/coordinator" --listen 127.0.0.1:0 --http 127.0.0.1:0 \
    2> "$folder/collect.log" &
  coordinator=$!
  # shellcheck disable=SC2064  # the value as it is now: outside this function the name is unknown
  trap "kill $coordinator 2> /dev/null || true" EXIT
  for _ in $(seq 100); do
    [ ! -f "$folder/coordinator/coordinator.json" ] || break
    sleep 0.1
  done
  .venv-test/bin/python tests/experiments/collect.py "$bin/rsidiff" "$folder" "$name" "$result"
  # The page shows the pictures of the baselines and the method, of the seed that ran last.
  case $name in sft | preference | rsidiff) cp "$folder"/run-*-grid.png "$docs/images/experiment-$name.png" ;; esac
  kill "$coordinator"
  wait "$coordinator" || true
  trap - EXIT
}

for arm in "${arms[@]}"; do line_of "$arm" > /dev/null; done
mkdir -p "$out" "$results"
# Seed by seed, so that every arm has something to show early.
for ((seed = 1; seed <= seeds; seed++)); do
  for arm in "${arms[@]}"; do
    [ -f "$results/$arm-$seed.json" ] || run_arm "$out/$arm-$seed" "$arm" "$seed" "$results/$arm-$seed.json"
  done
done
.venv-test/bin/python tests/experiments/report.py "$results" --docs "$docs"
