// A load client for requests that differ from call to call, and for streams.
//
//   load ADDRESS METHOD FRAMES --channels C --in-flight N --calls K [--stream WINDOW]
//
// FRAMES is a file of gRPC-framed requests (0x00, length as 4 bytes big-endian, bytes), used in turn.
// N calls are in flight in all, over C connections; with --stream each connection carries one stream
// with WINDOW items not answered yet (1 = ping-pong), and K is the number of items. One line of JSON
// tells answers a second, latencies and status codes. An item that its stream ended without
// answering has no latency and counts with the code of the stream.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kConnectWithinSeconds = 5;

struct Options {
  std::string address, method, frames;
  int channels = 1;
  int in_flight = 1;
  std::uint64_t calls = 1;
  std::size_t window = 0;  // of a stream; 0: unary calls
};

struct Outcome {
  std::vector<double> micros;
  std::map<int, std::uint64_t> codes;

  void note(Clock::time_point begun, int code) {
    ++codes[code];
    micros.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begun).count());
  }
};

// The requests of the file, one after the other and from the start again.
struct Requests {
  std::vector<grpc::ByteBuffer> all;
  std::size_t at = 0;

  const grpc::ByteBuffer& next() { return all[at++ % all.size()]; }
};

using Stubs = std::vector<std::unique_ptr<grpc::GenericStub>>;

Options options_of(int count, char** words) {
  if (count < 4) throw std::invalid_argument("usage: load ADDRESS METHOD FRAMES [options]");
  Options told{words[1], words[2], words[3]};
  for (int i = 4; i < count; ++i) {
    const std::string name = words[i];
    const std::string digits = ++i < count ? words[i] : "";
    const bool numeric = digits.find_first_not_of("0123456789") == std::string::npos;
    const auto number = numeric && !digits.empty() && digits.size() < 10 ? std::stoi(digits) : 0;
    if (number < 1) throw std::invalid_argument(name + " needs a number from 1 to 999999999");
    if (name == "--channels") told.channels = number;
    else if (name == "--in-flight") told.in_flight = number;
    else if (name == "--calls") told.calls = number;
    else if (name == "--stream") told.window = number;
    else throw std::invalid_argument("unknown option " + name);
  }
  return told;
}

Requests requests_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<grpc::ByteBuffer> requests;
  unsigned char head[5];
  while (file.read(reinterpret_cast<char*>(head), sizeof head)) {
    const std::uint32_t size =
        std::uint32_t{head[1]} << 24 | head[2] << 16 | head[3] << 8 | head[4];
    std::string bytes(size, '\0');
    if (!file.read(bytes.data(), size)) throw std::runtime_error(path + ": cut short");
    const grpc::Slice slice(bytes);
    requests.emplace_back(&slice, 1);
  }
  if (file.gcount() > 0) throw std::runtime_error(path + ": cut short");
  if (requests.empty()) throw std::runtime_error(path + ": no requests");
  return {std::move(requests)};
}

Stubs connected(const Options& told) {
  Stubs stubs;
  for (int i = 0; i < told.channels; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto channel = grpc::CreateCustomChannel(
        told.address, grpc::InsecureChannelCredentials(), arguments);
    const auto deadline =
        std::chrono::system_clock::now() + std::chrono::seconds(kConnectWithinSeconds);
    if (!channel->WaitForConnected(deadline)) {
      throw std::runtime_error("cannot connect to " + told.address);
    }
    stubs.push_back(std::make_unique<grpc::GenericStub>(channel));
  }
  return stubs;
}

struct Call {
  grpc::ClientContext context;
  grpc::ByteBuffer reply;
  grpc::Status status;
  std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
  Clock::time_point begun;
  grpc::GenericStub* stub = nullptr;
};

void run_calls(const Options& told, Requests& requests, const Stubs& stubs, Outcome& outcome) {
  grpc::CompletionQueue queue;
  std::uint64_t begun = 0;
  const auto begin = [&](grpc::GenericStub* stub) {
    auto call = std::make_unique<Call>();
    call->stub = stub;
    call->begun = Clock::now();
    ++begun;
    call->reader = stub->PrepareUnaryCall(&call->context, told.method, requests.next(), &queue);
    call->reader->StartCall();
    call->reader->Finish(&call->reply, &call->status, call.get());
    call.release();  // it is the tag, and taken back below
  };
  for (int i = 0; i < told.in_flight && begun < told.calls; ++i) {
    begin(stubs[i % stubs.size()].get());
  }
  void* tag = nullptr;
  bool ok = false;
  for (std::uint64_t done = 0; done < told.calls && queue.Next(&tag, &ok); ++done) {
    const std::unique_ptr<Call> call(static_cast<Call*>(tag));
    outcome.note(call->begun, call->status.error_code());
    if (begun < told.calls) begin(call->stub);
  }
}

// One stream that sends `items` requests, at most `window` of them not answered yet. A read is always
// under way and no operation waits for another, so a slow server only slows it down.
class Stream {
 public:
  struct Operation {
    Stream& of;
  };

  Stream(grpc::GenericStub& stub, const Options& told, std::uint64_t items, Requests& requests,
         grpc::CompletionQueue& queue)
      : unsent_(items), window_(told.window), requests_(requests) {
    call_ = stub.PrepareCall(&context_, told.method, &queue);
    call_->StartCall(&start_);
  }

  // Goes on where an operation has ended; true once the stream itself has.
  bool go_on(const Operation* ended, bool ok, Outcome& outcome) {
    if (ended == &finish_) {
      const std::uint64_t unanswered = unsent_ + sent_.size();
      if (unanswered > 0) outcome.codes[status_.error_code()] += unanswered;
      return true;
    }
    if (ended == &write_) writing_ = false;
    if (!ok) {
      closed_ = true;
      // A write that failed leaves it to the read, which fails as well, to end the stream.
      if (ended != &write_) call_->Finish(&status_, &finish_);
      return false;
    }
    if (ended == &read_) note_answer(outcome);
    if (ended != &write_) call_->Read(&reply_, &read_);
    write();
    return false;
  }

 private:
  void note_answer(Outcome& outcome) {
    if (sent_.empty()) throw std::runtime_error("an answer to nothing came");
    outcome.note(sent_.front(), grpc::StatusCode::OK);
    sent_.pop_front();
  }

  void write() {
    if (writing_ || closed_) return;
    if (unsent_ == 0) {
      closed_ = writing_ = true;
      call_->WritesDone(&write_);
    } else if (sent_.size() < window_) {
      --unsent_;
      writing_ = true;
      sent_.push_back(Clock::now());
      call_->Write(requests_.next(), &write_);
    }
  }

  grpc::ClientContext context_;
  grpc::Status status_;
  grpc::ByteBuffer reply_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
  std::uint64_t unsent_;
  const std::size_t window_;
  Requests& requests_;
  std::deque<Clock::time_point> sent_;  // those not answered, oldest first
  bool writing_ = false;
  bool closed_ = false;
  Operation start_{*this}, write_{*this}, read_{*this}, finish_{*this};  // their addresses are tags
};

void run_streams(const Options& told, Requests& requests, const Stubs& stubs, Outcome& outcome) {
  grpc::CompletionQueue queue;
  std::vector<std::unique_ptr<Stream>> streams;
  for (std::size_t i = 0; i < stubs.size(); ++i) {
    const auto items = told.calls / stubs.size() + (i < told.calls % stubs.size() ? 1 : 0);
    streams.push_back(std::make_unique<Stream>(*stubs[i], told, items, requests, queue));
  }
  void* tag = nullptr;
  bool ok = false;
  for (std::size_t ended = 0; ended < streams.size() && queue.Next(&tag, &ok);) {
    const auto* operation = static_cast<Stream::Operation*>(tag);
    if (operation->of.go_on(operation, ok, outcome)) ++ended;
  }
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) continue;  // writes that a stream's end has overtaken
}

void tell(Outcome& outcome, double seconds) {
  auto& micros = outcome.micros;
  if (micros.empty()) {
    const int code = outcome.codes.empty() ? 0 : outcome.codes.begin()->first;
    throw std::runtime_error("no answer came; status code " + std::to_string(code));
  }
  std::sort(micros.begin(), micros.end());
  std::cout << "{\"calls\": " << micros.size() << ", \"per_second\": " << micros.size() / seconds
            << ", \"p50_us\": " << micros[micros.size() / 2]
            << ", \"p99_us\": " << micros[micros.size() * 99 / 100] << ", \"codes\": {";
  const char* separator = "";
  for (const auto& [code, count] : outcome.codes) {
    std::cout << separator << '"' << code << "\": " << count;
    separator = ", ";
  }
  std::cout << "}}" << std::endl;
}

}  // namespace

int main(int count, char** words) {
  try {
    const Options told = options_of(count, words);
    auto requests = requests_of(told.frames);
    const auto stubs = connected(told);
    Outcome outcome;
    const auto begun = Clock::now();
    (told.window ? run_streams : run_calls)(told, requests, stubs, outcome);
    tell(outcome, std::chrono::duration<double>(Clock::now() - begun).count());
  } catch (const std::exception& error) {
    std::cerr << "load: " << error.what() << std::endl;
    return 1;
  }
  return 0;
}
