#!/bin/sh
# Everything for a machine with a GPU, in half an hour: what decides most comes first, and what fails
# or takes too long costs its own step only.
#
#   tests/gpu/run.sh [OUT_DIR [PART...]]   runs these parts, or all of them in this order
#   tests/gpu/run.sh --plan                says parts, steps and their limits in seconds
#
# check   builds the core; the split, SM ids, numbers of every share, the tests marked `gpu`, doctor
# share   sample models; isolation, reconfiguration, launch
# serve   a profile of the models of `long-only`, and goodput of the ways to share the device
# mps     the same questions to processes under an MPS daemon
# rest    compile = "aoti"; what contexts cost; few connections
#
# No part is longer than 10 minutes. OUT_DIR gets NAME.out (JSON lines of benchmarks), NAME.err and
# summary.txt; models and the profile are kept for other calls. PYTHON names a Python that has torch
# with CUDA and pybind11; GLET_GPU_MODELS is where models are, or are exported to.
set -u
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
models=${GLET_GPU_MODELS:-build/gpu-models}
plan=
[ "${1:-}" = --plan ] && { plan=yes; shift; }
out=${1:-profiles/h200/probe}
[ $# -gt 0 ] && shift
export PYTHONPATH="$PWD/python${PYTHONPATH:+:$PYTHONPATH}"
export CUDA_DEVICE_MAX_CONNECTIONS="${CUDA_DEVICE_MAX_CONNECTIONS:-32}"
glet="$python -m glet.cli.main"
bench=tests/bench/gpu
failed=0

# step NAME LIMIT_S COMMAND...
step() {
    name=$1 limit_s=$2
    shift 2
    [ -n "$plan" ] && { echo "$part $name $limit_s"; return 0; }
    begun_s=$(date +%s)
    timeout -k 5 "$limit_s" "$@" >"$out/$name.out" 2>"$out/$name.err"
    code=$?
    took_s=$(($(date +%s) - begun_s))
    case $code in
        0) said=ok ;;
        124 | 137) said="ended after its $limit_s s" failed=1 ;;
        *) said="failed ($code): $(tail -n 1 "$out/$name.err" | cut -c 1-160)" failed=1 ;;
    esac
    echo "$part $name $took_s s: $said" | tee -a "$out/summary.txt"
    return $code
}

build() {
    "$python" -m pybind11 --cmakedir >/dev/null \
        && cmake -S . -B build/gpu -DGLET_INPLACE=ON -DCMAKE_BUILD_TYPE=Release \
            -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" -DPython_EXECUTABLE="$(command -v "$python")" \
        && cmake --build build/gpu -j
}

machine() {
    nvidia-smi --query-gpu=name,driver_version,memory.total,power.limit --format=csv,noheader
    nvidia-cuda-mps-control -v
    "$python" -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda)'
}

# Neither failed, nor skipped as a whole.
gpu_tests() {
    "$python" -m pytest -q -m gpu tests/gpu tests/contract --ignore tests/gpu/test_compiled.py >"$out/tests.txt"
    code=$?
    tail -n 30 "$out/tests.txt"
    [ $code -eq 0 ] && grep -q ' passed' "$out/tests.txt"
}

# Half precision and images as the GPU likes them: nobody serves these models in fp32 there.
sample_models() {
    for name in lenet resnet50 vgg16 ssd-mobilenetv1; do
        [ -e "$models/$name/model.toml" ] && continue
        $glet models export "$name" --to "$models" || return 1
        sed -i '1i precision = "fp16"\nchannels_last = true' "$models/$name/model.toml" || return 1
    done
}

# Steps are commands of their own, so that a limit holds for all that they start.
case ${1:-} in
    build | machine | gpu_tests | sample_models) "$1"; exit $? ;;
esac

part_check() {
    step build 120 sh tests/gpu/run.sh "$out" build
    step machine 30 sh tests/gpu/run.sh "$out" machine
    step split 10 "$python" -c 'import json; from glet.native import core; print(json.dumps(core.cuda_probe(), indent=1))'
    step shares-32 40 "$python" -m glet.serve.doctor_gpu_work
    step tests 90 sh tests/gpu/run.sh "$out" gpu_tests
    step doctor 40 $glet doctor --json
}

part_share() {
    step models 90 sh tests/gpu/run.sh "$out" sample_models
    step isolation 100 "$python" $bench/isolation.py --kind green --models "$models" --victim lenet --aggressor resnet50 --seconds 6
    step reconfigure 90 "$python" $bench/reconfigure.py --kind green --models "$models" --model resnet50 --changes 50 --starts 3
    step resize 35 "$python" $bench/reconfigure.py --kind green --models "$models" --model resnet50 --change resize --starts 0
    step launch 60 "$python" $bench/launch.py --batches 300 --kind green --models "$models" --names resnet50 lenet --share 100
}

part_serve() {
    step profile 250 $glet profile "$models" --partition green --models resnet50,vgg16,ssd-mobilenetv1 \
        --pairs none --seconds-per-point 0.6 --device-type gpu --out build/gpu-profile
    [ -z "$plan" ] && mkdir -p "$out/profile" && cp build/gpu-profile/* "$out/profile"
    step goodput 300 "$python" $bench/goodput.py --kind green --profile build/gpu-profile --models "$models" \
        --scenarios long-only --slo 32 --seeds 1 --steps 4 --seconds 6 --warm 1 --minutes 4.7 \
        --systems edf-nowait glet-headroom streams streams-priority elastic timeshare
}

part_mps() {
    step isolation-mps 100 "$python" $bench/isolation.py --kind mps --models "$models" --victim lenet --aggressor resnet50 --seconds 4
    step reconfigure-mps 70 "$python" $bench/reconfigure.py --kind mps --models "$models" --model resnet50 --changes 5 --starts 3
    step goodput-mps 120 "$python" $bench/goodput.py --kind mps --profile build/gpu-profile --models "$models" \
        --scenarios long-only --slo 32 --seeds 1 --steps 4 --seconds 6 --warm 1 --minutes 1.9 \
        --systems glet-headroom streams
}

part_rest() {
    step launch-aoti 80 "$python" $bench/launch.py --batches 10 --kind green --models "$models" --names resnet50 --share 100 --ways aoti
    step compiled 100 "$python" -m pytest -q -m gpu tests/gpu/test_compiled.py
    step contexts 30 "$python" tests/gpu/probe.py
    step shares-8 35 env CUDA_DEVICE_MAX_CONNECTIONS=8 "$python" -m glet.serve.doctor_gpu_work
}

[ $# -gt 0 ] || set -- check share serve mps rest
for part in "$@"; do
    case $part in
        check | share | serve | mps | rest) ;;
        *) echo "no part is called $part; valid are check, share, serve, mps, rest" >&2; exit 2 ;;
    esac
done
[ -n "$plan" ] || mkdir -p "$out" || exit 2
for part in "$@"; do
    "part_$part"
done
exit $failed
