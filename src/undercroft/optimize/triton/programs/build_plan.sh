#!/bin/sh
# Builds the TensorRT plan of this model out of its ONNX file, with the options beside it, one a line.
# Run it where the plan will run: a plan fits the GPU and the release of TensorRT that it was built with.
# usage: sh build_plan.sh [VERSION]    the folder of a version, 1 where none is named
set -eu
cd "$(dirname "$0")/${1:-1}"
command -v trtexec >/dev/null || { echo "trtexec, a part of TensorRT, is not on PATH" >&2; exit 127; }
set --
while IFS= read -r option; do set -- "$@" "$option"; done < trtexec.options
echo "trtexec $*"
trtexec "$@" --saveEngine=model.plan.unfinished
mv model.plan.unfinished model.plan
