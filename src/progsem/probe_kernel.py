"""Steps of probe fits as one compiled loop, for CPUs whose vector registers multiply bfloat16 (AVX-512 BF16).

A probe's step is dozens of small products and passes over what they give. Called
one after the other, a third of the time goes into calls, copies and passes over
memory. Here one (data set, seed, head) is fitted by one loop: a tile of states at a
time goes through all layers forward and back while it is in the core's own cache.

Products take pairs: a 32-bit word holds two neighbouring bfloat16 along the
dimension that is summed over, and `vdpbf16ps` multiplies and adds 16 words at once.
A tile of activations (states, units) is kept twice: with pairs of units in a word
("units"), which is its natural layout, and with pairs of states ("states").

| product                 | summed over | left, broadcast         | right, 16 words at once        |
|-------------------------|-------------|-------------------------|--------------------------------|
| outputs of a layer      | inputs      | activations, by units   | weights, pairs of inputs       |
| gradient of activations | outputs     | gradient, by units      | weights, pairs of outputs      |
| gradient of weights     | states      | activations, by states  | gradient of outputs, by states |

Sums, biases, softmax, weights and moments are float32. Units are padded with zeros
to a multiple of 16, states to whole tiles; neither adds anything to a gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from progsem.compiled import njit

LANES = 16  # float32 in a vector register
TILE = 128  # states
BETA1, BETA2 = 0.9, 0.999


class _BFloat(ir.types.Type):
    """LLVM's bfloat, which llvmlite does not name."""

    def _to_string(self):
        return "bfloat"

    def __eq__(self, other):
        return isinstance(other, _BFloat)

    def __hash__(self):
        return hash(_BFloat)


_WORD, _FLOAT, _SIZE = ir.IntType(32), ir.FloatType(), ir.IntType(64)
_FLOATS, _SHORTS = ir.VectorType(_FLOAT, LANES), ir.VectorType(ir.IntType(16), LANES)
_WORDS, _HALVES = ir.VectorType(_WORD, LANES), ir.VectorType(_BFloat(), LANES)


class _Emitter:
    """Writes the instructions of an intrinsic whose arguments are flat arrays and indices."""

    def __init__(self, context, builder, signature, arguments):
        self.builder, self.arguments = builder, arguments
        self._arrays = {
            which: context.make_array(kind)(context, builder, arguments[which]).data
            for which, kind in enumerate(signature.args)
            if isinstance(kind, types.Array)
        }

    def pointer(self, array: int, index, kind):
        """To `kind` at an index of argument number `array`."""
        return self.builder.bitcast(self.builder.gep(self._arrays[array], [index]), kind.as_pointer())

    def load(self, array: int, index, kind):
        """A vector from an index on."""
        return self.builder.load(self.pointer(array, index, kind), align=2)

    def store(self, value, array: int, index):
        """A vector from an index on."""
        self.builder.store(value, self.pointer(array, index, value.type), align=2)

    def rounded(self, value):
        """Sixteen float32 as bfloat16."""
        kind = ir.FunctionType(_HALVES, [_FLOATS])
        convert = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.x86.avx512bf16.cvtneps2bf16.512")
        return self.builder.call(convert, [value])

    def store_both(self, even, odd, natural: int, at, other_at, words: int, words_at):
        """Two states' sixteen units: each by itself in `natural`, and in pairs in `words`."""
        wide = []
        for value, index in ((even, at), (odd, other_at)):
            halves = self.rounded(value)
            self.store(halves, natural, index)
            wide.append(self.builder.zext(self.builder.bitcast(halves, _SHORTS), _WORDS))
        high = self.builder.shl(wide[1], ir.Constant(_WORDS, [16] * LANES))
        self.store(self.builder.or_(wide[0], high), words, words_at)


@intrinsic
def _round(typing, source, target, at):
    """Sixteen float32 of `source` from `at` on as bfloat16 of `target` there."""

    def build(context, builder, signature, arguments):
        emit = _Emitter(context, builder, signature, arguments)
        emit.store(emit.rounded(emit.load(0, arguments[2], _FLOATS)), 1, arguments[2])
        return context.get_dummy_value()

    return types.void(source, target, types.intp), build


@intrinsic
def _round_positive(typing, source, at, other_at, bias, bias_at, natural, words, words_at):
    """relu(source + bias) of sixteen units of two states, from `at` and `other_at` on, into natural and words."""
    signature = types.void(source, types.intp, types.intp, bias, types.intp, natural, words, types.intp)

    def build(context, builder, signature, arguments):
        emit = _Emitter(context, builder, signature, arguments)
        _, at, other_at, _, bias_at, _, _, words_at = arguments
        bias, nothing, values = emit.load(3, bias_at, _FLOATS), ir.Constant(_FLOATS, None), []
        for index in (at, other_at):
            value = builder.fadd(emit.load(0, index, _FLOATS), bias)
            values.append(builder.select(builder.fcmp_ordered("<", value, nothing), nothing, value))
        emit.store_both(*values, 5, at, other_at, 6, words_at)
        return context.get_dummy_value()

    return signature, build


@intrinsic
def _round_where(typing, source, at, other_at, where, total, total_at, natural, words, words_at):
    """source, but 0 where `where` is, of sixteen units of two states, into natural and words; total += both states'."""
    signature = types.void(source, types.intp, types.intp, where, total, types.intp, natural, words, types.intp)

    def build(context, builder, signature, arguments):
        emit = _Emitter(context, builder, signature, arguments)
        _, at, other_at, _, _, total_at, _, _, words_at = arguments
        values = []
        for index in (at, other_at):
            kept = builder.icmp_unsigned("!=", emit.load(3, index, _SHORTS), ir.Constant(_SHORTS, None))
            values.append(builder.select(kept, emit.load(0, index, _FLOATS), ir.Constant(_FLOATS, None)))
        total = builder.fadd(emit.load(4, total_at, _FLOATS), builder.fadd(*values))
        emit.store(total, 4, total_at)
        emit.store_both(*values, 6, at, other_at, 7, words_at)
        return context.get_dummy_value()

    return signature, build


@intrinsic
def _float_of(typing, bits):
    """The float32 of these bits, int32."""

    def build(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], _FLOAT)

    return types.float32(types.int32), build


def _block(rows: int, vectors: int, lanes: int = LANES):
    """A product of a block of that many rows and vectors * lanes columns, all in registers."""
    floats, words = ir.VectorType(_FLOAT, lanes), ir.VectorType(_WORD, lanes)
    pairs_of_words = ir.VectorType(_BFloat(), 2 * lanes)

    @intrinsic
    def product(typing, left, left_at, row, pair, right, right_at, pairs_apart, out, out_at, out_row, pairs, add):
        """out[r, c] (+)= sum over p of left[r, p] * right[p, c], words of two, with `add` to what is there.

        Flat arrays: left[r, p] is at left_at + r * row + p * pair, right[p, c] at
        right_at + p * pairs_apart + c, out[r, c] at out_at + r * out_row + c.
        """
        integer = types.intp
        signature = types.void(
            left, integer, integer, integer, right, integer, integer, out, integer, integer, integer, types.boolean
        )

        def build(context, builder, signature, arguments):
            def number(value):
                return ir.Constant(_SIZE, value)

            def vector(pointer, at, kind):
                return builder.bitcast(builder.gep(pointer, [number(lanes * at)]), kind.as_pointer())

            emit = _Emitter(context, builder, signature, arguments)
            left_start, right_start = (emit.pointer(k, arguments[k + 1], _WORD) for k in (0, 4))
            out_start = emit.pointer(7, arguments[8], _FLOAT)
            row, pair, pairs_apart, out_row, pairs, add = (arguments[k] for k in (2, 3, 6, 9, 10, 11))
            cells = [(r, v) for r in range(rows) for v in range(vectors)]
            targets = [vector(builder.gep(out_start, [builder.mul(out_row, number(r))]), v, floats) for r, v in cells]
            wanted = builder.icmp_unsigned("!=", add, ir.Constant(add.type, 0))
            with builder.if_else(wanted) as (then, otherwise):
                with then:
                    there = [builder.load(target, align=4) for target in targets]
                    filled = builder.block
                with otherwise:
                    empty = builder.block
            sums = []
            for value in there:
                phi = builder.phi(floats)
                phi.add_incoming(value, filled)
                phi.add_incoming(ir.Constant(floats, None), empty)
                sums.append(phi)
            before, loop = builder.block, builder.append_basic_block("pairs")
            after = builder.append_basic_block("done")
            builder.branch(loop)
            builder.position_at_end(loop)
            at = builder.phi(_SIZE)
            at.add_incoming(number(0), before)
            running = [builder.phi(floats) for _ in cells]
            for phi, value in zip(running, sums, strict=True):
                phi.add_incoming(value, before)
            column = builder.gep(right_start, [builder.mul(at, pairs_apart)])
            rights = [
                builder.bitcast(builder.load(vector(column, v, words), align=4), pairs_of_words) for v in range(vectors)
            ]
            lefts = builder.gep(left_start, [builder.mul(at, pair)])
            dot = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(floats, [floats, pairs_of_words, pairs_of_words]),
                f"llvm.x86.avx512bf16.dpbf16ps.{32 * lanes}",
            )
            new = []
            for r in range(rows):
                word = builder.load(builder.gep(lefts, [builder.mul(row, number(r))]), align=4)
                undefined = ir.Constant(words, ir.Undefined)
                one = builder.insert_element(undefined, word, ir.Constant(_WORD, 0))
                everywhere = builder.shuffle_vector(one, undefined, ir.Constant(words, None))
                everywhere = builder.bitcast(everywhere, pairs_of_words)
                new += [builder.call(dot, [running[r * vectors + v], everywhere, rights[v]]) for v in range(vectors)]
            next_one = builder.add(at, number(1))
            at.add_incoming(next_one, loop)
            for phi, value in zip(running, new, strict=True):
                phi.add_incoming(value, loop)
            builder.cbranch(builder.icmp_signed("<", next_one, pairs), loop, after)
            builder.position_at_end(after)
            for target, value in zip(targets, new, strict=True):
                builder.store(value, target, align=4)
            return context.get_dummy_value()

        return signature, build

    return product


_four_by_64, _eight_by_32, _eight_by_16 = _block(4, 4), _block(8, 2), _block(8, 1)
_eight_by_8 = _block(8, 1, LANES // 2)


def _compiled(function):
    """Compiled for one thread, without the GIL; no sum is reordered, and infinities stay what they are."""
    return njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})(function)


@_compiled
def _multiply(left, row, pair, right, right_at, out, out_at, rows, columns, pairs, add):
    """out (rows, columns) (+)= left (rows, pairs) @ right (pairs, columns); rows and columns are multiples of 8."""
    n = columns  # also how far rows of `right` and of `out` are apart
    at = 0
    while at < n:
        r_at, o_at = right_at + at, out_at + at
        if n - at >= 64:
            for r in range(0, rows, 4):
                _four_by_64(left, r * row, row, pair, right, r_at, n, out, o_at + r * n, n, pairs, add)
            at += 64
        elif n - at >= 32:
            for r in range(0, rows, 8):
                _eight_by_32(left, r * row, row, pair, right, r_at, n, out, o_at + r * n, n, pairs, add)
            at += 32
        elif n - at >= 16:
            for r in range(0, rows, 8):
                _eight_by_16(left, r * row, row, pair, right, r_at, n, out, o_at + r * n, n, pairs, add)
            at += 16
        else:
            for r in range(0, rows, 8):
                _eight_by_8(left, r * row, row, pair, right, r_at, n, out, o_at + r * n, n, pairs, add)
            at += 8


@_compiled
def _by_states(natural, words, rows, units):
    """Words (rows / 2, units) that pair the states of natural (rows, units) bfloat16."""
    for pair in range(rows // 2):
        even, odd = natural[2 * pair * units :], natural[(2 * pair + 1) * units :]
        into = words[pair * units :]
        for unit in range(units):
            into[unit] = np.uint32(even[unit]) | (np.uint32(odd[unit]) << np.uint32(16))


@_compiled
def _gather(inputs, rows, natural, units):
    """The states `rows` of inputs (N, width) bfloat16 as natural (TILE, units); 0 beyond width and rows."""
    width = inputs.shape[1] - 1  # the last column is the bias'
    natural[: TILE * units] = 0
    for state in range(rows.shape[0]):
        source, into = inputs[rows[state]], natural[state * units :]
        for unit in range(width):
            into[unit] = source[unit]


@_compiled
def _activate(sums, bias, bias_at, natural, words, units):
    """relu(sums + bias), (TILE, units), by units and by states."""
    for pair in range(TILE // 2):
        for unit in range(0, units, LANES):
            at = 2 * pair * units + unit
            _round_positive(sums, at, at + units, bias, bias_at + unit, natural, words, pair * units + unit)


@_compiled
def _pass_back(sums, activations, bias, bias_at, natural, words, units):
    """sums where the activations are positive, else 0, (TILE, units), by units and by states; summed into bias."""
    for pair in range(TILE // 2):
        for unit in range(0, units, LANES):
            at, at_words = 2 * pair * units + unit, pair * units + unit
            _round_where(sums, at, at + units, activations, bias, bias_at + unit, natural, words, at_words)


@_compiled
def _exponential(value):
    """e ** value for value <= 0, to 2e-7 of itself; 0 below -87."""
    if value < np.float32(-87):
        return np.float32(0)
    whole = np.floor(value * np.float32(1.44269504) + np.float32(0.5))
    rest = value - whole * np.float32(0.693359375) + whole * np.float32(2.12194440e-4)
    power = np.float32(1.9875691500e-4)
    power = power * rest + np.float32(1.3981999507e-3)
    power = power * rest + np.float32(8.3334519073e-3)
    power = power * rest + np.float32(4.1665795894e-2)
    power = power * rest + np.float32(1.6666665459e-1)
    power = power * rest + np.float32(5.0000001201e-1)
    power = power * rest * rest + rest + np.float32(1)
    return power * _float_of((np.int32(whole) + np.int32(127)) << np.int32(23))


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc"})
def _total(values):
    """The sum of TILE finite float32, in whatever order is fastest."""
    total = np.float32(0)
    for state in range(TILE):
        total += values[state]
    return total


@_compiled
def _blame(sums, bias, bias_at, truth, states, classes, natural, bias_gradient, units, scratch):
    """natural = d cross-entropy / d logits = softmax(sums + bias) - one-hot, (TILE, units); summed into bias_gradient.

    truth: (TILE,) int32 labels, of which the first `states` count: the others are -1, and have no gradient.
    scratch: (classes + 2, TILE), states along the last dimension.
    """
    top, share = scratch[classes], scratch[classes + 1]
    top[:] = -np.inf
    for kind in range(classes):
        logits, more = scratch[kind], bias[bias_at + kind]
        for state in range(TILE):
            logits[state] = sums[state * units + kind] + more
        for state in range(TILE):
            top[state] = max(top[state], logits[state])
    share[:] = 0
    for kind in range(classes):
        likely = scratch[kind]
        for state in range(TILE):
            likely[state] = _exponential(likely[state] - top[state])
        for state in range(TILE):
            share[state] += likely[state]
    for state in range(TILE):
        share[state] = np.float32(1) / share[state]
    share[states:] = 0
    sums[: TILE * units] = 0
    for kind in range(classes):
        slope = scratch[kind]
        for state in range(TILE):
            slope[state] = slope[state] * share[state] - (np.float32(1) if truth[state] == kind else np.float32(0))
        for state in range(TILE):
            sums[state * units + kind] = slope[state]
        bias_gradient[bias_at + kind] += _total(slope)
    for at in range(0, TILE * units, LANES):
        _round(sums, natural, at)


@_compiled
def _adamw(state, rate, decay, epsilon, step):
    """One step of AdamW, as torch does it, on state (4, weights): values, gradient, first and second moments."""
    values, gradient, first, second = state[0], state[1], state[2], state[3]
    kept = np.float32(1 - rate * decay)
    length = np.float32(rate / (1 - BETA1**step))
    scale = np.float32(1 / np.sqrt(1 - BETA2**step))
    new, rest, old = np.float32(1 - BETA1), np.float32(1 - BETA2), np.float32(BETA2)
    least = np.float32(epsilon)
    for k in range(state.shape[1]):
        slope = gradient[k]
        first[k] += new * (slope - first[k])
        second[k] = old * second[k] + rest * slope * slope
        values[k] = kept * values[k] - length * first[k] / (np.sqrt(second[k]) * scale + least)


@_compiled
def _pack(weights, scratch, forward, backward, inputs, outputs, first):
    """Weights (inputs, outputs) as words that pair inputs and, except in the first layer, words that pair outputs."""
    for at in range(0, inputs * outputs, LANES):
        _round(weights, scratch, at)
    _by_states(scratch, forward, inputs, outputs)
    if not first:
        words = scratch.view(np.uint32)
        for pair in range(outputs // 2):
            into = backward[pair * inputs :]
            for k in range(inputs):
                into[k] = words[k * outputs // 2 + pair]


class _Workspace(NamedTuple):
    """What a step writes besides the state: by units and by states (layers, words) uint32 as in the table above.

    blame: the gradients of activations, in both ways; sums float32, of a product; classes
    (classes + 2, TILE) float32; truth (TILE,) int32, labels; of weights, forward and backward
    (words,) uint32 and rounded uint16.
    """

    by_units: np.ndarray
    by_states: np.ndarray
    blame_by_units: np.ndarray
    blame_by_states: np.ndarray
    sums: np.ndarray
    classes: np.ndarray
    truth: np.ndarray
    forward: np.ndarray
    backward: np.ndarray
    rounded: np.ndarray


@_compiled
def _read(inputs, rows, layout, work):
    """The tile of states `rows` of inputs, as the first layer takes them."""
    width, natural = layout[0, 0, 0], work.by_units[0].view(np.uint16)
    _gather(inputs, rows, natural, width)
    _by_states(natural, work.by_states[0], TILE, width)


@_compiled
def _forward(layout, layers, values, work):
    """All layers of one depth on the tile that was read; the last one's outputs, without bias, are left in the sums."""
    for layer in range(layers):
        before, after, at, bias = layout[layer]
        pairs = before // 2
        _multiply(work.by_units[layer], pairs, 1, work.forward, at // 2, work.sums, 0, TILE, after, pairs, False)
        if layer < layers - 1:
            natural = work.by_units[layer + 1].view(np.uint16)
            _activate(work.sums, values, bias, natural, work.by_states[layer + 1], after)


@_compiled
def _backward(layout, layers, gradient, work):
    """All layers of one depth, from the gradient of its outputs that `_blame` has left to that of weights."""
    blame = work.blame_by_units.view(np.uint16)
    _by_states(blame, work.blame_by_states, TILE, layout[layers - 1, 1])
    for layer in range(layers - 1, -1, -1):
        before, after, at, _ = layout[layer]
        pairs = TILE // 2
        _multiply(work.by_states[layer], 1, before, work.blame_by_states, 0, gradient, at, before, after, pairs, True)
        if layer > 0:
            pairs = after // 2
            _multiply(work.blame_by_units, pairs, 1, work.backward, at // 2, work.sums, 0, TILE, before, pairs, False)
            active, bias = work.by_units[layer].view(np.uint16), layout[layer - 1, 3]
            _pass_back(work.sums, active, gradient, bias, blame, work.blame_by_states, before)


@_compiled
def _pack_all(values, layout, layers, work):
    """The weights of all layers, as products take them."""
    for depth in range(len(layers)):
        for layer in range(layers[depth]):
            before, after, at, _ = layout[depth, layer]
            forward, backward = work.forward[at // 2 :], work.backward[at // 2 :]
            _pack(values[at:], work.rounded, forward, backward, before, after, layer == 0)


@_compiled
def _steps(inputs, rows, labels, classes, layout, layers, rates, done, decay, epsilon, state, work):
    """So many steps of the probes of one (data set, seed) and head, all depths, on state as `_adamw` has it.

    inputs: (N, width + 1) bfloat16 as uint16; rows: (steps, batch) of them; labels: (N,) int32;
    layout: (depths, most layers, 4) int64, of each layer its inputs and outputs, padded,
    and where its weights (inputs, outputs) and bias start in the state; layers: (depths,)
    how many there are; rates: (steps,) learning rates; done: steps before these; work: a `_Workspace`.
    """
    values, gradient, blame = state[0], state[1], work.blame_by_units.view(np.uint16)
    for step in range(rows.shape[0]):
        _pack_all(values, layout, layers, work)
        gradient[:] = 0
        for start in range(0, rows.shape[1], TILE):
            chosen = rows[step, start : start + TILE]
            states = len(chosen)
            _read(inputs, chosen, layout, work)
            for k in range(TILE):
                work.truth[k] = labels[chosen[k]] if k < states else -1
            for depth in range(len(layers)):
                _, units, _, bias = layout[depth, layers[depth] - 1]
                _forward(layout[depth], layers[depth], values, work)
                _blame(work.sums, values, bias, work.truth, states, classes, blame, gradient, units, work.classes)
                _backward(layout[depth], layers[depth], gradient, work)
        _adamw(state, rates[step], decay, epsilon, done + step + 1)


@_compiled
def _logits(inputs, rows, layout, layers, values, work, out):
    """Of the states `rows` (N,) of inputs, into out (depths, classes, N) float32."""
    _pack_all(values, layout, layers, work)
    for start in range(0, len(rows), TILE):
        chosen = rows[start : start + TILE]
        _read(inputs, chosen, layout, work)
        for depth in range(len(layers)):
            _, units, _, bias = layout[depth, layers[depth] - 1]
            _forward(layout[depth], layers[depth], values, work)
            for kind in range(out.shape[1]):
                for k in range(len(chosen)):
                    out[depth, kind, start + k] = work.sums[k * units + kind] + values[bias + kind]


def is_fastest(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether these loops are the fastest way to fit probes there: where there are matrix units, products are."""
    if device.type != "cpu" or dtype != torch.bfloat16:
        return False
    return torch.cpu._is_avx512_bf16_supported() and not torch.cpu._is_amx_tile_supported()


class Compiled:
    """The probes of P (data set, seed, head) triples, each fitted by a loop of its own.

    inputs: (N, width + 1) bfloat16, the states of all; labels: (P, N) int32; classes: of each triple.
    weights[depth][layer]: (W, b) float32 of shapes (P, outputs, inputs) and (P, outputs): views
    that the loops start from and leave their results in.
    """

    def __init__(self, sizes: list[tuple[int, ...]], inputs: torch.Tensor, labels: torch.Tensor, classes: list[int]):
        self._inputs, self._labels = inputs.view(torch.int16).numpy().view(np.uint16), labels.numpy()
        self._classes, self._outputs, probes = classes, sizes[0][-1], len(classes)
        layers = [len(each) - 1 for each in sizes]
        self._layers = np.array(layers)
        self._layout = np.zeros((len(sizes), max(layers), 4), np.int64)
        at = 0
        for depth, each in enumerate(sizes):
            for layer, (before, after) in enumerate(pairwise(each)):
                # Outputs of the last layer are few: half a register of them saves half of its products.
                lanes = LANES // 2 if layer == layers[depth] - 1 else LANES
                before, after = _padded(before, LANES), _padded(after, lanes)
                bias = _padded(at + before * after, 2 * LANES)
                self._layout[depth, layer] = before, after, at, bias
                at = _padded(bias + after, 2 * LANES)
        # An odd number of kilobytes: rows a multiple of 4096 bytes apart get in each other's way in the cache.
        at += (256 - at) % 512
        self._state = torch.zeros(probes, 4, at).numpy()
        values = torch.from_numpy(self._state)[:, 0]
        self.weights = []
        for depth, each in enumerate(sizes):
            self.weights.append([])
            for layer, (before, after) in enumerate(pairwise(each)):
                padded, columns, start, bias = self._layout[depth, layer].tolist()
                weight = values[:, start : start + padded * columns].view(probes, padded, columns)[:, :before, :after]
                self.weights[-1].append((weight.mT, values[:, bias : bias + after]))
        self._done = 0

    def step(self, rows: torch.Tensor, rates: list[float], decay: float, epsilon: float) -> None:
        """Steps of AdamW on minibatches rows (P, steps, batch) of the inputs, at learning rates (steps,)."""
        every_rate, chosen = np.array(rates), rows.numpy()

        def fit(probe: int) -> None:
            work = self._workspace(self._classes[probe])
            _steps(
                self._inputs, chosen[probe], self._labels[probe], self._classes[probe], self._layout, self._layers,
                every_rate, self._done, decay, epsilon, self._state[probe], work,
            )  # fmt: skip

        self._each(fit)
        self._done += len(rates)

    def logits(self, rows: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Of states of the inputs, as the weights are now: (P, depths, classes, n) float32.

        rows: (P, n), of which the first counts (P,) are wanted; the others are given 0.
        """
        probes, states = rows.shape
        out = torch.zeros(probes, len(self._layers), self._outputs, states)
        into, chosen = out.numpy(), rows.numpy()

        def see(probe: int) -> None:
            wanted, work = chosen[probe, : counts[probe]], self._workspace(self._classes[probe])
            _logits(self._inputs, wanted, self._layout, self._layers, self._state[probe, 0], work, into[probe])

        self._each(see)
        return out

    def _each(self, function: Callable[[int], None]) -> None:
        """Call it for every triple, on as many threads as torch has."""
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(function, range(len(self._classes))))

    def _workspace(self, classes: int) -> _Workspace:
        words, weights = TILE * int(self._layout[..., :2].max()) // 2, self._state.shape[2]
        layers = self._layout.shape[1]

        def empty(*shape: int, dtype: torch.dtype = torch.int32) -> np.ndarray:
            # By torch, as that begins with a line of the cache; unsigned, as words are.
            array = torch.empty(shape, dtype=dtype).numpy()
            return array if dtype == torch.float32 else array.view(f"u{array.itemsize}")

        return _Workspace(
            by_units=empty(layers, words),
            by_states=empty(layers, words),
            blame_by_units=empty(words),
            blame_by_states=empty(words),
            sums=empty(2 * words, dtype=torch.float32),
            classes=empty(classes + 2, TILE, dtype=torch.float32),
            truth=empty(TILE).view(np.int32),
            forward=empty(weights),
            backward=empty(weights),
            rounded=empty(weights, dtype=torch.int16),
        )


def _padded(size: int, unit: int) -> int:
    """The next multiple of `unit`."""
    return -(-size // unit) * unit
