"""Asks torch about a device: `python -m glet.serve.doctor_gpu_torch about|gemm [cuda|cpu]`.

A process of its own, because importing torch takes seconds and a broken driver may end it. Prints
one line of JSON, an AboutTorch or a Gemm.
"""

import math
import sys

import msgspec

M, K, N = 512, 1024, 1024
# Of the Frobenius norm. Half precisions round the result to 11 and 8 bits.
GEMM_TOLERANCES = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 1e-2}


class AboutTorch(msgspec.Struct, frozen=True, kw_only=True):
    """`cuda` is what torch was built for, empty for a CPU build; `why` it finds no device."""

    version: str
    cuda: str
    available: bool
    devices: int
    why: str = ""


class Gemm(msgspec.Struct, frozen=True, kw_only=True):
    """Relative error of C = A B, (m, k) times (k, n), by precision, in the Frobenius norm.

    The largest of all devices; None where it is no number.
    """

    devices: tuple[str, ...]
    m: int
    k: int
    n: int
    errors: dict[str, float | None]


def about() -> AboutTorch:
    """Initialises CUDA where torch has it."""
    import torch

    why = ""
    available = torch.cuda.is_available()
    if torch.version.cuda and not available:
        try:
            torch.cuda.init()  # type: ignore[no-untyped-call]
        except (RuntimeError, AssertionError) as error:
            why = next(iter(str(error).splitlines()), "")
    return AboutTorch(
        version=str(torch.__version__),
        cuda=torch.version.cuda or "",
        available=available,
        devices=torch.cuda.device_count() if available else 0,
        why=why,
    )


def gemm(kind: str) -> Gemm:
    """The reference multiplies the same rounded numbers in double precision on the CPU."""
    import torch

    # TF32 rounds float32 to 11 bits on the way in.
    torch.set_float32_matmul_precision("highest")
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(M, K, generator=generator)
    b = torch.randn(K, N, generator=generator)
    count = torch.cuda.device_count() if kind == "cuda" else 1
    devices = tuple(f"{kind}:{index}" for index in range(count))
    errors: dict[str, float | None] = {}
    for name in GEMM_TOLERANCES:
        dtype = getattr(torch, name)
        left, right = a.to(dtype), b.to(dtype)
        wanted = left.double() @ right.double()
        found = [
            float(((left.to(device) @ right.to(device)).cpu().double() - wanted).norm())
            for device in devices
        ]
        is_known = bool(found) and all(math.isfinite(error) for error in found)
        errors[name] = max(found) / float(wanted.norm()) if is_known else None
    return Gemm(devices=devices, m=M, k=K, n=N, errors=errors)


def main(what: str, kind: str = "cuda") -> None:
    """Prints the answer."""
    answer = about() if what == "about" else gemm(kind)
    sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
