"""Runs the CUDA kernels' sources on the CPU, compiled as C++."""
