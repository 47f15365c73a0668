"""Networks for ONNX Runtime, built operation by operation.

Weights become 8-bit integers, one scale an output; the input of each product is scaled row by row while it runs, as CTranslate2
does it. Both together: products of integers, which processors do several times as fast as those of floats.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..models import hardware
from . import needs_extra
from .ct2_weights import Weights

with needs_extra("the whisper engine"):
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

OPSET = 17
IR_VERSION = 9
Array = npt.NDArray[Any]
Shape = Sequence[int | str]
"""Of an input or output; what changes from call to call has a name."""


class Graph:
    """A network in the making: each method adds operations and returns the name of what they give."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, Array] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape: Shape, kind: npt.DTypeLike = np.float32) -> str:
        """An input of the network."""
        self._inputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), shape))
        return name

    def output(self, value: str, name: str, shape: Shape, kind: npt.DTypeLike = np.float32) -> None:
        """Gives `value` out under `name`."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), shape)
        )

    def constant(self, value: npt.ArrayLike, kind: npt.DTypeLike = np.float32) -> str:
        """A value that is the same in each call."""
        name = f"c{len(self._constants)}"
        self._constants[name] = np.asarray(value, kind, order="C")
        return name

    def whole(self, *values: int) -> str:
        """A list of integers, such as a shape."""
        return self.constant(values, np.int64)

    def add(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """One operation with one result."""
        return self.several(operation, 1, *inputs, **attributes)[0]

    def several(self, operation: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """One operation with `count` results."""
        names = [f"n{len(self._nodes)}_{index}" for index in range(count)]
        domain = "com.microsoft" if operation in ("Gelu", "MatMulIntegerToFloat") else ""
        self._nodes.append(helper.make_node(operation, list(inputs), names, domain=domain, **attributes))
        return names

    def linear(self, value: str, weight: Weights, bias: Weights | None) -> str:
        """`value` (…, k) times the transpose of `weight` (n, k), which is used up, and `bias` (n,) added: (…, n)."""
        scale = np.maximum(np.maximum(weight.max(axis=1), -weight.min(axis=1)), 1e-12) / 127
        weight /= scale[:, None]
        integers = np.rint(weight, out=weight).astype(np.int8).T
        largest = self.add("ReduceMax", self.add("Abs", value), axes=[-1], keepdims=1)
        rows = self.add("Mul", self.add("Max", largest, self.constant(1e-12)), self.constant(1 / 127))
        # Half more than the zero point, for the cast cuts off what is behind the point.
        scaled = self.add(
            "Cast", self.add("Add", self.add("Div", value, rows), self.constant(128.5)), to=onnx.TensorProto.UINT8
        )
        product = self.add(
            "MatMulIntegerToFloat", scaled, self.constant(integers, np.int8), self.constant(1.0), self.constant(scale),
            self.constant(128, np.uint8),
        )  # fmt: skip
        result = self.add("Mul", product, rows)
        return result if bias is None else self.add("Add", result, self.constant(bias))

    def normalized(self, value: str, gain: Weights, shift: Weights) -> str:
        """Layer normalization over the last axis."""
        return self.add("LayerNormalization", value, self.constant(gain), self.constant(shift), axis=-1, epsilon=1e-5)

    def session(self, threads: int) -> Any:
        """The network, ready to run on `threads` threads; the graph is used up."""
        graph = helper.make_graph(
            self._nodes, "network", self._inputs, self._outputs,
            [numpy_helper.from_array(value, name) for name, value in self._constants.items()],
        )  # fmt: skip
        domains = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        network = helper.make_model(graph, opset_imports=domains, ir_version=IR_VERSION).SerializeToString()
        del graph
        self._constants.clear()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that wait by spinning would take the processor from the other stages.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not {"avx512_vnni", "avx_vnni", "amx_int8"} & set(hardware.cpu().features):
            # x86 without instructions for such products sums two in 16 bits, which overflows; this is exact, and slower.
            options.add_session_config_entry("session.x64quantprecision", "1")
        return onnxruntime.InferenceSession(network, sess_options=options, providers=["CPUExecutionProvider"])
