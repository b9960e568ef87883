"""Say what there is of a GPU, and compute on what there is."""

import ctypes
import os
from pathlib import Path

cuda = Path(os.environ["CUDA_HOME"])
print(
    f"CUDA {os.environ['CUDA_VERSION']} at {cuda.resolve()}, devices asked for: {os.environ['NVIDIA_VISIBLE_DEVICES']}"
)

library = ctypes.CDLL("libsaxpy.so")  # found by LD_LIBRARY_PATH
library.saxpy.argtypes = [
    ctypes.c_size_t,
    ctypes.c_float,
    ctypes.POINTER(ctypes.c_float),
    ctypes.POINTER(ctypes.c_float),
]
library.saxpy.restype = None
count = library.device_count()
print(f"{count} GPUs" if count else "no GPU here: on the CPU")

n = 1000
x = (ctypes.c_float * n)(*range(n))
y = (ctypes.c_float * n)(*[1.0] * n)
library.saxpy(n, 2.0, x, y)
print(f"saxpy: {y[0]:g} {y[1]:g} ... {y[n - 1]:g}")
