#!/bin/sh
# On a machine with a GPU: builds the core, asks doctor, runs the tests marked `gpu`, and keeps what
# was seen of the device. Its limits add up to less than ten minutes. Usage: tests/gpu/run.sh [OUT_DIR]
# PYTHON names a Python that has torch with CUDA and pybind11.
set -u
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
out=${1:-profiles/h200/probe}
export PYTHONPATH="$PWD/python" CUDA_DEVICE_MAX_CONNECTIONS="${CUDA_DEVICE_MAX_CONNECTIONS:-32}"
mkdir -p "$out"

timeout 30 cmake -S . -B build/gpu -DGLET_INPLACE=ON -DCMAKE_BUILD_TYPE=Release \
    -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" -DPython_EXECUTABLE="$(command -v "$python")" \
    >"$out/build.txt" 2>&1 \
    && timeout 180 cmake --build build/gpu -j >>"$out/build.txt" 2>&1 \
    || { tail -5 "$out/build.txt"; exit 1; }

{
    timeout 10 nvidia-smi --query-gpu=name,driver_version,memory.total,power.limit --format=csv,noheader
    timeout 5 nvidia-cuda-mps-control -v
    timeout 30 "$python" -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda)'
} >"$out/machine.txt" 2>&1
# The split; then SM ids of each unit, errors of each share, and two gpulets at once, with few and
# with many connections.
timeout 15 "$python" -c 'import json; from glet.native import core; print(json.dumps(core.cuda_probe(), indent=1))' \
    >"$out/p0-split.json"
for connections in 8 32; do
    CUDA_DEVICE_MAX_CONNECTIONS=$connections timeout 60 "$python" -m glet.serve.doctor_gpu_work \
        >"$out/p1-p2-shares-$connections.json" 2>"$out/p1-p2-shares-$connections.txt"
done
# What a context costs in time and memory, and 2, 3, ... gpulets side by side.
timeout 60 "$python" tests/gpu/probe.py >"$out/p0-p2-contexts.json" 2>"$out/p0-p2-contexts.txt"
timeout 60 "$python" -m glet.cli.main doctor --json >"$out/doctor.json" 2>"$out/doctor.txt"
timeout 85 "$python" -m pytest -q -m gpu tests/gpu tests/contract | tee "$out/tests.txt"
# Neither failed, nor ended by its limit before it could say so.
grep -q ' passed' "$out/tests.txt" && ! grep -q ' failed\| error' "$out/tests.txt"
