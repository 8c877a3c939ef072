// An empty gRPC server on the callback API: any method, bytes in, an empty message out.
//
//   server ADDRESS      (HOST:PORT or unix:PATH); ends on SIGTERM
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <csignal>
#include <iostream>
#include <memory>
#include <string>

namespace {

class Call : public grpc::ServerGenericBidiReactor {
 public:
  Call() { StartRead(&request_); }
  void OnReadDone(bool ok) override {
    if (ok) StartWriteAndFinish(&reply_, {}, grpc::Status::OK);
    else Finish(grpc::Status::OK);
  }
  void OnDone() override { delete this; }

 private:
  grpc::ByteBuffer request_;
  grpc::Slice empty_{std::string()};
  grpc::ByteBuffer reply_{&empty_, 1};
};

class Empty : public grpc::CallbackGenericService {
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    return new Call;
  }
};

}  // namespace

int main(int count, char** words) {
  if (count != 2) {
    std::cerr << "usage: server ADDRESS" << std::endl;
    return 2;
  }
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  // Before any thread begins: all of them leave the signal to this one.
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  std::string address = words[1];
  int port = 0;
  Empty service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(&service);
  const auto server = builder.BuildAndStart();
  if (!server) {
    std::cerr << "server: cannot listen on " << address << std::endl;
    return 1;
  }
  if (address.rfind("unix:", 0) != 0) {
    address = address.substr(0, address.rfind(':') + 1) + std::to_string(port);
  }
  std::cout << R"({"event": "serving", "addresses": [")" << address << R"("]})" << std::endl;
  int signal = 0;
  sigwait(&ends, &signal);
  server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
  return 0;
}
