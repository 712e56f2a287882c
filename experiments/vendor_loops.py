"""The programs that compare_with_vendor_tools.py runs in fresh processes: our Session, and the vendors' own loops.

Each program runs inferences on the first samples, one after another, and writes their outputs. Then it times one
inference in a plain loop for some seconds and prints the median in µs. All use one thread. Its arguments are the
artifact, a samples.npy, the seconds, and the file for the outputs; that of a Session also has the runtime and its step.
"""

from __future__ import annotations

# A program reads these names, and sets `feed`, `step` and `fetch`. The step is what is timed.
_START = """
import functools, sys, time
import numpy as np
from pathlib import Path
artifact, samples, seconds, target = Path(sys.argv[1]), np.load(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
"""
_END = """
outputs = []
for number in range(min(8, len(samples))):
    feed(samples[number : number + 1])
    step()
    outputs.append(np.array(fetch()).reshape(-1))
np.save(target, outputs)
feed(samples[:1])
durations, begin = [], time.perf_counter()
while time.perf_counter() - begin < seconds:
    started = time.perf_counter_ns()
    step()
    durations.append(time.perf_counter_ns() - started)
print(np.median(durations[len(durations) // 10:]) / 1000 if durations else "not timed")
"""

SESSION = f"""{_START}
from edgeproof.core import plugins
session = plugins.load("runtimes", sys.argv[5]).Session(artifact, threads=1)
x = np.array(samples[:1])
feed = lambda sample: (np.copyto(x, sample), session.feed(x))
# A whole call for a vendor's loop that takes inputs and gives outputs, or else the engine alone.
step = functools.partial(session, x) if sys.argv[6] == "call" else session.invoke
fetch = lambda: session.fetch()[0]
{_END}"""

ONNX = f"""{_START}
import onnxruntime as ort
from edgeproof.runtimes.onnx import DTYPES
options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = ort.InferenceSession(artifact / "model.onnx", options, providers=["CPUExecutionProvider"])
x_info, y_info = session.get_inputs()[0], session.get_outputs()[0]
x = samples[:1].astype(DTYPES[x_info.type])
binding = session.io_binding()
binding.bind_cpu_input(x_info.name, x)
y = np.zeros(y_info.shape, DTYPES[y_info.type])
binding.bind_output(y_info.name, "cpu", 0, y.dtype, list(y.shape), y.ctypes.data)
feed = lambda sample: np.copyto(x, sample)
step = functools.partial(session.run_with_iobinding, binding)
fetch = lambda: y
{_END}"""

# ExecuTorch's public loop is method.execute(inputs), which copies inputs and returns new outputs.
EXECUTORCH = f"""{_START}
import torch
from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
from executorch.runtime import Runtime
_unsafe_reset_threadpool(1)
program = Runtime.get().load_program(artifact / "model.pte")
method = program.load_method("forward")
inputs = [torch.from_numpy(np.array(samples[:1]))]
feed = lambda sample: inputs[0].copy_(torch.from_numpy(np.array(sample)))
step = functools.partial(method.execute, inputs)
fetch = lambda: method.execute(inputs)[0].numpy()
{_END}"""

MNN = f"""{_START}
import MNN
engine = MNN.Interpreter(str(artifact / "model.mnn"))
session = engine.createSession({{"backend": "CPU", "numThread": 1, "precision": "high"}})
def make_tensor(array):
    return MNN.Tensor(array.shape, MNN.Halide_Type_Float, array, MNN.Tensor_DimensionType_Caffe)
def feed(sample):
    engine.getSessionInput(session).copyFrom(make_tensor(np.array(sample)))
step = functools.partial(engine.runSession, session)
def fetch():
    output = engine.getSessionOutput(session)
    host = make_tensor(np.zeros(output.getShape(), np.float32))
    output.copyToHostTensor(host)
    return host.getNumpyData().copy()  # it is a view of the tensor's memory
{_END}"""

# ncnn makes an extractor for each inference. It has no batch axis.
NCNN = f"""{_START}
import ncnn
stem = "model" if (artifact / "model.param").exists() else "model_fp16"
net = ncnn.Net()
net.opt.num_threads = 1
net.opt.use_vulkan_compute = False
if stem == "model":
    for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage"):
        setattr(net.opt, f"use_{{name}}", False)
net.load_param(str(artifact / f"{{stem}}.param"))
net.load_model(str(artifact / f"{{stem}}.bin"))
x = np.array(samples[0])
mat = ncnn.Mat(x)
(source, *_), (sink, *_) = net.input_names(), net.output_names()
feed = lambda sample: np.copyto(x, sample[0])
def step():
    global result
    extractor = net.create_extractor()
    extractor.input(source, mat)
    _, result = extractor.extract(sink)
fetch = lambda: np.array(result)
{_END}"""

TFLM = f"""{_START}
from tflite_micro.python.tflite_micro import runtime
interpreter = runtime.Interpreter.from_file(str(artifact / "model.tflite"), arena_size=2**24)
def quantize(sample):
    details = interpreter.get_input_details(0)
    if details["dtype"] != np.int8:
        return sample
    scale, zero = (details["quantization_parameters"][name][0] for name in ("scales", "zero_points"))
    return np.clip(np.round(sample / scale) + zero, -128, 127).astype(np.int8)
feed = lambda sample: interpreter.set_input(quantize(sample), 0)
step = interpreter.invoke
def fetch():
    details, output = interpreter.get_output_details(0), interpreter.get_output(0)
    if details["dtype"] != np.int8:
        return output
    scale, zero = (details["quantization_parameters"][name][0] for name in ("scales", "zero_points"))
    return (output - np.float32(zero)) * scale
{_END}"""

# The vendors' loops by runtime.
LOOPS = {"onnx": ONNX, "executorch": EXECUTORCH, "mnn": MNN, "ncnn": NCNN, "tflm": TFLM}
# The vendor's step of these runtimes is a whole call; that of the others is the engine alone.
WHOLE_CALLS = ("executorch",)
# The time of these runtimes on this machine says nothing, so only their outputs are compared.
UNTIMED = ("tflm",)

# litert-benchmark rounds to 10 µs. This runs its own main() and loop, and prints the median unrounded too.
EXACT_LITERT_BENCHMARK = """
import statistics
from ai_edge_litert.tools import benchmark_litert_model
rounded = statistics.median
def exact(values):
    print("exact median:", rounded(values), "ms")
    return rounded(values)
statistics.median = exact
benchmark_litert_model.main()
"""
