#!/usr/bin/env bash
# Sets up everything the tests need, builds with tests and runs all of them by CTest.
#
#   bash tests/run.sh [--full-size] [--bench] [--build DIR] [-- CTEST OPTIONS]
#
#   --full-size   also the UNet of Stable Diffusion 1.4 and the scorers at their real sizes (needs 12 GB of memory)
#   --bench       build and run the benchmarks of tests/bench instead of the tests
#   --build DIR   build folder (default build/dev)
#
# Everything after -- goes to ctest, for example: bash tests/run.sh -- -R scheduler
set -euo pipefail
cd "$(dirname "$0")/.."

build=build/dev
full_size=OFF
bench=0
ctest_options=()
while [ $# -gt 0 ]; do
  case "$1" in
    --full-size) full_size=ON ;;
    --bench) bench=1 ;;
    --build) build=$2; shift ;;
    --) shift; ctest_options=("$@"); break ;;
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "run.sh: unknown option '$1' (see --help)" >&2; exit 2 ;;
  esac
  shift
done

bash deploy/install_deps.sh --tests
set_up=$SECONDS
if [ "$bench" = 1 ]; then exec bash tests/bench/run.sh; fi

# Paths in the compiler cache are relative, so clones share what is compiled file by file (unity files hold absolute ones).
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=true
mkdir -p build
cmake --preset dev -B "$build" -DRSIDIFF_FULL_SIZE="$full_size" > build/configure.log 2>&1 || {
  cat build/configure.log >&2
  exit 1
}
ninja -C "$build"
built=$SECONDS
status=0
ctest --test-dir "$build" --output-on-failure -j "$(nproc)" "${ctest_options[@]}" || status=$?
echo "run.sh: set-up $set_up s, build $((built - set_up)) s, tests $((SECONDS - built)) s, together $SECONDS s"
exit "$status"
