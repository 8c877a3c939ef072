// Asks what comes on standard input, one question a line, and prints each answer as a line of JSON.
//
//   ask TARGET [CA CERT KEY] < questions
//
// A question is {"method": "package.Service/Method", "key": "...", "requests": [...]}, its answer
// {"status": {...}, "answers": [...]}, both of the form that protobuf's own JSON has.
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>

namespace {

namespace pb = google::protobuf;

std::string contents(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::shared_ptr<grpc::ChannelCredentials> credentials(int count, char** files) {
  if (count < 3) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = contents(files[0]);
  options.pem_cert_chain = contents(files[1]);
  options.pem_private_key = contents(files[2]);
  return grpc::SslCredentials(options);
}

std::string json(const pb::Message& message) {
  std::string text;
  pb::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  const auto done = pb::util::MessageToJsonString(message, &text, options);
  if (!done.ok()) throw std::runtime_error(done.ToString());
  return text;
}

std::unique_ptr<pb::Message> message_of(const pb::Descriptor* type) {
  auto* factory = pb::MessageFactory::generated_factory();
  return std::unique_ptr<pb::Message>(factory->GetPrototype(type)->New());
}

void read_json(const std::string& text, pb::Message* message) {
  const auto done = pb::util::JsonStringToMessage(text, message);
  if (!done.ok()) throw std::runtime_error(done.ToString());
}

grpc::ByteBuffer bytes(const pb::Message& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

bool parse(const grpc::ByteBuffer& buffer, pb::Message* message) {
  grpc::Slice slice;
  return buffer.DumpToSingleSlice(&slice).ok() &&
         message->ParseFromArray(slice.begin(), static_cast<int>(slice.size()));
}

// The status of the trailer, with what gRPC itself says beside it: what differs must be seen.
std::string status_of(const grpc::Status& ended) {
  google::rpc::Status told;
  if (!told.ParseFromString(ended.error_details())) throw std::runtime_error("no google.rpc.Status");
  google::rpc::Status said;
  said.set_code(ended.error_code());
  said.set_message(ended.error_message());
  *said.mutable_details() = told.details();
  auto text = json(said);
  if (!ended.error_details().empty()) {
    google::protobuf::Value words;
    words.set_string_value(told.message());
    text.pop_back();
    text += ",\"told_code\":" + std::to_string(told.code()) + ",\"told_message\":" + json(words) + "}";
  }
  return text;
}

std::string answer_to(grpc::GenericStub& stub, const pb::Struct& question) {
  const auto& fields = question.fields();
  const auto& path = fields.at("method").string_value();
  const auto* method = pb::DescriptorPool::generated_pool()->FindMethodByName(
      std::string(path).replace(path.find('/'), 1, "."));
  if (method == nullptr) throw std::runtime_error("no such method: " + path);

  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  const auto key = fields.find("key");
  if (key != fields.end() && !key->second.string_value().empty()) {
    context.AddMetadata("authorization", "Bearer " + key->second.string_value());
  }
  grpc::CompletionQueue queue;
  const auto next = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };

  // A unary call is a stream of one each way: on the wire there is no difference.
  const auto call = stub.PrepareCall(&context, "/" + path, &queue);
  call->StartCall(nullptr);
  next();
  for (const auto& each : fields.at("requests").list_value().values()) {
    const auto request = message_of(method->input_type());
    read_json(json(each), request.get());
    call->Write(bytes(*request), nullptr);
    if (!next()) break;  // the call has ended; its status tells why
  }
  call->WritesDone(nullptr);
  next();

  std::string answers;
  grpc::ByteBuffer received;
  for (call->Read(&received, nullptr); next(); call->Read(&received, nullptr)) {
    const auto answer = message_of(method->output_type());
    if (!parse(received, answer.get())) throw std::runtime_error("an answer that is no message");
    answers += (answers.empty() ? "" : ",") + json(*answer);
  }
  grpc::Status ended;
  call->Finish(&ended, nullptr);
  next();
  // What comes before an error is no answer to a unary call.
  if (!ended.ok() && !method->server_streaming()) answers.clear();
  return "{\"status\":" + status_of(ended) + ",\"answers\":[" + answers + "]}";
}

}  // namespace

int main(int count, char** words) try {
  if (count < 2) throw std::invalid_argument("usage: ask TARGET [CA CERT KEY]");
  grpc::GenericStub stub(grpc::CreateChannel(words[1], credentials(count - 2, words + 2)));
  for (std::string line; std::getline(std::cin, line);) {
    pb::Struct question;
    read_json(line, &question);
    std::cout << answer_to(stub, question) << std::endl;
  }
} catch (const std::exception& fault) {
  std::cerr << fault.what() << '\n';
  return 1;
}
