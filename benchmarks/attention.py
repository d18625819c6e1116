"""Ways to compute attention in training on a CPU, forward and backward, over the length of documents.

    python -m benchmarks.attention [threads]

Prints milliseconds of one call for the default study's batch, heads and types:
the written-out one, and torch's fused kernel in float32 and in bfloat16, the three
measured in turn. The lengths at which the first is the fastest are those that
`operations.LONGEST` lets it have.
"""

import statistics
import sys

import torch
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.common import in_turn
from progsem.operations import RotatedAttention, rotate

DOCUMENTS, HEADS, SIZE = 32, 4, 32
LENGTHS = (35, 70, 140, 280, 560)
ROUNDS = 5


def fused(qvk: torch.Tensor, rotation: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The same as `RotatedAttention`, by torch's kernel in that type."""
    query, key = rotate(qvk[::2].float(), rotation).to(dtype)
    return scaled_dot_product_attention(query, key, qvk[1].to(dtype), is_causal=True).to(qvk.dtype)


def main() -> None:
    """Print a row for each length."""
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    print(f"{DOCUMENTS} documents, {HEADS} heads of {SIZE}, {torch.get_num_threads()} threads, milliseconds")
    print("tokens  written out  fused float32  fused bfloat16")
    for length in LENGTHS:
        given = torch.randn(3, DOCUMENTS, HEADS, length, SIZE).bfloat16().requires_grad_()
        turns = torch.polar(torch.ones(length, SIZE // 2), torch.randn(length, SIZE // 2))
        outer = torch.randn(DOCUMENTS, HEADS, length, SIZE).bfloat16()
        ways = {
            "ours": lambda x: RotatedAttention.apply(x, turns),  # noqa: B023
            "float32": lambda x: fused(x, turns, torch.float32),  # noqa: B023
            "bfloat16": lambda x: fused(x, turns, torch.bfloat16),  # noqa: B023
        }
        calls = {name: lambda way=way: torch.autograd.grad(way(given), given, outer) for name, way in ways.items()}  # noqa: B023
        in_turn(1, **calls)
        times = {name: 1000 * statistics.median(seconds) for name, seconds in in_turn(ROUNDS, **calls).items()}
        print(f"{length:6} {times['ours']:12.2f} {times['float32']:14.2f} {times['bfloat16']:15.2f}")


if __name__ == "__main__":
    main()
