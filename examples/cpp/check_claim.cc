// Asks for a claim from C++, then asks again with the least ratio that passes.
//
//     cd examples/cpp && make check_claim
//     ./check_claim [ADDRESS]
//
// ADDRESS is that of a running server, by default 127.0.0.1:50051. The snapshot travels in the
// request, so nothing has to be stored before. Needs gRPC's C++ library and protoc; see Makefile.
#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <iostream>
#include <optional>
#include <string>

#include "liquidation/v1/errors.pb.h"
#include "liquidation/v1/rules_service.grpc.pb.h"

namespace v1 = liquidation::v1;

namespace {

v1::CheckClaimRequest request_of(const std::string& ratio) {
  v1::CheckClaimRequest request;
  auto* terms = request.mutable_terms();
  terms->set_liquidation_id(101);
  terms->set_liquidator_id("liquidator-1");
  terms->set_ratio_qty_request(ratio);

  auto* liquidation = request.mutable_liquidation();
  liquidation->set_liquidation_id(101);
  liquidation->set_account_id("account-1");
  liquidation->set_tier(v1::TIER_LOW);
  liquidation->set_revision(7);
  const auto add = [&](const char* symbol, const char* position_qty, const char* mark_price) {
    auto* position = liquidation->add_positions();
    position->set_symbol(symbol);
    position->set_position_qty(position_qty);
    position->set_mark_price(mark_price);
  };
  add("PERP_BTC_USDC", "0.5", "40000");
  add("PERP_ETH_USDC", "-4", "2500");
  liquidation->set_margin_ratio("0.008");
  liquidation->set_maintenance_margin_ratio("0.012");
  return request;
}

// A detail of a refusal, by its type: the status travels in a trailer, as google.rpc.Status.
// Empty if the refusal has none of it, or the error is not the service's own.
template <typename Detail>
std::optional<Detail> detail_of(const grpc::Status& status) {
  google::rpc::Status told;
  if (!told.ParseFromString(status.error_details())) return std::nullopt;
  for (const auto& packed : told.details()) {
    Detail detail;
    if (packed.UnpackTo(&detail)) return detail;
  }
  return std::nullopt;
}

}  // namespace

int main(int count, char** words) {
  const std::string address = count > 1 ? words[1] : "127.0.0.1:50051";
  const auto stub = v1::LiquidationRulesService::NewStub(
      grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  v1::CheckClaimResponse answer;
  const auto check = [&](const std::string& ratio) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(1));
    return stub->CheckClaim(&context, request_of(ratio), &answer);
  };

  std::string ratio = "0.3333";
  auto status = check(ratio);
  if (const auto refusal = detail_of<v1::LiquidationError>(status)) {
    std::cout << "refused: " << refusal->code() << " " << refusal->name() << ": "
              << refusal->message() << "\n";
    ratio = refusal->decision().least_req_ratio();
    status = check(ratio);
  }
  if (!status.ok()) {
    std::cerr << status.error_code() << " " << status.error_message() << "\n";
    return 1;
  }
  std::cout << "accepted: " << ratio << " of " << answer.decision().total_notional() << " USDC\n";
  for (const auto& position : answer.positions()) {
    std::cout << "  " << position.symbol() << " " << position.qty() << " worth "
              << position.notional() << " USDC\n";
  }
}
