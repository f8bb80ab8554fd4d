"""C++ kernels for the CPU: built once for the machine's instruction set, tested before use."""
