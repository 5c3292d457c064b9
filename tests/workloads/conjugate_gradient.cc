// A program of high-performance computing that ends with a result it has verified: conjugate gradients for Poisson's
// equation on a square, without a stored matrix, four vectors of --mib MiB together, --iterations times, with OpenMP.
// Prints
//   {"ok": true, "residual": "…", "true_residual": "…", "sum": "…", "iterations": …}
// in hexadecimal: a run that was moved must print what one that was not prints, to the last bit. Not ok: the residual
// that the iterations carried along is not b − A x computed anew, so that some memory is of another time.
#include <cmath>
#include <cstdio>
#include <vector>

#include "flags.h"

namespace godwit::workloads {
namespace {

using Vector = std::vector<double>;

// Sums by rows, and the rows' sums in one order: the same bits whatever the number of threads.
double dot(const Vector& a, const Vector& b, size_t side) {
  Vector rows(side);
#pragma omp parallel for
  for (size_t row = 0; row < side; ++row) {
    double sum = 0;
    for (size_t i = row * side; i < (row + 1) * side; ++i) sum += a[i] * b[i];
    rows[row] = sum;
  }
  double total = 0;
  for (const double sum : rows) total += sum;
  return total;
}

// The five-point Laplacian with a border of zeros.
void apply(const Vector& x, Vector& result, size_t side) {
#pragma omp parallel for
  for (size_t row = 0; row < side; ++row) {
    for (size_t column = 0; column < side; ++column) {
      const size_t i = row * side + column;
      double value = 4 * x[i];
      if (row > 0) value -= x[i - side];
      if (row + 1 < side) value -= x[i + side];
      if (column > 0) value -= x[i - 1];
      if (column + 1 < side) value -= x[i + 1];
      result[i] = value;
    }
  }
}

// y += factor * x
void add(Vector& y, double factor, const Vector& x) {
#pragma omp parallel for
  for (size_t i = 0; i < y.size(); ++i) y[i] += factor * x[i];
}

// y = x + factor * y
void scale_and_add(Vector& y, double factor, const Vector& x) {
#pragma omp parallel for
  for (size_t i = 0; i < y.size(); ++i) y[i] = x[i] + factor * y[i];
}

// b is one everywhere.
double true_residual(const Vector& x, Vector& scratch, size_t side) {
  apply(x, scratch, side);
  for (double& value : scratch) value = 1 - value;
  return std::sqrt(dot(scratch, scratch, side));
}

int run(int argc, char** argv) {
  const Flags flags(argc, argv, {{"mib", "64"}, {"iterations", "200"}});
  const auto side = static_cast<size_t>(std::sqrt(static_cast<double>(flags.number("mib")) * (1 << 20) / 32));
  const long iterations = flags.number("iterations");
  if (side < 2 || iterations < 1) return std::fputs("too small\n", stderr), 2;

  Vector x(side * side, 0.0), r(side * side, 1.0), p = r, q(side * side);
  double squared = dot(r, r, side);
  for (long iteration = 0; iteration < iterations; ++iteration) {
    apply(p, q, side);
    const double step = squared / dot(p, q, side);
    add(x, step, p);
    add(r, -step, q);
    const double next = dot(r, r, side);
    scale_and_add(p, next / squared, r);
    squared = next;
  }
  const double carried = std::sqrt(squared), computed = true_residual(x, q, side);
  const bool ok = std::fabs(carried - computed) <= 1e-8 * static_cast<double>(side);
  double sum = 0;
  for (const double value : x) sum += value;
  std::printf("{\"ok\": %s, \"residual\": \"%a\", \"true_residual\": \"%a\", \"sum\": \"%a\", \"iterations\": %ld}\n",
              ok ? "true" : "false", carried, computed, sum, iterations);
  return ok ? 0 : 1;
}

}  // namespace
}  // namespace godwit::workloads

int main(int argc, char** argv) { return godwit::workloads::run(argc, argv); }
