package main

import (
	"encoding/json"
	"strconv"

	pb "liquidation/v1"
)

// A position as stored, with what depends on it alone.
type position struct {
	symbol          string
	qty, price      decimal
	notional, least decimal
}

// A liquidation as stored; what depends on it alone is computed when it is put.
type liquidation struct {
	message      *pb.Liquidation
	positions    []position
	ratio, mmr   decimal
	total, least decimal
	totalText    string
	leastText    string
	ratioText    string
	mmrText      string
	record       json.RawMessage
}

var thresholds = map[pb.Tier]decimal{pb.Tier_TIER_LOW: whole(10000), pb.Tier_TIER_HIGH: whole(5000)}

func whole(number int64) decimal {
	made, _ := parseDecimal(strconv.FormatInt(number, 10))
	return made
}

// newLiquidation reads what was put; nil when it is no snapshot of a liquidation.
func newLiquidation(message *pb.Liquidation) *liquidation {
	threshold, known := thresholds[message.GetTier()]
	ratio, err := parseDecimal(message.GetMarginRatio())
	mmr, errMmr := parseDecimal(message.GetMaintenanceMarginRatio())
	if !known || err != nil || errMmr != nil || message.GetLiquidationId() < 1 ||
		message.GetRevision() < 1 || len(message.GetPositions()) == 0 {
		return nil
	}
	made := &liquidation{message: message, ratio: ratio, mmr: mmr, total: zero}
	for _, each := range message.GetPositions() {
		qty, errQty := parseDecimal(each.GetPositionQty())
		price, errPrice := parseDecimal(each.GetMarkPrice())
		if errQty != nil || errPrice != nil || qty.cmp(zero) == 0 || price.cmp(zero) <= 0 {
			return nil
		}
		notional := qty.mul(price).abs()
		made.positions = append(made.positions, position{each.GetSymbol(), qty, price, notional, leastRatio(threshold, notional)})
		made.total = made.total.add(notional)
	}
	made.least = leastRatio(threshold, made.total)
	made.totalText, made.leastText = made.total.String(), made.least.String()
	made.ratioText, made.mmrText = ratio.String(), mmr.String()
	made.record, _ = json.Marshal(recordOf(message))
	return made
}

// A refusal: the row of the table of errors, and the rule that it comes from.
type refusal struct {
	code                int32
	name, message, rule string
	field               string
	failed              *requested
}

// What is claimed of the liquidation, or of one of its positions.
type requested struct {
	symbol          string
	ratio           decimal
	notional, least decimal
}

func invalid(rule, field, message string) *refusal {
	return &refusal{code: -1005, name: "INVALID_PARAM", message: message, rule: rule, field: field}
}

func misshapen(rule, field string) *refusal {
	return invalid(rule, field, "Some parameters are in wrong format for api.")
}

func outOfStatus(rule, message string) *refusal {
	return &refusal{code: -1202, name: "LIQUIDATION_STATUS_ERROR", message: message, rule: rule}
}

// A request as read: the ratio for all, or one for each symbol in request order.
type terms struct {
	ratio, extra decimal
	symbols      []decimal
}

// read gives the ratios of the request, or why they are none.
func read(message *pb.ClaimTerms) (*terms, *refusal) {
	made, named := &terms{extra: zero}, len(message.GetSymbols()) > 0
	if message.GetLiquidationId() < 1 || message.GetLiquidatorId() == "" || len(message.GetLiquidatorId()) > 128 {
		return nil, misshapen("well_formed", "terms.liquidator_id")
	}
	if named == (message.GetRatioQtyRequest() != "") {
		return nil, misshapen("well_formed", "terms.ratio_qty_request")
	}
	var err error
	if !named {
		if made.ratio, err = parseDecimal(message.GetRatioQtyRequest()); err != nil {
			return nil, misshapen("well_formed", "terms.ratio_qty_request")
		}
	}
	if message.GetExtraLiquidationRatio() != "" {
		if made.extra, err = parseDecimal(message.GetExtraLiquidationRatio()); err != nil {
			return nil, misshapen("well_formed", "terms.extra_liquidation_ratio")
		}
	}
	for _, each := range message.GetSymbols() {
		ratio, err := parseDecimal(each.GetRatioQtyRequest())
		if err != nil {
			return nil, misshapen("well_formed", "terms.symbols")
		}
		made.symbols = append(made.symbols, ratio)
	}
	return made, nil
}

func inRange(ratio decimal) bool { return ratio.cmp(zero) >= 0 && ratio.cmp(one) <= 0 }

// inBounds are rules 3 to 5.
func (t *terms) inBounds() *refusal {
	ratios := t.symbols
	if ratios == nil {
		ratios = []decimal{t.ratio}
	}
	for _, ratio := range ratios {
		if !inRange(ratio) {
			return invalid("ratio_qty_request_range", "terms.ratio_qty_request", "ratio_qty_request should be in range 0-1.")
		}
	}
	if !inRange(t.extra) {
		return invalid("extra_liquidation_ratio_range", "terms.extra_liquidation_ratio", "extra_liquidation_ratio should be in range 0-1.")
	}
	for _, ratio := range ratios {
		if t.extra.cmp(zero) > 0 && ratio.cmp(one) != 0 {
			return invalid("extra_needs_full_ratio", "terms.ratio_qty_request", "if you set extra_liquidation_ratio > 0, ratio_qty_request must be 1.")
		}
	}
	return nil
}

// claimed are the positions that the request names, each with its ratio; nil when one is unknown.
func (l *liquidation) claimed(t *terms, message *pb.ClaimTerms) (chosen []position, ratios []decimal) {
	if t.symbols == nil {
		for range l.positions {
			ratios = append(ratios, t.ratio)
		}
		return l.positions, ratios
	}
	for at, named := range message.GetSymbols() {
		for _, each := range l.positions {
			if each.symbol == named.GetSymbol() {
				chosen, ratios = append(chosen, each), append(ratios, t.symbols[at])
			}
		}
	}
	if len(chosen) != len(t.symbols) {
		return nil, nil
	}
	return chosen, ratios
}

// enough is rule 11 for one notional.
func enough(of requested, threshold decimal) *refusal {
	short := of.ratio.cmp(one) != 0 && of.ratio.mul(of.notional).cmp(threshold) < 0
	if !short {
		return nil
	}
	message := "least req ratio should = " + of.least.String()
	if of.notional.cmp(threshold) < 0 {
		message = "total notional < " + threshold.String() + ", least req ratio should = 1"
	}
	return &refusal{code: -1201, name: "LIQUIDATION_REQUEST_RATIO_TOO_SMALL", message: message, rule: "least_request_ratio", failed: &of}
}

// decide runs the rules in their order; the first that refuses decides.
func decide(message *pb.ClaimTerms, stored *liquidation, isLiquidated func(string) bool) (*terms, []position, []decimal, *refusal) {
	t, refused := read(message)
	if refused == nil {
		refused = t.inBounds()
	}
	if refused != nil {
		return nil, nil, nil, refused
	}
	if stored == nil {
		return t, nil, nil, outOfStatus("liquidation_known", "Can not find given liquidationId.")
	}
	tier := stored.message.GetTier()
	chosen, ratios := stored.claimed(t, message)
	if chosen == nil || (tier == pb.Tier_TIER_LOW) == (t.symbols != nil) {
		return t, nil, nil, misshapen("tier_shape", "terms.symbols")
	}
	if liquidator := message.GetLiquidatorId(); liquidator == stored.message.GetAccountId() || isLiquidated(liquidator) {
		return t, nil, nil, &refusal{code: -1012, name: "RPC_REJECT", rule: "liquidator_not_in_liquidation",
			message: "The place/cancel order request is rejected by internal module, it may because the account is in liquidation or other internal errors. Please try again in a few seconds."}
	}
	if stored.ratio.cmp(stored.mmr) >= 0 {
		return t, nil, nil, outOfStatus("margin_below_maintenance", "No need to liquidation because user margin is enough.")
	}
	if tier == pb.Tier_TIER_LOW {
		return t, chosen, ratios, enough(requested{"", t.ratio, stored.total, stored.least}, thresholds[tier])
	}
	for at, each := range chosen {
		if refused = enough(requested{each.symbol, ratios[at], each.notional, each.least}, thresholds[tier]); refused != nil {
			break
		}
	}
	return t, chosen, ratios, refused
}
