// All kernels, compiled as one.
#include "contraction.cu"
#include "elementwise.cu"
#include "optimizers.cu"
#include "random.cu"
#include "rows.cu"
