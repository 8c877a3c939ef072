// Asks for a claim from Go, and shows the details of a refusal.
//
// Not run by the tests of this repository, which need no Go toolchain. To run it, in a module of
// your own:
//
//	protoc -I proto --go_out=. --go-grpc_out=. \
//	  --go_opt=module=example.com/claims --go-grpc_opt=module=example.com/claims \
//	  $(for name in liquidation errors rules_service; do
//	      echo --go_opt=Mliquidation/v1/$name.proto=example.com/claims/liquidationv1
//	      echo --go-grpc_opt=Mliquidation/v1/$name.proto=example.com/claims/liquidationv1
//	    done) \
//	  liquidation/v1/liquidation.proto liquidation/v1/errors.proto \
//	  liquidation/v1/rules_service.proto
//	go run . 127.0.0.1:50051
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "example.com/claims/liquidationv1"
)

func main() {
	connection, err := grpc.NewClient(os.Args[1],
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()

	answer, err := pb.NewLiquidationRulesServiceClient(connection).CheckClaim(ctx,
		&pb.CheckClaimRequest{
			Terms: &pb.ClaimTerms{
				LiquidationId:   101,
				LiquidatorId:    "liquidator-1",
				RatioQtyRequest: "0.3333",
			},
			Liquidation: &pb.Liquidation{
				LiquidationId: 101,
				AccountId:     "account-1",
				Tier:          pb.Tier_TIER_LOW,
				Revision:      7,
				Positions: []*pb.Position{
					{Symbol: "PERP_BTC_USDC", PositionQty: "0.5", MarkPrice: "40000"},
					{Symbol: "PERP_ETH_USDC", PositionQty: "-4", MarkPrice: "2500"},
				},
				MarginRatio:            "0.008",
				MaintenanceMarginRatio: "0.012",
			},
		})
	if err == nil {
		fmt.Println("accepted:", answer.GetDecision().GetTotalNotional(), "USDC")
		return
	}
	refusal := status.Convert(err)
	fmt.Println("refused:", refusal.Code(), refusal.Message())
	for _, detail := range refusal.Details() {
		switch detail := detail.(type) {
		case *pb.LiquidationError:
			fmt.Println(detail.GetCode(), detail.GetName(), detail.GetDecision().GetLeastReqRatio())
		case *errdetails.ErrorInfo:
			fmt.Println(detail.GetReason(), detail.GetMetadata())
		}
	}
}
