"""Fused against plain attention for short documents on a CPU, forward and backward.

    python benchmarks/attention.py [threads]

Prints milliseconds of one call for the default study's shape, and their ratio,
the two measured in turn within one run.
"""

import statistics
import sys
import time

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

DOCUMENTS, HEADS, LENGTH, SIZE = 32, 4, 71, 32
ROUNDS = 30


def seconds(backend: SDPBackend, query: torch.Tensor, backward: bool) -> float:
    """Time of one call."""
    started = time.perf_counter()
    with sdpa_kernel([backend]):
        out = scaled_dot_product_attention(query, query, query, is_causal=True)
        if backward:
            out.sum().backward()
    return time.perf_counter() - started


def main() -> None:
    """Print a row for each type and direction."""
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    print(f"{DOCUMENTS} documents, {HEADS} heads of {SIZE}, {LENGTH} tokens, {torch.get_num_threads()} threads")
    print("type      pass                fused ms  plain ms  fused/plain")
    for dtype in (torch.bfloat16, torch.float32):
        for backward in (False, True):
            query = torch.randn(DOCUMENTS, HEADS, LENGTH, SIZE, dtype=dtype, requires_grad=backward)
            times = {SDPBackend.FLASH_ATTENTION: [], SDPBackend.MATH: []}
            for _ in range(ROUNDS):
                for backend, measured in times.items():
                    measured.append(seconds(backend, query, backward))
            fused, plain = (1000 * statistics.median(measured) for measured in times.values())
            name = "forward + backward" if backward else "forward"
            print(f"{str(dtype).removeprefix('torch.'):<9} {name:<18} {fused:9.2f} {plain:9.2f} {fused / plain:12.2f}")


if __name__ == "__main__":
    main()
