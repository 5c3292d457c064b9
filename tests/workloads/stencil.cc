// A program of high-performance computing that ends with a result it has verified: Jacobi's five-point stencil on a
// square with one warm side, two grids of --mib MiB together, --sweeps times, with OpenMP (--threads). Prints
//   {"ok": true, "residual": "…", "sum": "…", "sweeps": …}
// in hexadecimal: a run that was moved must print what one that was not prints, to the last bit. Not ok: a value is
// outside of what its neighbours and the borders allow (the maximum principle), or the change of the last sweep is not
// the residual of the grid before it, so that some memory is of another time.
#include <cmath>
#include <cstdio>
#include <vector>

#include "flags.h"

namespace godwit::workloads {
namespace {

class Grid {
 public:
  explicit Grid(size_t side) : side_(side), values_(side * side, 0.0) {
    for (size_t column = 0; column < side; ++column) values_[column] = 1.0;
  }

  double& at(size_t row, size_t column) { return values_[row * side_ + column]; }
  double at(size_t row, size_t column) const { return values_[row * side_ + column]; }

  double mean_of_neighbours(size_t row, size_t column) const {
    return 0.25 * (at(row - 1, column) + at(row + 1, column) + at(row, column - 1) + at(row, column + 1));
  }

  double residual() const {
    double most = 0;
#pragma omp parallel for reduction(max : most)
    for (size_t row = 1; row < side_ - 1; ++row) {
      for (size_t column = 1; column < side_ - 1; ++column)
        most = std::max(most, std::fabs(mean_of_neighbours(row, column) - at(row, column)));
    }
    return most;
  }

  // Row after row in one order, whatever the number of threads.
  double sum() const {
    double total = 0;
    for (const double value : values_) total += value;
    return total;
  }

  bool within_borders() const {
    for (const double value : values_)
      if (!(value >= 0 && value <= 1)) return false;
    return true;
  }

  // The largest change.
  double sweep_into(Grid& next) const {
    double most = 0;
#pragma omp parallel for reduction(max : most)
    for (size_t row = 1; row < side_ - 1; ++row) {
      for (size_t column = 1; column < side_ - 1; ++column) {
        const double value = mean_of_neighbours(row, column);
        most = std::max(most, std::fabs(value - at(row, column)));
        next.at(row, column) = value;
      }
    }
    return most;
  }

 private:
  size_t side_;
  std::vector<double> values_;
};

int run(int argc, char** argv) {
  const Flags flags(argc, argv, {{"mib", "64"}, {"sweeps", "200"}});
  const auto side = static_cast<size_t>(std::sqrt(static_cast<double>(flags.number("mib")) * (1 << 20) / 16));
  const long sweeps = flags.number("sweeps");
  if (side < 3 || sweeps < 1) return std::fputs("too small\n", stderr), 2;

  Grid grid(side), next(side);
  double change = 0;
  for (long sweep = 0; sweep < sweeps; ++sweep) {
    change = grid.sweep_into(next);
    std::swap(grid, next);
  }
  const double before = next.residual();  // `next` is now the grid before the last sweep
  const bool ok = grid.within_borders() && before == change;
  std::printf("{\"ok\": %s, \"residual\": \"%a\", \"sum\": \"%a\", \"sweeps\": %ld}\n", ok ? "true" : "false",
              grid.residual(), grid.sum(), sweeps);
  return ok ? 0 : 1;
}

}  // namespace
}  // namespace godwit::workloads

int main(int argc, char** argv) { return godwit::workloads::run(argc, argv); }
