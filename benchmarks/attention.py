"""Ways to compute attention in training on a CPU, forward and backward, over the length of documents.

    python -m benchmarks.attention [threads]

Prints milliseconds of one call for the default study's batch and heads, in bfloat16:
the compiled loops, and torch's fused kernel in float32 and in bfloat16, the three
measured in turn.
"""

import statistics
import sys

import torch

from benchmarks.common import in_turn
from progsem.lm.operations import attention, fused_attention

DOCUMENTS, HEADS, SIZE = 32, 4, 32
LENGTHS = (35, 70, 140, 280, 560, 1120)
ROUNDS = 5


def main() -> None:
    """Print a row for each length."""
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    print(f"{DOCUMENTS} documents, {HEADS} heads of {SIZE}, {torch.get_num_threads()} threads, milliseconds")
    print("tokens  compiled  fused float32  fused bfloat16")
    for length in LENGTHS:
        qvk = torch.randn(DOCUMENTS, length, HEADS, 3, 1, SIZE).bfloat16().requires_grad_()
        outer = torch.randn(DOCUMENTS, length, HEADS, SIZE).bfloat16()
        # Angles of 0: what they are makes no difference to time.
        turns = torch.stack((torch.ones(length, SIZE), torch.zeros(length, SIZE)), 1)
        rotation = torch.ones(length, SIZE // 2, dtype=torch.complex64)
        ways = {
            "compiled": lambda: attention(qvk, rotation, turns),  # noqa: B023
            "float32": lambda: fused_attention(qvk, rotation, torch.float32),  # noqa: B023
            "bfloat16": lambda: fused_attention(qvk, rotation, torch.bfloat16),  # noqa: B023
        }
        calls = {name: lambda way=way: torch.autograd.grad(way(), qvk, outer) for name, way in ways.items()}  # noqa: B023
        in_turn(1, **calls)
        times = {name: 1000 * statistics.median(seconds) for name, seconds in in_turn(ROUNDS, **calls).items()}
        print(f"{length:6} {times['compiled']:9.2f} {times['float32']:14.2f} {times['bfloat16']:15.2f}")


if __name__ == "__main__":
    main()
