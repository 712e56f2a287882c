"""Entropy-coded sizes against an encoder whose bytes decode to the same bits, and codes against the theory."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeproof.models import entropy_coding

COUNTS = st.lists(st.integers(1, 1000), min_size=1, max_size=40)


def compute_lengths(counts: list[int]) -> list[int]:
    return entropy_coding.compute_code_lengths(np.array(counts)).tolist()


# --- Huffman codes -------------------------------------------------------------------------------------------------


@given(COUNTS)
def test_the_kraft_sum_of_a_code_is_exactly_one(counts: list[int]) -> None:
    assert sum(Fraction(1, 2**length) for length in compute_lengths(counts)) == 1


@given(COUNTS)
def test_mean_code_length_is_less_than_one_bit_above_the_entropy(counts: list[int]) -> None:
    total = sum(counts)
    entropy = sum(n / total * math.log2(total / n) for n in counts)
    mean = sum(n * length for n, length in zip(counts, compute_lengths(counts), strict=True)) / total
    assert entropy - 1e-9 <= mean < entropy + 1
    assert entropy_coding.compute_entropy_bits(np.array(counts)) == pytest.approx(entropy * total, abs=1e-6)


@settings(max_examples=50)
@given(st.lists(st.integers(1, 30), min_size=2, max_size=6))
def test_no_prefix_code_of_a_small_alphabet_is_shorter(counts: list[int]) -> None:
    # Kraft and McMillan: a prefix code with lengths l exists exactly if Σ 2^-l ≤ 1. No length needs to exceed n − 1.
    deepest = len(counts) - 1
    best = min(
        sum(n * length for n, length in zip(counts, candidate, strict=True))
        for candidate in itertools.product(range(1, deepest + 1), repeat=len(counts))
        if sum(2 ** (deepest - length) for length in candidate) <= 2**deepest
    )
    assert sum(n * length for n, length in zip(counts, compute_lengths(counts), strict=True)) == best


def test_textbook_cases_have_the_known_code_lengths() -> None:
    assert compute_lengths([7]) == [0]
    assert compute_lengths([1, 5]) == [1, 1]
    assert sorted(compute_lengths([1, 1, 2, 4, 8])) == [1, 2, 3, 4, 4]
    assert compute_lengths([3] * 8) == [3] * 8
    fibonacci = [1, 1]
    while len(fibonacci) < 40:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    assert sorted(compute_lengths(fibonacci)) == [*range(1, 39), 39, 39]


# --- an independent encoder and decoder; only the code lengths come from the module --------------------------------


def assign_codewords(symbols: list[int], widths: list[int]) -> dict[int, str]:
    """Return canonical codewords: in order of length, then symbol, each is the previous one plus one."""
    words, code, last = {}, 0, 0
    for width, symbol in sorted(zip(widths, symbols, strict=True)):
        code <<= width - last
        words[symbol] = format(code, f"0{width}b") if width else ""
        code, last = code + 1, width
    return words


def pack_bits(bits: str) -> bytes:
    return bytes(int(bits[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(bits), 8))


def encode_huffman(symbols: list[int], symbol_bytes: int) -> bytes:
    counts = Counter(symbols)
    widths = compute_lengths(list(counts.values()))
    words = assign_codewords(list(counts), widths)
    book = b"".join(
        bytes([width]) + s.to_bytes(symbol_bytes, "little") for s, width in zip(counts, widths, strict=True)
    )
    return book + pack_bits("".join(words[symbol] for symbol in symbols))


def decode_huffman(data: bytes, distinct: int, count: int, symbol_bytes: int) -> tuple[list[int], bytes]:
    """Return the decoded symbols and the bytes after them."""
    entry = 1 + symbol_bytes
    book = [data[i * entry : (i + 1) * entry] for i in range(distinct)]
    symbols = [int.from_bytes(item[1:], "little") for item in book]
    words = {word: symbol for symbol, word in assign_codewords(symbols, [item[0] for item in book]).items()}
    bits = "".join(format(byte, "08b") for byte in data[distinct * entry :])
    decoded_symbols, position = [], 0
    for _ in range(count):
        end = position
        while bits[position:end] not in words:
            end += 1
        decoded_symbols.append(words[bits[position:end]])
        position = end
    return decoded_symbols, data[distinct * entry + -(-position // 8) :]


def build_header(form: int, gap_bits: int, gaps: int, distinct: int, stored: int) -> bytes:
    return (
        bytes([form, gap_bits])
        + gaps.to_bytes(2, "little")
        + distinct.to_bytes(4, "little")
        + stored.to_bytes(4, "little")
    )


def encode(tensor: np.ndarray) -> list[bytes]:
    """Return the tensor encoded in every form."""
    dense = tensor.ravel().view(np.uint32).tolist()
    streams: list[tuple[int, list[int], list[int]]] = [(0, [], dense)]
    for gap_bits in range(1, 9):
        gaps, values, run = [], [], 0
        for value in dense:
            if value or run == 2**gap_bits - 1:
                gaps.append(run)
                values.append(value)
                run = 0
            else:
                run += 1
        # Fillers are only needed before a non-zero: the size of the tensor gives the zeros at the end.
        while values and values[-1] == 0:
            gaps.pop()
            values.pop()
        streams.append((gap_bits, gaps, values))
    coded = []
    for gap_bits, gaps, values in streams:
        gap_part = encode_huffman(gaps, 1) if gap_bits else b""
        plain = b"".join(value.to_bytes(4, "little") for value in values)
        for form, part in ((0, plain), (1, encode_huffman(values, 4))):
            coded.append(build_header(form, gap_bits, len(set(gaps)), len(set(values)), len(values)) + gap_part + part)
    return coded


def decode(data: bytes, size: int) -> list[int]:
    form, gap_bits = data[0], data[1]
    gap_symbols, distinct, stored = (int.from_bytes(data[a:b], "little") for a, b in ((2, 4), (4, 8), (8, 12)))
    gaps, rest = [0] * stored, data[12:]
    if gap_bits:
        gaps, rest = decode_huffman(rest, gap_symbols, stored, 1)
    if form:
        values, rest = decode_huffman(rest, distinct, stored, 4)
    else:
        values, rest = [int.from_bytes(rest[i : i + 4], "little") for i in range(0, 4 * stored, 4)], rest[4 * stored :]
    assert not rest
    dense = [bit for gap, value in zip(gaps, values, strict=True) for bit in [*[0] * gap, value]]
    return dense + [0] * (size - len(dense))


few = st.sampled_from([0.0, 0.0, 0.0, 0.0, 1.5, -1.5, 0.25, -0.0, 1e-45])
tensors = st.one_of(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=4, max_side=6), elements=few),
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.floats(width=32)),
    st.builds(
        lambda seed, sparsity, levels: (
            (rng := np.random.default_rng(seed)).integers(-levels, levels + 1, (30, 30))
            * (rng.random((30, 30)) > sparsity)
        ).astype(np.float32),
        st.integers(0, 2**32 - 1),
        st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.999]),
        st.sampled_from([1, 3, 100, 10**6]),
    ),
)


@settings(max_examples=40, deadline=None)
@given(tensors)
def test_the_size_equals_that_of_bytes_that_decode_to_the_tensor(tensor: np.ndarray) -> None:
    coded = encode(tensor)
    for data in coded:
        assert decode(data, tensor.size) == tensor.ravel().view(np.uint32).tolist()
    assert entropy_coding.count_tensor_bytes(tensor) == min(len(data) for data in coded)


# --- sizes ---------------------------------------------------------------------------------------------------------

HEADER = entropy_coding.HEADER_BYTES


def test_sizes_equal_counts_by_hand() -> None:
    # Zeros: no value is stored. One value: its codebook and no bits.
    assert entropy_coding.count_tensor_bytes(np.zeros((10, 10), np.float32)) == HEADER
    assert entropy_coding.count_tensor_bytes(np.ones((10, 10), np.float32)) == HEADER + 5
    # Two values: two entries of the codebook, one bit for each weight.
    halves = np.array([[1.0, 2.0]] * 400, np.float32)
    assert entropy_coding.count_tensor_bytes(halves) == HEADER + 2 * 5 + 100
    # Every 100th of 100,000 is the same value. Seven bits of gap hold 99 zeros: one gap, one value, no bits.
    comb = np.zeros((1000, 100), np.float32)
    comb[:, 99] = 3.0
    assert entropy_coding.count_tensor_bytes(comb) == HEADER + 2 + 5
    # One value after 300 zeros: a gap of 8 bits holds 255, so the 256th zero is a filler, and 44 zeros follow. Two gaps
    # and two values take one bit each. The dense form would take 10 bytes and 301 bits.
    lone = np.zeros((1, 301), np.float32)
    lone[0, 300] = 3.0
    assert entropy_coding.count_tensor_bytes(lone) == HEADER + min(2 * 2 + 1 + 2 * 4, 10 + 38)


def test_biases_and_normalizations_are_counted_as_plain_floats() -> None:
    ones = np.ones(100, np.float32)
    scalar = np.array(1.0, np.float32)
    matrix = np.ones((10, 10), np.float32)
    assert entropy_coding.count_entropy_coded_bytes({"bias": ones, "scale": scalar}) == 404
    assert entropy_coding.count_entropy_coded_bytes({"bias": ones, "weight": matrix}) == 400 + HEADER + 5
    assert entropy_coding.count_entropy_coded_bytes({}) == 0


def test_an_empty_tensor_takes_only_its_header() -> None:
    assert entropy_coding.count_tensor_bytes(np.zeros((0, 3), np.float32)) == HEADER


def test_300_000_distinct_weights_are_plain_and_no_code_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entropy_coding, "compute_code_lengths", lambda counts: pytest.fail("a useless code was built"))
    weights = np.random.default_rng(0).permutation(300_000).astype(np.float32).reshape(300, 1000) + 1
    assert entropy_coding.count_tensor_bytes(weights) == HEADER + 4 * 300_000


def test_the_order_of_axes_in_memory_does_not_matter() -> None:
    tensor = np.random.default_rng(0).integers(-2, 3, (4, 5, 6, 7)).astype(np.float32)
    strided = np.ascontiguousarray(tensor.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert not strided.flags.c_contiguous
    assert entropy_coding.count_tensor_bytes(strided) == entropy_coding.count_tensor_bytes(tensor)


def test_fewer_bits_and_more_zeros_give_a_smaller_size() -> None:
    rng = np.random.default_rng(0)
    weights, order = rng.standard_normal((100, 300)).astype(np.float32), rng.permutation(30_000).reshape(100, 300)
    for steps in (1, 7, 127):
        levels = np.round(weights * steps).astype(np.float32)
        sizes = [
            entropy_coding.count_tensor_bytes(np.where(order < sparsity * 30_000, np.float32(0), levels))
            for sparsity in (0, 0.3, 0.6, 0.9, 0.99)
        ]
        assert sizes == sorted(sizes, reverse=True)
    sizes = [
        entropy_coding.count_tensor_bytes(np.round(weights * steps).astype(np.float32)) for steps in (1, 3, 7, 31, 127)
    ]
    assert sizes == sorted(sizes)
