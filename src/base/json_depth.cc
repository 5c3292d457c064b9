#include "base/json_depth.h"

#include <nlohmann/json.hpp>

namespace godwit {
namespace {

using nlohmann::json;

// Not by the callback of json::parse(): at the end of each object the library then looks through all that are beside
// it, minutes for 4 MiB.
class DepthGuard final : public json::json_sax_t {
 public:
  explicit DepthGuard(int depth_max) : left_(depth_max) {}
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool key(string_t&) override { return true; }
  bool start_object(size_t) override { return --left_ >= 0; }
  bool end_object() override { return ++left_, true; }
  bool start_array(size_t) override { return --left_ >= 0; }
  bool end_array() override { return ++left_, true; }
  bool parse_error(size_t, const std::string&, const json::exception&) override { return false; }

 private:
  int left_;
};

}  // namespace

bool is_json_within(std::string_view text, int depth_max) {
  DepthGuard guard(depth_max);
  return json::sax_parse(text, &guard);
}

}  // namespace godwit
