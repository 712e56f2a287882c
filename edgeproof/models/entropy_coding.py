"""How many bytes a model's weights take once they are entropy-coded: the gain of zeros and of few distinct values.

Han, Mao, Dally: "Deep Compression" (2016), sections 2 and 4: Huffman codes (Huffman, 1952) over the values and, of a
sparse tensor, over the gaps between non-zeros. A tensor with more than one dimension is stored in the smallest of

    dense    every value
    sparse   every non-zero value, and before each the number of zeros since the last, in k bits; where there are 2^k
             zeros or more, every 2^k-th is stored as if it were a value (the paper's filler zero)

where the values are Huffman-coded or plain float32, and the gaps Huffman-coded. A canonical Huffman code is known from
the lengths of its codewords, so that its codebook holds a byte of length and the symbol itself (4 bytes a value, 1 byte
a gap). All of that is counted, and the header that says which form it is, so that the coded bytes and the tensor's
shape are enough to get every bit back. Other tensors (biases, normalizations) are plain float32.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

import numpy as np

FloatArray = np.ndarray[Any, np.dtype[np.float32]]
Counts = np.ndarray[Any, np.dtype[np.int64]]

# Form and k (a byte each), the number of gaps in their codebook (2), of values in theirs and of values stored (4 each).
HEADER_BYTES = 12
VALUE_BYTES, GAP_BYTES, LENGTH_BYTES = 4, 1, 1
MAX_GAP_BITS = 8


def count_entropy_coded_bytes(tensors: Mapping[str, FloatArray]) -> int:
    """The size of all tensors together. Values are told apart by their bits, so −0 is not a zero."""
    return sum(count_tensor_bytes(tensor) if tensor.ndim > 1 else VALUE_BYTES * tensor.size for tensor in tensors.values())


def count_tensor_bytes(tensor: FloatArray) -> int:
    """The size of one tensor in the smallest of the forms, with its header."""
    patterns = np.ascontiguousarray(tensor, dtype=np.float32).ravel().view(np.uint32)
    _, counts = np.unique(patterns, return_counts=True)
    sizes = [count_value_bytes(counts)]
    places = np.flatnonzero(patterns)
    if len(places) < len(patterns):
        zeros = np.diff(places, prepend=-1) - 1
        _, counts = np.unique(patterns[places], return_counts=True)
        most = min(max(int(zeros.max(initial=0)).bit_length(), 1), MAX_GAP_BITS)
        sizes += [count_sparse_bytes(zeros, counts, gap_bits) for gap_bits in range(1, most + 1)]
    return HEADER_BYTES + min(sizes)


def count_sparse_bytes(zeros: Counts, counts: Counts, gap_bits: int) -> int:
    """The size of gaps and values, from the zeros before each non-zero and how often each non-zero value occurs."""
    fillers = zeros >> gap_bits
    gaps = np.bincount(zeros & (2**gap_bits - 1), minlength=2**gap_bits)
    if filled := int(fillers.sum()):
        gaps[-1] += filled
        counts = np.append(counts, filled)
    gaps = gaps[gaps > 0]
    return _count_huffman_bytes(gaps, GAP_BYTES) + count_value_bytes(counts)


def count_value_bytes(counts: Counts) -> int:
    """The size of values, Huffman-coded or plain, from how often each distinct one occurs."""
    plain = VALUE_BYTES * int(counts.sum())
    # No code is shorter than the entropy. Where that does not pay, a code for perhaps 100,000 distinct weights, which
    # would take a second, need not be built: the minimum is known without it.
    least = len(counts) * (LENGTH_BYTES + VALUE_BYTES) + compute_entropy_bits(counts) / 8
    return plain if least >= plain else min(plain, _count_huffman_bytes(counts, VALUE_BYTES))


def _count_huffman_bytes(counts: Counts, symbol_bytes: int) -> int:
    codebook = len(counts) * (LENGTH_BYTES + symbol_bytes)
    return codebook + -(-int(counts @ compute_code_lengths(counts)) // 8)


def compute_entropy_bits(counts: Counts) -> float:
    """Shannon's bound on the bits of all symbols together: Σ n_i · log2(n / n_i)."""
    return float(counts @ np.log2(counts.sum() / counts))


def compute_code_lengths(counts: Counts) -> Counts:
    """The length in bits of each symbol's Huffman codeword, from how often it occurs (at least once).

    The only symbol of an alphabet has an empty codeword: how many there are is known.
    """
    leaves = len(counts)
    heap = [(count, leaf) for leaf, count in enumerate(counts.tolist())]
    heapq.heapify(heap)
    parents = [0] * max(2 * leaves - 1, 0)
    for node in range(leaves, 2 * leaves - 1):
        least, first = heapq.heappop(heap)
        second_least, second = heap[0]
        parents[first] = parents[second] = node
        heapq.heapreplace(heap, (least + second_least, node))
    depths = [0] * len(parents)
    for node in range(len(parents) - 2, -1, -1):
        depths[node] = depths[parents[node]] + 1
    return np.array(depths[:leaves], np.int64)
