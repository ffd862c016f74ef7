#!/bin/sh
# Starts the worker with LibTorch of the environment that RSIDIFF_TORCH names (a Python environment that
# holds torch 2.11.0). Without it the path that the worker was built with is tried.
here=$(dirname "$(readlink -f "$0")")
if [ -n "${RSIDIFF_TORCH:-}" ]; then
  torch=
  for folder in "$RSIDIFF_TORCH"/lib/python3*/site-packages/torch/lib; do
    if [ -f "$folder/libtorch_cpu.so" ]; then torch=$folder; fi
  done
  if [ -z "$torch" ]; then
    echo "rsidiff-worker: no torch in RSIDIFF_TORCH=$RSIDIFF_TORCH (expected lib/python3*/site-packages/torch/lib/libtorch_cpu.so)" >&2
    exit 1
  fi
  LD_LIBRARY_PATH=$torch${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export LD_LIBRARY_PATH
fi
exec "$here/../libexec/rsidiff/rsidiff-worker" "$@"
