#!/usr/bin/env bash
# Builds Release and runs the benchmarks, each beside its peer (diffusers, PyTorch, transformers, Ray) on this machine.
# A quiet machine is needed for figures worth keeping. Exits with 1 at the end if a goal was missed.
#
#   bash tests/bench/run.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=true
build=build/bench
cmake --preset release -B "$build" -DRSIDIFF_TESTS=ON > build/configure.log 2>&1 || { cat build/configure.log >&2; exit 1; }
ninja -C "$build" rsidiff rsidiff-coordinator rsidiff-worker finetune_steps select_steps cover_million coordinator_load
export RSIDIFF_BIN=$PWD/$build/bin
python=.venv-test/bin/python
if ! cmp -s deploy/requirements-bench.txt .venv-bench/.installed; then
  python3 -m venv .venv-bench
  .venv-bench/bin/pip install --quiet --disable-pip-version-check --no-input -r deploy/requirements-bench.txt
  cp deploy/requirements-bench.txt .venv-bench/.installed
fi

missed=0  # 1 when a goal was missed; the others are measured all the same
echo "== generation against diffusers"
"$python" tests/bench/generate/compare_diffusers.py --worker "$RSIDIFF_BIN/rsidiff-worker"
echo "== fine-tuning step against PyTorch"
"$python" tests/bench/train/train_step_bench.py --model shapes
"$python" tests/bench/train/train_step_bench.py --model mid
echo "== scoring against transformers"
"$python" tests/bench/score/score_throughput.py || missed=1
echo "== regroup of a training"
"$python" tests/bench/regroup/regroup_bench.py
echo "== loading against diffusers"
"$python" tests/bench/load/load_memory.py --worker "$RSIDIFF_BIN/rsidiff-worker"
echo "== filtering a million prompts"
missed=0
"$python" tests/bench/prompts/filter_million.py "$RSIDIFF_BIN/rsidiff" || missed=1  # the others still run
echo "== near-duplicates by the embeddings of a million prompts"
"$RSIDIFF_BIN/cover_million"
echo "== steps of a round of a million samples"
"$RSIDIFF_BIN/select_steps" || missed=1
echo "== coordinator: durable tasks a second against Ray"
"$python" tests/bench/coordinator/lease_throughput.py
echo "== coordinator: restart with 100,000 tasks"
"$python" tests/bench/coordinator/restart_time.py
echo "== coordinator: 2,000 workers"
"$python" tests/bench/coordinator/fleet.py
echo "== busy share of two workers"
"$python" tests/bench/busy_share.py "$RSIDIFF_BIN"
exit "$missed"
