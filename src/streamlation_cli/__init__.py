"""Speech in one language to captions and speech in another, as Unix filters."""

import os

__version__ = "0.1.0"

# From 1.29 on onnxruntime, which finds speech and runs Piper voices, reports to its makers over the network unless this
# is set before it is loaded. Nothing here opens a connection that was not asked for.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# NumPy does no matrix work worth threads here, and those that OpenBLAS starts spin beside CTranslate2's: 5 to 10 % of a CPU.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
