package main

import (
	"bufio"
	"encoding/json"
	"log"
	"os"

	pb "liquidation/v1"
)

// A line of the decision log.
type line struct {
	Timestamp  string  `json:"timestamp"`
	Level      string  `json:"level"`
	Event      string  `json:"event"`
	DecisionID string  `json:"decision_id"`
	RPC        string  `json:"rpc"`
	ID         int64   `json:"liquidation_id"`
	Account    string  `json:"account_id"`
	Liquidator string  `json:"liquidator_id"`
	Ratio      string  `json:"ratio_qty_request"`
	Extra      string  `json:"extra_liquidation_ratio"`
	Micros     int64   `json:"latency_us"`
	Peer       string  `json:"peer"`
	Trace      string  `json:"trace_id"`
	Outcome    string  `json:"outcome"`
	Code       int32   `json:"code"`
	Name       string  `json:"name"`
	Message    string  `json:"message"`
	Rule       string  `json:"rule"`
	Total      string  `json:"total_notional"`
	Least      string  `json:"least_req_ratio"`
	Margin     string  `json:"margin_ratio"`
	Mmr        string  `json:"maintenance_margin_ratio"`
	Revision   int64   `json:"revision"`
	Rules      string  `json:"rules_version"`
	Process    string  `json:"process"`
	Seq        int64   `json:"seq"`
	Request    request `json:"request"`
}

// What is needed to decide it again.
type request struct {
	Terms termsRecord `json:"terms"`
	State stateRecord `json:"state"`
}

type termsRecord struct {
	ID         int64  `json:"liquidation_id,string"`
	Liquidator string `json:"liquidator_id"`
	Ratio      string `json:"ratio_qty_request"`
	Extra      string `json:"extra_liquidation_ratio"`
}

type stateRecord struct {
	Closed        bool            `json:"closed"`
	InLiquidation bool            `json:"liquidator_in_liquidation"`
	Liquidation   json.RawMessage `json:"liquidation,omitempty"`
}

type positionRecord struct {
	Symbol string `json:"symbol"`
	Qty    string `json:"position_qty"`
	Price  string `json:"mark_price"`
}

type liquidationRecord struct {
	ID        int64            `json:"liquidation_id,string"`
	Account   string           `json:"account_id"`
	Tier      string           `json:"tier"`
	Positions []positionRecord `json:"positions"`
	Revision  int64            `json:"revision,string"`
	Margin    string           `json:"margin_ratio"`
	Mmr       string           `json:"maintenance_margin_ratio"`
}

func recordOf(message *pb.Liquidation) liquidationRecord {
	made := liquidationRecord{message.GetLiquidationId(), message.GetAccountId(), message.GetTier().String(), nil,
		message.GetRevision(), message.GetMarginRatio(), message.GetMaintenanceMarginRatio()}
	for _, each := range message.GetPositions() {
		made.Positions = append(made.Positions, positionRecord{each.GetSymbol(), each.GetPositionQty(), each.GetMarkPrice()})
	}
	return made
}

// logger writes lines in a goroutine of its own, and to the file whenever no other line waits.
type logger struct {
	lines chan []byte
	ended chan struct{}
}

func newLogger(path string) *logger {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		log.Fatal(err)
	}
	made := &logger{make(chan []byte, 4096), make(chan struct{})}
	go made.write(bufio.NewWriterSize(file, 1<<16))
	return made
}

func (l *logger) write(out *bufio.Writer) {
	for each := range l.lines {
		out.Write(each)
		out.WriteByte('\n')
		if len(l.lines) == 0 {
			out.Flush()
		}
	}
	out.Flush()
	close(l.ended)
}

func (l *logger) add(told *line) {
	text, err := json.Marshal(told)
	if err != nil {
		log.Fatal(err)
	}
	l.lines <- text
}

func (l *logger) close() {
	close(l.lines)
	<-l.ended
}
