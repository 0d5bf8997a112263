#!/bin/sh
# On a machine with a GPU: builds the core, asks doctor, runs the tests marked `gpu`, and keeps what
# was seen of the device. Ends within ten minutes. Usage: tests/gpu/run.sh [OUT_DIR]
# PYTHON names a Python that has torch with CUDA and pybind11.
set -u
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
out=${1:-profiles/h200/probe}
export PYTHONPATH="$PWD/python" CUDA_DEVICE_MAX_CONNECTIONS="${CUDA_DEVICE_MAX_CONNECTIONS:-32}"
mkdir -p "$out"

timeout 240 cmake -S . -B build/gpu -DGLET_INPLACE=ON -DCMAKE_BUILD_TYPE=Release \
    -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" -DPython_EXECUTABLE="$(command -v "$python")" \
    >"$out/build.txt" 2>&1 \
    && timeout 240 cmake --build build/gpu -j >>"$out/build.txt" 2>&1 \
    || { tail -5 "$out/build.txt"; exit 1; }

{
    nvidia-smi --query-gpu=name,driver_version,memory.total,power.limit --format=csv,noheader
    nvidia-cuda-mps-control -v
    "$python" -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda)'
} >"$out/machine.txt" 2>&1
# The split; then SM ids of each unit, errors of each share, and two gpulets at once, with few and
# with many connections.
"$python" -c 'import json; from glet.native import core; print(json.dumps(core.cuda_probe(), indent=1))' \
    >"$out/p0-split.json"
for connections in 8 32; do
    CUDA_DEVICE_MAX_CONNECTIONS=$connections timeout 90 "$python" -m glet.serve.doctor_gpu_work \
        >"$out/p1-p2-shares-$connections.json" 2>"$out/p1-p2-shares-$connections.txt"
done
timeout 90 "$python" -m glet.cli.main doctor --json >"$out/doctor.json" 2>"$out/doctor.txt"
timeout 120 "$python" -m pytest -q -m gpu tests/gpu | tee "$out/tests.txt"
grep -q ' failed\| error' "$out/tests.txt" && exit 1
exit 0
