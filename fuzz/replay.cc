// fuzz_targets [--seconds N] CORPUS [TARGET…]: tries every input below CORPUS/TARGET and, for N seconds a target,
// random changes to them. Without libFuzzer nothing leads it to new code: a check that what was found stays found, for
// `make test`. An input that crashes is left as build/fuzz-crash.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <set>

#include "target.h"

namespace {

using godwit::fuzz::Target;
constexpr size_t kInputBytesMax = 65536;

std::string_view current;  // for the handler below

void save_and_die(int signal) {
  const int fd = ::open("build/fuzz-crash", O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd >= 0) (void)!::write(fd, current.data(), current.size());
  ::signal(signal, SIG_DFL);
  ::raise(signal);
}

std::vector<std::string> corpus_of(const std::filesystem::path& directory) {
  std::vector<std::string> inputs;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    std::ifstream file(entry.path(), std::ios::binary);
    inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return inputs;
}

class Mutator {
 public:
  explicit Mutator(unsigned seed) : random_(seed) {}

  std::string changed(const std::vector<std::string>& inputs) {
    std::string input = inputs[below(inputs.size())];
    for (size_t changes = 1 + below(6); changes > 0; --changes) change(input, inputs);
    if (input.size() > kInputBytesMax) input.resize(kInputBytesMax);
    return input;
  }

 private:
  size_t below(size_t bound) { return bound == 0 ? 0 : random_() % bound; }
  void change(std::string& input, const std::vector<std::string>& inputs) {
    constexpr unsigned char kEdges[] = {0, 1, 0x7f, 0x80, 0xff, '\n', ' ', '/', '.'};
    const size_t at = below(input.size());
    const size_t length = below(std::min<size_t>(input.size() - at, 64)) + 1;
    const std::string& other = inputs[below(inputs.size())];
    switch (below(7)) {
      case 0:
        if (!input.empty()) input[at] = static_cast<char>(input[at] ^ (1 << below(8)));
        return;
      case 1:
        if (!input.empty()) input[at] = static_cast<char>(kEdges[below(std::size(kEdges))]);
        return;
      case 2:
        input.erase(at, length);
        return;
      case 3:
        input.insert(at, std::string(length, static_cast<char>(random_())));
        return;
      case 4:
        input.insert(at, input.substr(at, length));
        return;
      case 5:
        input.insert(at, other.substr(below(other.size()), below(256)));
        return;
      default:
        input.resize(at);
    }
  }
  std::mt19937 random_;
};

void run(const Target& target, const std::filesystem::path& corpus, std::chrono::seconds time, unsigned seed) {
  const std::vector<std::string> inputs = corpus_of(corpus / target.name);
  if (inputs.empty()) {
    std::fprintf(stderr, "%s has no corpus\n", target.name);
    std::exit(1);
  }
  auto run_one = [&](const std::string& input) {
    current = input;
    target.run(input);
  };
  for (const std::string& input : inputs) run_one(input);
  uint64_t executions = inputs.size();
  Mutator mutator(seed);
  for (const auto end = std::chrono::steady_clock::now() + time; std::chrono::steady_clock::now() < end; ++executions)
    run_one(mutator.changed(inputs));
  std::printf("%-16s %4zu inputs %9lu executions\n", target.name, inputs.size(), executions);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  std::chrono::seconds time(0);
  if (words.size() > 1 && words[0] == "--seconds") {
    time = std::chrono::seconds(std::stoi(words[1]));
    words.erase(words.begin(), words.begin() + 2);
  }
  if (words.empty()) {
    std::fprintf(stderr, "usage: fuzz_targets [--seconds N] CORPUS [TARGET…]\n");
    return 2;
  }
  const std::filesystem::path corpus = words[0];
  const std::set<std::string> wanted(words.begin() + 1, words.end());
  const unsigned seed = std::random_device()();
  std::printf("seed %u\n", seed);
  for (int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE}) ::signal(signal, save_and_die);
  for (const Target& target : godwit::fuzz::targets())
    if (wanted.empty() || wanted.contains(target.name)) run(target, corpus, time, seed);
}
