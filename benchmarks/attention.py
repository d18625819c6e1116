"""Ways to compute attention on a CPU: the compiled loops, and torch's fused kernel.

    python -m benchmarks.attention [threads [precision]]

Prints milliseconds of one call in training, forward and backward, over the length of documents, for the default
study's batch and heads, in bfloat16: the compiled loops, and torch's fused kernel in float32 and in bfloat16, measured
in turn. Then what matters: training steps and tracing as a whole on one thread, with the compiled loops and with
the fused kernel, in the precision that the study takes here or the one given, by the processor time they took:
other programs disturb that less than the time on the clock.
"""

import statistics
import sys
import time

import torch

from benchmarks.common import in_turn
from benchmarks.traces import Case
from benchmarks.training import Ours
from progsem.lm import inference, operations
from progsem.lm.operations import attention, fused_attention

DOCUMENTS, HEADS, SIZE = 32, 4, 32
LENGTHS = (35, 70, 140, 280, 560, 1120)
ROUNDS = 5
STEPS = 10  # of training in a round of the whole
SPECIFICATIONS = 2_000  # traced in a round of the whole
PAIRS = 11  # rounds of the whole, each of them with both ways


def whole(precision: str) -> None:
    """Print milliseconds of training steps and of tracing with either attention, and the median of their ratios."""
    ours, case = Ours(SPECIFICATIONS, precision), Case(SPECIFICATIONS, precision)

    def milliseconds(run, compiled: bool) -> float:
        for module in (operations, inference):
            module.is_compiled = lambda device, size: compiled
        case.tracer._idle.clear()
        started = time.process_time()
        run()
        return 1000 * (time.process_time() - started)

    for name, run in (
        (f"{STEPS} training steps", lambda: ours.steps(STEPS)),
        (f"tracing {SPECIFICATIONS} specifications", lambda: case.read(1)),
    ):
        pairs = [(milliseconds(run, True), milliseconds(run, False)) for _ in range(PAIRS + 1)][1:]
        compiled, fused = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(fused / compiled for compiled, fused in pairs)
        print(f"{name}: compiled {compiled:.0f} ms, fused {fused:.0f} ms, {ratio:.2f} times as long")


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
        ways = {
            "compiled": lambda: attention(qvk, turns),  # noqa: B023
            "float32": lambda: fused_attention(qvk, turns, torch.float32),  # noqa: B023
            "bfloat16": lambda: fused_attention(qvk, turns, torch.bfloat16),  # noqa: B023
        }
        calls = {name: lambda way=way: torch.autograd.grad(way(), qvk, outer) for name, way in ways.items()}  # noqa: B023
        in_turn(1, **calls)
        times = {name: 1000 * statistics.median(seconds) for name, seconds in in_turn(ROUNDS, **calls).items()}
        print(f"{length:6} {times['compiled']:9.2f} {times['float32']:14.2f} {times['bfloat16']:15.2f}")
    whole(sys.argv[2] if len(sys.argv) > 2 else "auto")


if __name__ == "__main__":
    main()
