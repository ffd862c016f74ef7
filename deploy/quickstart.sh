#!/usr/bin/env bash
# From a fresh clone to a finished self-evolution run on this machine: installs what is missing, builds,
# starts a coordinator and workers on loopback, runs deploy/examples/shapes.yaml, prints the table of
# rounds, writes the picture grid and exports the best round as a diffusers folder.
#
#   bash deploy/quickstart.sh [--rounds N] [--workers N] [--data DIR] [--run-file FILE] [--set KEY=VALUE] [--bin DIR]
#                             [--keep-running]
#
#   --rounds N       rounds of self-improvement (default: as the run file says)
#   --workers N      worker processes (default 2)
#   --data DIR       where everything goes (default build/quickstart)
#   --run-file FILE  another run file
#   --set KEY=VALUE  replaces a value of the run file; may be given again
#   --bin DIR        programs that are built already: installs and builds nothing
#   --keep-running   leave coordinator and workers running at the end
#
# A second start with the same options goes on where the first one ended and skips what is done.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=
workers=2
data=build/quickstart
run_file=deploy/examples/shapes.yaml
settings=()
bin=
keep_running=0
while [ $# -gt 0 ]; do
  case "$1" in
    --rounds) rounds=${2:?--rounds needs a number}; shift ;;
    --workers) workers=${2:?--workers needs a number}; shift ;;
    --data) data=${2:?--data needs a folder}; shift ;;
    --run-file) run_file=${2:?--run-file needs a file}; shift ;;
    --set) settings+=(--set "${2:?--set needs KEY=VALUE}"); shift ;;
    --bin) bin=${2:?--bin needs a folder}; shift ;;
    --keep-running) keep_running=1 ;;
    -h | --help) sed -n '2,17s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "quickstart.sh: unknown option '$1' (see --help)" >&2; exit 2 ;;
  esac
  shift
done
for number in "$workers" ${rounds:+"$rounds"}; do
  case "$number" in
    '' | *[!0-9]*) echo "quickstart.sh: '$number' is not a number" >&2; exit 2 ;;
  esac
done

say() { printf '\n== %s\n' "$*" >&2; }

build() {
  say "Installing what is missing"
  bash deploy/install_deps.sh

  say "Building (the first time takes some minutes)"
  # Paths in the compiler cache are relative, so clones share what is compiled file by file (unity files hold absolute ones).
  export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=true
  mkdir -p build
  if [ ! -f build/release/build.ninja ]; then
    cmake --preset release > build/configure.log 2>&1 || { cat build/configure.log >&2; exit 1; }
  fi
  ninja -C build/release rsidiff rsidiff-coordinator rsidiff-worker
}
if [ -z "$bin" ]; then
  build
  bin=build/release/bin
fi
bin=$(cd "$bin" && pwd)

mkdir -p "$data"
data=$(cd "$data" && pwd)
# Held by this script and by what it starts, for as long as any of them lives.
exec {lock}> "$data/lock"
if ! flock --nonblock "$lock"; then
  echo "quickstart.sh: another quickstart, or what it left running, uses $data; give this one its own --data" >&2
  exit 1
fi
processes=()
# Asks processes to stop and gives them ten seconds for it.
stop_processes() {
  kill -TERM "$@" 2> /dev/null || true
  for _ in $(seq 100); do
    kill -0 "$@" 2> /dev/null || break
    sleep 0.1 || true  # Ctrl-C ends it too
  done
  kill -KILL "$@" 2> /dev/null || true
}
watch=
stop_everything() {
  stopping=1
  [ -z "$watch" ] || kill "$watch" 2> /dev/null || true
  [ "${#processes[@]}" -gt 0 ] || return 0
  # Workers first: they hand their tasks back to the coordinator, which is processes[0].
  stoppers=()
  for worker in "${processes[@]:1}"; do
    stop_processes "$worker" &
    stoppers+=($!)
  done
  if [ "${#stoppers[@]}" -gt 0 ]; then wait "${stoppers[@]}" 2> /dev/null || true; fi
  stop_processes "${processes[0]}"
  wait 2> /dev/null || true
}
# The first Ctrl-C ends the script, and with it the processes in their order. The next ones end the waiting for
# that: what still runs is killed, and the stopping goes on to its end.
stopping=0
interrupted() {
  if [ "$stopping" = 1 ]; then
    kill -KILL "${processes[@]}" 2> /dev/null || true
  else
    stopping=1
    echo >&2
    echo "Interrupted. Start the same command again to go on. Ctrl-C again kills what has not stopped yet." >&2
    exit 130
  fi
}
trap stop_everything EXIT
trap interrupted INT TERM

# The processes get their own session, so Ctrl-C reaches this script only and they stop in order.
say "Starting a coordinator and $workers workers; their logs are in $data"
rm -f "$data/coordinator/coordinator.json"
setsid "$bin/rsidiff-coordinator" --data "$data/coordinator" --listen 127.0.0.1:0 --http 127.0.0.1:0 \
  > "$data/coordinator.log" 2>&1 &
processes+=($!)
for _ in $(seq 150); do
  [ ! -f "$data/coordinator/coordinator.json" ] || break
  if ! kill -0 "${processes[0]}" 2> /dev/null; then
    echo "quickstart.sh: the coordinator did not start:" >&2
    tail -n 5 "$data/coordinator.log" >&2
    exit 1
  fi
  sleep 0.1
done
address() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" "$data/coordinator/coordinator.json"; }
RSIDIFF_COORDINATOR=$(address grpc)
export RSIDIFF_COORDINATOR
for ((i = 1; i <= workers; i++)); do
  setsid "$bin/rsidiff-worker" serve --coordinator "$RSIDIFF_COORDINATOR" --name "worker-$i" --http 127.0.0.1:0 \
    --cache "$data/worker-$i" > "$data/worker-$i.log" 2>&1 &
  processes+=($!)
done

# The submission's id is made of what is submitted, so submitting it again finds the same run.
[ -z "$rounds" ] || settings+=(--set "rounds=$rounds")
id=quickstart-$({ cat "$run_file"; echo "${settings[*]}"; } | sha256sum | cut -c1-16)
say "Running $run_file"
submission=$("$bin/rsidiff" run submit "$run_file" "${settings[@]}" --request-id "$id" --json)
run=$(printf '%s' "$submission" | sed -n 's/.*"run_id": *"\{0,1\}\([0-9]*\).*/\1/p' | head -n 1)
# In the background: bash acts on a signal during "wait", but not before a command in the foreground has ended.
"$bin/rsidiff" run watch "$run" &
watch=$!
wait "$watch"
watch=

say "The best round as a diffusers folder, and the pictures"
export_folder=$data/run-$run-best
if [ ! -e "$export_folder" ]; then "$bin/rsidiff" export "$run" --round best --out "$export_folder"; fi
"$bin/rsidiff" grid "$run" --out "$data/run-$run-grid.png"
"$bin/rsidiff" report "$run" --out "$data/run-$run-report.html"

cat << END

Run $run has ended.
  table again       rsidiff run show $run
  picture grid      $data/run-$run-grid.png
  report            $data/run-$run-report.html
  best model        $export_folder
  state, artifacts  $data/coordinator
  logs              $data/*.log
  commands          $bin
END
if [ "$keep_running" = 1 ]; then
  trap - EXIT INT TERM
  cat << END
Still running (stop with: kill ${processes[*]}):
  coordinator       $RSIDIFF_COORDINATOR, metrics and health at http://$(address http)
  try               export RSIDIFF_COORDINATOR=$RSIDIFF_COORDINATOR; $bin/rsidiff worker list
END
fi
