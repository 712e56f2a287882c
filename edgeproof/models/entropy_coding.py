"""Compute the size of a model's weights after entropy coding: the gain of zeros and of few distinct values.

Han, Mao, Dally: "Deep Compression" (2016), sections 2 and 4. Values are Huffman-coded (Huffman, 1952), and so are the
gaps between the non-zeros of a sparse tensor. A tensor with more than one dimension is stored in the smallest of these
forms:

    dense    every value
    sparse   every non-zero value, and before it the number of zeros since the last one, in k bits. In a run of 2^k
             zeros or more, every 2^k-th zero is stored like a value (the paper's filler zero).

Values are Huffman-coded or plain float32; gaps are Huffman-coded. The lengths of its codewords define a canonical
Huffman code, so its codebook holds, for each symbol, one byte of length and the symbol itself (4 bytes a value, 1 byte
a gap). The size includes the codebooks and a header that names the form: together with the tensor's shape, the coded
bytes are enough to restore every bit. Other tensors (biases, normalizations) are plain float32.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

import numpy as np

FloatArray = np.ndarray[Any, np.dtype[np.float32]]
Counts = np.ndarray[Any, np.dtype[np.int64]]

# The form and k (1 byte each), the length of the gaps' codebook (2), and the numbers of distinct and stored values
# (4 each).
HEADER_BYTES = 12
VALUE_BYTES, GAP_BYTES, LENGTH_BYTES = 4, 1, 1
MAX_GAP_BITS = 8


def count_entropy_coded_bytes(tensors: Mapping[str, FloatArray]) -> int:
    """Return the size of all tensors together. Values are equal if their bits are, so −0 is not a zero."""
    return sum(
        count_tensor_bytes(tensor) if tensor.ndim > 1 else VALUE_BYTES * tensor.size for tensor in tensors.values()
    )


def count_tensor_bytes(tensor: FloatArray) -> int:
    """Return the size of one tensor in its smallest form, including the header."""
    patterns = np.ascontiguousarray(tensor, dtype=np.float32).ravel().view(np.uint32)
    _, counts = np.unique(patterns, return_counts=True)
    sizes = [count_value_bytes(counts)]
    nonzeros = np.flatnonzero(patterns)
    if len(nonzeros) < len(patterns):
        zeros = np.diff(nonzeros, prepend=-1) - 1
        _, counts = np.unique(patterns[nonzeros], return_counts=True)
        max_gap_bits = min(max(int(zeros.max(initial=0)).bit_length(), 1), MAX_GAP_BITS)
        sizes += [count_sparse_bytes(zeros, counts, gap_bits) for gap_bits in range(1, max_gap_bits + 1)]
    return HEADER_BYTES + min(sizes)


def count_sparse_bytes(zeros: Counts, counts: Counts, gap_bits: int) -> int:
    """Return the size of gaps and values.

    `zeros` is the number of zeros before each non-zero, `counts` the frequency of each distinct non-zero value.
    """
    fillers = zeros >> gap_bits
    gaps = np.bincount(zeros & (2**gap_bits - 1), minlength=2**gap_bits)
    if filler_count := int(fillers.sum()):
        gaps[-1] += filler_count
        counts = np.append(counts, filler_count)
    gaps = gaps[gaps > 0]
    return _count_huffman_bytes(gaps, GAP_BYTES) + count_value_bytes(counts)


def count_value_bytes(counts: Counts) -> int:
    """Return the size of values, Huffman-coded or plain, from the frequency of each distinct value."""
    plain = VALUE_BYTES * int(counts.sum())
    # No code is shorter than the entropy. If the entropy already saves nothing, the code is not built, because this
    # takes a second for 100,000 distinct weights.
    lower_bound = len(counts) * (LENGTH_BYTES + VALUE_BYTES) + compute_entropy_bits(counts) / 8
    return plain if lower_bound >= plain else min(plain, _count_huffman_bytes(counts, VALUE_BYTES))


def _count_huffman_bytes(counts: Counts, symbol_bytes: int) -> int:
    codebook = len(counts) * (LENGTH_BYTES + symbol_bytes)
    return codebook + -(-int(counts @ compute_code_lengths(counts)) // 8)


def compute_entropy_bits(counts: Counts) -> float:
    """Return Shannon's lower bound on the bits of all symbols together: Σ n_i · log2(n / n_i)."""
    return float(counts @ np.log2(counts.sum() / counts))


def compute_code_lengths(counts: Counts) -> Counts:
    """Return the length of each symbol's Huffman codeword in bits, from its frequency (at least 1).

    The only symbol of an alphabet has an empty codeword, since the number of symbols is known.
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
