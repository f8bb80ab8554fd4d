"""CUDA kernels for GPUs: compiled at run time by NVRTC, tested before use."""
