// A sidecar as one would write it by hand in Go: the same API, exact decimals, a JSON line a decision.
//
// It answers PutLiquidation and CheckClaim on stored liquidations, without claims, without a
// snapshot or an account of the liquidator in the request, and without the trace of `explain`.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	pb "liquidation/v1"

	"github.com/golang/protobuf/proto"
	"github.com/golang/protobuf/ptypes"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

const version = "default"

type sidecar struct {
	pb.UnimplementedLiquidationRulesServiceServer
	pb.UnimplementedLiquidationServiceServer
	lock     sync.RWMutex
	stored   map[int64]*liquidation
	accounts map[string]bool
	log      *logger
	process  string
	seq      int64
}

func (s *sidecar) PutLiquidation(_ context.Context, request *pb.PutLiquidationRequest) (*pb.PutLiquidationResponse, error) {
	made := newLiquidation(request.GetLiquidation())
	if made == nil {
		return nil, status.Error(codes.InvalidArgument, "no snapshot of a liquidation")
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	id := made.message.GetLiquidationId()
	if old := s.stored[id]; old != nil && old.message.GetRevision() >= made.message.GetRevision() {
		return &pb.PutLiquidationResponse{Liquidation: old.message}, nil
	}
	s.stored[id] = made
	s.accounts[made.message.GetAccountId()] = true
	return &pb.PutLiquidationResponse{Liquidation: made.message, Applied: true}, nil
}

func (s *sidecar) CheckClaim(ctx context.Context, request *pb.CheckClaimRequest) (*pb.CheckClaimResponse, error) {
	begun := time.Now()
	if request.GetLiquidation() != nil || request.GetLiquidator() != nil || request.GetExplain() || len(request.GetTerms().GetLimitPrice()) > 0 {
		return nil, status.Error(codes.Unimplemented, "only terms on a stored liquidation")
	}
	asked := request.GetTerms()
	s.lock.RLock()
	stored := s.stored[asked.GetLiquidationId()]
	isLiquidated := s.accounts[asked.GetLiquidatorId()]
	s.lock.RUnlock()
	read, chosen, ratios, refused := decide(asked, stored, func(string) bool { return isLiquidated })
	seq := atomic.AddInt64(&s.seq, 1)
	decision := &pb.Decision{DecisionId: s.process + "-" + strconv.FormatInt(seq, 10), Accepted: refused == nil, RulesVersion: version}
	if stored != nil {
		decision.TotalNotional, decision.LeastReqRatio = claimedNumbers(stored, read, chosen)
		decision.MarginRatio, decision.MaintenanceMarginRatio = stored.ratioText, stored.mmrText
		decision.LiquidationRevision = stored.message.GetRevision()
	}
	if refused != nil {
		decision.Rule = refused.rule
	}
	s.log.add(s.line(ctx, begun, seq, asked, read, stored, decision, refused, isLiquidated))
	if refused != nil {
		return nil, statusOf(refused, decision, stored)
	}
	return &pb.CheckClaimResponse{Decision: decision, Positions: positionsOf(read, chosen, ratios)}, nil
}

// claimedNumbers are the liquidation's on tier LOW, else those of the claimed positions.
func claimedNumbers(stored *liquidation, read *terms, chosen []position) (string, string) {
	if read == nil || read.symbols == nil {
		return stored.totalText, stored.leastText
	}
	total, least := zero, zero
	for _, each := range chosen {
		total = total.add(each.notional)
		if each.least.cmp(least) > 0 {
			least = each.least
		}
	}
	return total.String(), least.String()
}

func positionsOf(read *terms, chosen []position, ratios []decimal) []*pb.ClaimedPosition {
	made := make([]*pb.ClaimedPosition, len(chosen))
	for at, each := range chosen {
		qty := each.qty.mul(ratios[at])
		made[at] = &pb.ClaimedPosition{Symbol: each.symbol, Qty: qty.String(), MaxQty: each.qty.mul(ratios[at].add(read.extra)).String(),
			Notional: qty.mul(each.price).abs().String()}
	}
	return made
}

func (s *sidecar) line(ctx context.Context, begun time.Time, seq int64, asked *pb.ClaimTerms, read *terms, stored *liquidation,
	decision *pb.Decision, refused *refusal, isLiquidated bool) *line {
	told := &line{
		Timestamp: begun.UTC().Format("2006-01-02T15:04:05.000000Z"), Level: "info", Event: "decision", DecisionID: decision.DecisionId,
		RPC: "CheckClaim", ID: asked.GetLiquidationId(), Liquidator: asked.GetLiquidatorId(), Ratio: asked.GetRatioQtyRequest(),
		Extra: asked.GetExtraLiquidationRatio(), Outcome: "accepted", Total: decision.TotalNotional, Least: decision.LeastReqRatio,
		Margin: decision.MarginRatio, Mmr: decision.MaintenanceMarginRatio, Revision: decision.LiquidationRevision, Rules: version,
		Process: s.process, Seq: seq,
	}
	if read != nil {
		told.Extra = read.extra.String()
		if read.symbols == nil {
			told.Ratio = read.ratio.String()
		}
	}
	if stored != nil {
		told.Account = stored.message.GetAccountId()
		told.Request.State.Liquidation = stored.record
	}
	if refused != nil {
		told.Outcome, told.Code, told.Name, told.Message, told.Rule = "refused", refused.code, refused.name, refused.message, refused.rule
	}
	if from, known := peer.FromContext(ctx); known {
		told.Peer = "ipv4:" + from.Addr.String()
	}
	told.Request.Terms = termsRecord{told.ID, told.Liquidator, told.Ratio, told.Extra}
	told.Request.State.InLiquidation = isLiquidated
	told.Micros = time.Since(begun).Microseconds()
	return told
}

// statusOf is the refusal with its details.
func statusOf(refused *refusal, decision *pb.Decision, stored *liquidation) error {
	numbers := map[string]string{"code": strconv.Itoa(int(refused.code)), "http_status": "400", "rule": refused.rule}
	if of := refused.failed; of != nil {
		numbers["total_notional"], numbers["least_req_ratio"] = of.notional.String(), of.least.String()
		numbers["min_claim_notional"] = thresholds[stored.message.GetTier()].String()
		if of.symbol != "" {
			numbers["symbol"] = of.symbol
		}
	}
	code, extra := codes.FailedPrecondition, proto.Message(nil)
	switch {
	case stored == nil && refused.code == -1202:
		code, extra = codes.NotFound, &errdetails.ResourceInfo{ResourceType: "liquidation", Description: refused.message}
	case refused.code == -1005:
		code = codes.InvalidArgument
		extra = &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: refused.field, Description: refused.message}}}
	case refused.code == -1012:
		code, extra = codes.Aborted, &errdetails.RetryInfo{RetryDelay: ptypes.DurationProto(time.Second)}
	default:
		subject := "liquidations/" + strconv.FormatInt(stored.message.GetLiquidationId(), 10)
		extra = &errdetails.PreconditionFailure{Violations: []*errdetails.PreconditionFailure_Violation{{Type: refused.name, Subject: subject, Description: refused.message}}}
	}
	made, err := status.New(code, refused.message).WithDetails(
		&errdetails.ErrorInfo{Reason: refused.name, Domain: "liquidation.v1", Metadata: numbers},
		&pb.LiquidationError{Code: refused.code, Name: refused.name, Message: refused.message, HttpStatus: 400, Decision: decision},
		extra)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return made.Err()
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "HOST:PORT")
	path := flag.String("log-file", "decisions.log", "where decisions go")
	flag.Parse()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	process := make([]byte, 8)
	if _, err = rand.Read(process); err != nil {
		log.Fatal(err)
	}
	serving := &sidecar{stored: map[int64]*liquidation{}, accounts: map[string]bool{}, log: newLogger(*path), process: hex.EncodeToString(process)}
	server := grpc.NewServer()
	pb.RegisterLiquidationRulesServiceServer(server, serving)
	pb.RegisterLiquidationServiceServer(server, serving)
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-ended
		server.GracefulStop()
	}()
	told, _ := json.Marshal(map[string]interface{}{"event": "serving", "addresses": []string{listener.Addr().String()}})
	fmt.Println(string(told))
	if err = server.Serve(listener); err != nil {
		log.Fatal(err)
	}
	serving.log.close()
}
