"""Ways to compute attention in training on a CPU, forward and backward, over the length of documents.

    python -m benchmarks.attention [threads]

Prints milliseconds of one call for the default study's batch and heads, in bfloat16:
the compiled loops, and torch's fused kernel in float32 and in bfloat16, the three
measured in turn. Then what matters, in the precision that the study takes here: training
steps and tracing as a whole, with the compiled loops and with the fused kernel.
"""

import statistics
import sys

import torch

from benchmarks.common import in_turn
from benchmarks.traces import Case
from benchmarks.training import Ours
from progsem.hardware import attention_dtype
from progsem.lm import inference, model
from progsem.lm.operations import attention, fused_attention

DOCUMENTS, HEADS, SIZE = 32, 4, 32
LENGTHS = (35, 70, 140, 280, 560, 1120)
ROUNDS = 5
STEPS = 25  # of training in a round
SPECIFICATIONS = 2_000  # traced in a round


def whole() -> None:
    """Print seconds of training steps and of tracing, with either attention, in turn."""
    ours, case, memory = Ours(SPECIFICATIONS), Case(SPECIFICATIONS), inference.Reader.memory

    def by_torch(reader: inference.Reader) -> inference.Memory:
        return inference.TorchMemory(reader.shape, reader.turns, attention_dtype(reader.device, reader.precision))

    def steps(way) -> None:
        model.attention = way
        ours.steps(STEPS)

    def traces(way) -> None:
        inference.Reader.memory = way
        case.tracer._idle.clear()
        case.read(torch.get_num_threads())

    def fused(qvk, rotation, turns) -> torch.Tensor:
        return fused_attention(qvk, rotation, attention_dtype(qvk.device, qvk.dtype))

    for name, run, ways in (
        (f"{STEPS} training steps", steps, (attention, fused)),
        (f"tracing {SPECIFICATIONS} specifications", traces, (memory, by_torch)),
    ):
        calls = {word: lambda run=run, way=way: run(way) for word, way in zip(("compiled", "fused"), ways, strict=True)}
        in_turn(1, **calls)
        seconds = {word: statistics.median(times) for word, times in in_turn(ROUNDS, **calls).items()}
        compiled, other = seconds["compiled"], seconds["fused"]
        print(f"{name}: compiled {compiled:.2f} s, fused {other:.2f} s, {other / compiled:.2f} times as long")


def main() -> None:
    """Print a row for each length, then the whole."""
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
    whole()


if __name__ == "__main__":
    main()
