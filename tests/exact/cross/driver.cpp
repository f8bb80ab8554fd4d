// Computes with every kernel on the inputs of a file and writes the results to another: run on the
// machine's own instruction set and on others', both files must be the same.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "contraction.cpp"
#include "elementwise.cpp"
#include "rows.cpp"

static std::vector<float> read_floats(FILE* file, size_t count) {
    std::vector<float> x(count);
    if (fread(x.data(), 4, count, file) != count) exit(2);
    return x;
}

template <class T>
static void write(FILE* file, const std::vector<T>& x) {
    fwrite(x.data(), sizeof(T), x.size(), file);
}

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    FILE *in = fopen(argv[1], "rb"), *out = fopen(argv[2], "wb");
    if (in == nullptr || out == nullptr) return 2;
    const int64_t M = 61, K = 301, N = 83, L = 20000, ROWS = 40, WIDTH = 500;
    auto a = read_floats(in, M * K), b = read_floats(in, K * N), x = read_floats(in, L);
    auto g = read_floats(in, L);
    for (int64_t precision = 0; precision < 3; ++precision) {
        std::vector<float> c(M * N);
        exact_contract(precision, 1, M, N, K, a.data(), 0, K, 1, b.data(), 0, N, 1, x.data(), 0, 0,
                       1, 0.7, -1.3, c.data());
        write(out, c);
    }
    std::vector<float> y(L), z(L), mean(ROWS), rstd(ROWS), dweight(WIDTH), dbias(WIDTH);
    for (auto unary : {exact_exp, exact_log, exact_expm1, exact_sigmoid, exact_tanh, exact_erf,
                       exact_softplus, exact_gelu, exact_silu, exact_relu}) {
        unary(x.data(), y.data(), L);
        write(out, y);
    }
    for (auto binary : {exact_gelu_backward, exact_silu_backward, exact_tanh_backward,
                        exact_sigmoid_backward}) {
        binary(g.data(), x.data(), y.data(), L);
        write(out, y);
    }
    for (int64_t log = 0; log < 2; ++log) {
        exact_softmax(x.data(), ROWS, WIDTH, log, 1, y.data());
        write(out, y);
        exact_softmax_backward(g.data(), y.data(), ROWS, WIDTH, log, z.data());
        write(out, z);
    }
    exact_layer_norm(x.data(), ROWS, WIDTH, g.data(), g.data() + WIDTH, 1e-5, y.data(), mean.data(),
                     rstd.data());
    write(out, y);
    exact_layer_norm_backward(g.data(), x.data(), mean.data(), rstd.data(), ROWS, WIDTH, g.data(),
                              y.data(), dweight.data(), dbias.data());
    for (const auto& result : {y, dweight, dbias}) write(out, result);
    std::vector<double> rows(ROWS), columns(WIDTH);
    exact_sum_rows_f32(x.data(), ROWS, WIDTH, rows.data());
    exact_sum_columns_f32(x.data(), ROWS, WIDTH, columns.data());
    write(out, rows);
    write(out, columns);
    return fclose(out) ? 2 : 0;
}
