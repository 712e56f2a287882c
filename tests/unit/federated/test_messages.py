"""Messages: what is decoded is what was encoded, sizes are as documented, and damaged messages are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof.federated.errors import MessageError
from edgeproof.federated.messages import Update, decode_update, decode_weights, encode_update, encode_weights
from edgeproof.federated.settings import Compression
from edgeproof.federated.weights import Layout, Weights
from tests.support.federations import build_module

LAYOUT = Layout.read(build_module(with_statistics=True))
HEADER_BYTES = 24
KINDS = [Compression("none"), Compression("int8"), Compression("top_k", 0.1)]


def draw_update(seed: int = 0) -> Update:
    random = np.random.default_rng(seed)
    difference, statistics = (
        random.standard_normal(count).astype(np.float32) for count in (LAYOUT.parameter_count, LAYOUT.statistic_count)
    )
    return Update(difference, statistics, 12)


def test_the_layout_counts_weights_and_statistics() -> None:
    # 6·5 + 5 in the first layer, 2·5 in the normalization, 5·3 + 3 in the last; a mean and a variance for 5 channels.
    assert (LAYOUT.parameter_count, LAYOUT.statistic_count) == (63, 10)


def test_the_lengths_of_messages_are_those_of_their_arrays() -> None:
    update, tensors, kept = draw_update(), len(LAYOUT.sizes), 7  # a tenth of 63, rounded up
    lengths = [len(encode_update(update, kind, LAYOUT)) for kind in KINDS]
    arrays = [4 * 63, 4 * tensors + 63, (4 + 4) * kept]
    assert lengths == [HEADER_BYTES + array + 4 * 10 for array in arrays]
    assert len(encode_weights(Weights(update.difference, update.statistics))) == HEADER_BYTES + 4 * (63 + 10)


def test_plain_messages_keep_every_bit() -> None:
    update = draw_update()
    decoded = decode_update(encode_update(update, KINDS[0], LAYOUT), LAYOUT)
    assert decoded.samples == 12
    np.testing.assert_array_equal(decoded.difference, update.difference)
    np.testing.assert_array_equal(decoded.statistics, update.statistics)
    weights = decode_weights(encode_weights(Weights(update.difference, update.statistics)), LAYOUT)
    np.testing.assert_array_equal(weights.parameters, update.difference)


def test_int8_is_off_by_half_a_level_of_its_tensor_at_most_and_keeps_zeros() -> None:
    update = draw_update()
    update.difference[::5] = 0
    decoded = decode_update(encode_update(update, KINDS[1], LAYOUT), LAYOUT).difference
    start = 0
    for size in LAYOUT.sizes:
        part = slice(start, start + size)
        level = np.abs(update.difference[part]).max() / 127
        assert np.abs(decoded[part] - update.difference[part]).max() <= level / 2 * 1.0001
        start += size
    assert (decoded[::5] == 0).all()


@given(st.integers(0, 10_000), st.floats(0.001, 1.0), st.integers(1, 6))
def test_top_k_with_error_feedback_sends_everything_in_the_end(seed: int, share: float, rounds: int) -> None:
    """The sum of what was sent and the last residual is the sum of all updates; a residual is never above what it was
    taken from."""
    compression, residual = Compression("top_k", share), np.zeros(LAYOUT.parameter_count, np.float32)
    sent = np.zeros(LAYOUT.parameter_count)
    total = np.zeros(LAYOUT.parameter_count)
    for number in range(rounds):
        update = draw_update(seed + number)
        total += update.difference
        carried = Update(update.difference + residual, update.statistics, update.samples)
        decoded = decode_update(encode_update(carried, compression, LAYOUT), LAYOUT).difference
        kept = decoded != 0
        assert np.abs(carried.difference[~kept]).max(initial=0) <= np.abs(carried.difference[kept]).min()
        residual = carried.difference - decoded
        assert (residual[kept] == 0).all()
        assert (decoded[~kept] == 0).all()
        sent += decoded
    np.testing.assert_allclose(sent + residual, total, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(kind: Compression, value: float) -> None:
    for name in ("difference", "statistics"):
        update = draw_update()
        getattr(update, name)[3] = value
        with np.errstate(all="ignore"), pytest.raises(MessageError, match="not finite"):
            decode_update(encode_update(update, kind, LAYOUT), LAYOUT)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_message_of_another_shape_is_refused(kind: Compression) -> None:
    message = encode_update(draw_update(), kind, LAYOUT)
    other = Layout.read(build_module())
    for wrong, layout, text in (
        (message, other, "63 parameters and 10 statistics, the model has 53 and 0"),
        (message[:-1], LAYOUT, "ends early"),
        (message + b"0", LAYOUT, "1 bytes too many"),
        (message[:5], LAYOUT, "fewer than its header"),
        (b"XXXX" + message[4:], LAYOUT, "of another kind"),
        (encode_weights(Weights(draw_update().difference, draw_update().statistics)), LAYOUT, "of another kind"),
    ):
        with pytest.raises(MessageError, match=text):
            decode_update(wrong, layout)


@given(st.binary(max_size=400), st.integers(0, 400))
def test_no_bytes_crash_the_server(noise: bytes, place: int) -> None:
    message = encode_update(draw_update(), KINDS[2], LAYOUT)
    mixed = message[:place] + noise + message[place + len(noise) :]
    with np.errstate(all="ignore"):
        try:
            update = decode_update(mixed, LAYOUT)
        except MessageError:
            return
    assert np.isfinite(update.difference).all()
