package main

import (
	"errors"
	"math/big"
	"regexp"
	"strings"
)

// decimal is unscaled / 10^scale, exactly.
type decimal struct {
	unscaled *big.Int
	scale    int
}

var (
	errNotDecimal = errors.New("not a decimal number")
	decimalForm   = regexp.MustCompile(`^-?[0-9]{1,40}(\.[0-9]{1,40})?$`)
	zero          = decimal{big.NewInt(0), 0}
	one           = decimal{big.NewInt(1), 0}
	ten           = big.NewInt(10)
)

func parseDecimal(text string) (decimal, error) {
	if !decimalForm.MatchString(text) {
		return zero, errNotDecimal
	}
	scale := 0
	if point := strings.IndexByte(text, '.'); point >= 0 {
		scale = len(text) - point - 1
		text = text[:point] + text[point+1:]
	}
	unscaled, _ := new(big.Int).SetString(text, 10)
	return decimal{unscaled, scale}, nil
}

func powerOfTen(exponent int) *big.Int {
	return new(big.Int).Exp(ten, big.NewInt(int64(exponent)), nil)
}

// at gives the unscaled number for a scale that is not below the decimal's own.
func (d decimal) at(scale int) *big.Int {
	if scale == d.scale {
		return d.unscaled
	}
	return new(big.Int).Mul(d.unscaled, powerOfTen(scale-d.scale))
}

func (d decimal) add(other decimal) decimal {
	scale := max(d.scale, other.scale)
	return decimal{new(big.Int).Add(d.at(scale), other.at(scale)), scale}
}

func (d decimal) mul(other decimal) decimal {
	return decimal{new(big.Int).Mul(d.unscaled, other.unscaled), d.scale + other.scale}
}

func (d decimal) abs() decimal { return decimal{new(big.Int).Abs(d.unscaled), d.scale} }

func (d decimal) cmp(other decimal) int {
	scale := max(d.scale, other.scale)
	return d.at(scale).Cmp(other.at(scale))
}

// String is plain notation without zeros that say nothing.
func (d decimal) String() string {
	digits := d.unscaled.String()
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	if d.scale == 0 {
		return sign + digits
	}
	if len(digits) <= d.scale {
		digits = strings.Repeat("0", d.scale-len(digits)+1) + digits
	}
	whole, rest := digits[:len(digits)-d.scale], strings.TrimRight(digits[len(digits)-d.scale:], "0")
	if rest == "" {
		return sign + whole
	}
	return sign + whole + "." + rest
}

// leastRatio is threshold / notional, rounded up to four significant digits; 1 below the threshold.
func leastRatio(threshold, notional decimal) decimal {
	if notional.cmp(threshold) <= 0 {
		return one
	}
	scale := max(threshold.scale, notional.scale)
	dividend, divisor := threshold.at(scale), notional.at(scale)
	for places := 4; ; places++ {
		quotient, rest := new(big.Int).QuoRem(new(big.Int).Mul(dividend, powerOfTen(places)), divisor, new(big.Int))
		if quotient.Cmp(big.NewInt(1000)) < 0 {
			continue
		}
		if rest.Sign() > 0 {
			quotient.Add(quotient, big.NewInt(1))
		}
		return decimal{quotient, places}
	}
}

func max(a, b int) int {
	if a > b {
		return a
	}
	return b
}
