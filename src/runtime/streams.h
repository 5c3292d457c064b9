// The container's standard streams: what they are on the source, and what takes their place on the target.
//
//   /dev/null, files of the container   CRIU carries them
//   a file on the host                  CRIU is told it is external; on the target the same path is opened
//   a pipe to a supervisor here         on the target a pipe to a stream keeper, which writes a log file
//   a terminal (console socket)         CRIU makes a new one on the target; a stream keeper holds its master
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/scoped_fd.h"
#include "criu_rpc.pb.h"
#include "peer.pb.h"

namespace godwit {

// Looks at descriptors 0 to 2 of process PID, Nothing is changed. TERMINAL: config.json asks
// for one.
Result<std::vector<peer::Stream>> find_streams(pid_t pid, bool terminal);

// Tells CRIU's dump which files are external.
void declare_streams(const std::vector<peer::Stream>& streams, criu::Options& options);

class TerminalReceiver;

// Target side: opens the files, makes the pipes and starts their keepers. Streams come from a peer. Keepers are
// processes of their own that end when the other side of their pipe or terminal is closed: when the container ends,
// or with this object if the restore fails.
class StreamReplacements {
 public:
  StreamReplacements();
  StreamReplacements(StreamReplacements&&) noexcept;
  StreamReplacements& operator=(StreamReplacements&&) = delete;
  ~StreamReplacements();
  struct Settings {
    std::filesystem::path log_directory;
    std::filesystem::path keeper;  // the stream_keeper program
    std::string container;
  };
  static Result<StreamReplacements> open(const std::vector<peer::Stream>& streams, const Settings& settings);

  // Number in criu → descriptor here (borrowed), for CriuBridge::Settings.
  std::vector<std::pair<int, int>> descriptors() const;
  // Tells CRIU's restore which of those stands for what.
  void declare(criu::Options& options) const;
  // For the user: where the container's output goes on.
  const std::vector<std::string>& notes() const { return notes_; }
  // Listens at SOCKET for the master of the terminal that CRIU makes, as runC's --console-socket wants it, and hands it
  // to a keeper.
  Result<> listen_for_terminal(const std::filesystem::path& socket);
  // Sets the positions of files that are read, as of the freeze.
  Result<> set_positions(const std::vector<peer::Stream>& streams);

 private:
  Result<> replace(const peer::Stream& stream);
  Result<> replace_file(const peer::Stream& stream);
  Result<> replace_pipe(const peer::Stream& stream);
  Result<> start_keeper(int input, const std::string& label);
  bool has(const std::string& key) const;

  struct Replacement {
    std::string key;
    ScopedFd fd;
    bool is_file;
  };
  Settings settings_;
  std::vector<Replacement> replacements_;
  std::unique_ptr<TerminalReceiver> terminal_;
  std::vector<std::string> notes_;
};

}  // namespace godwit
