#!/bin/sh
# Starts the worker with LibTorch of the environment that RSIDIFF_TORCH names (a Python environment that
# holds torch 2.11.0), by default the one that the worker was built with.
here=$(dirname "$(readlink -f "$0")")
environment=${RSIDIFF_TORCH:-@RSIDIFF_TORCH@}
torch=
for folder in "$environment"/lib/python3*/site-packages/torch/lib; do
  if [ -f "$folder/libtorch_cpu.so" ]; then torch=$folder; fi
done
if [ -z "$torch" ]; then
  echo "rsidiff-worker: no torch in RSIDIFF_TORCH=$environment (expected lib/python3*/site-packages/torch/lib/libtorch_cpu.so)" >&2
  exit 1
fi
LD_LIBRARY_PATH=$torch${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
exec "$here/../libexec/rsidiff/rsidiff-worker" "$@"
