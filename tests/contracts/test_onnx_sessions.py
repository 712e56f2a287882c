"""Every runtime that takes .onnx files computes what plain use of its engine computes, over ONNX's own operator tests.

`python -m tests.backend_node_tests` runs all of these tests.
"""

from __future__ import annotations

import pytest

from edgeproof.core import plugins
from tests.support import backend_tests

RUNTIMES = [
    name for name in plugins.list_names("runtimes") if ".onnx" in getattr(plugins.load("runtimes", name), "ADOPTS", ())
]
# Outputs of many kinds: several, scalars, empty ones, integers, booleans, doubles, sizes that depend on the data.
SAMPLE = (
    "test_add",
    "test_argmax_default_axis_example",
    "test_averagepool_2d_default",
    "test_basic_conv_with_padding",
    "test_batchnorm_epsilon",
    "test_cast_FLOAT_to_DOUBLE",
    "test_cast_FLOAT_to_FLOAT16",
    "test_compress_1",
    "test_constantofshape_int_zeros",
    "test_cumsum_1d",
    "test_dynamicquantizelinear",
    "test_einsum_sum",
    "test_gather_0",
    "test_greater",
    "test_gru_defaults",
    "test_isnan",
    "test_lstm_defaults",
    "test_nonmaxsuppression_suppress_by_IOU_and_scores",
    "test_nonzero_example",
    "test_quantizelinear",
    "test_reduce_max_do_not_keepdims_example",
    "test_shape",
    "test_softmax_example",
    "test_split_zero_size_splits_opset13",
    "test_top_k",
    "test_unique_sorted_without_axis",
)


@pytest.mark.parametrize("name", SAMPLE)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_session_computes_what_plain_use_of_its_engine_computes(runtime: str, name: str) -> None:
    results = backend_tests.compare(name, runtime)
    if results == [backend_tests.BOTH_FAIL]:
        pytest.skip(f"{runtime} has no such operator")
    assert set(results) == {backend_tests.EQUAL}
