package export

import (
	"errors"
	"math/big"
	"strings"
)

const (
	maxWhole    = 18 // digits before the point
	maxFraction = 30 // digits after the point
)

var (
	one = big.NewInt(1)
	// scaleT is T of docs/spec/export-manifest.md, section 5.
	scaleT = new(big.Int).Exp(big.NewInt(10), big.NewInt(maxFraction), nil)
)

// A Decimal is a decimal number, as docs/spec/export-manifest.md, section 2,
// specifies. The zero value is not a number.
type Decimal struct {
	text  string
	units *big.Int // of 1/T
}

// ParseDecimal reads a decimal.
func ParseDecimal(s string) (Decimal, error) {
	whole, fraction, point := strings.Cut(s, ".")
	if !isCount(whole) || point && (!isDigits(fraction) || len(fraction) > maxFraction) {
		return Decimal{}, errors.New("not a decimal of at most 18 digits before and 30 digits after the point")
	}
	units, _ := new(big.Int).SetString(whole+fraction+strings.Repeat("0", maxFraction-len(fraction)), 10)
	return Decimal{s, units}, nil
}

// String returns the decimal as it was written.
func (d Decimal) String() string { return d.text }

// decimalOf returns the decimal of a number of units of 1/T.
func decimalOf(units *big.Int) Decimal {
	digits := units.String()
	if n := maxFraction + 1 - len(digits); n > 0 {
		digits = strings.Repeat("0", n) + digits
	}
	at := len(digits) - maxFraction
	text := strings.TrimRight(digits[:at]+"."+digits[at:], "0")
	return Decimal{strings.TrimSuffix(text, "."), units}
}

// A Rational is a rational number, as docs/spec/export-manifest.md, section 2,
// specifies. The zero value is not a number.
type Rational struct {
	text     string
	num, den *big.Int
}

// ParseRational reads a rational.
func ParseRational(s string) (Rational, error) {
	num, den, fraction := strings.Cut(s, "/")
	if !fraction {
		d, err := ParseDecimal(s)
		if err != nil {
			return Rational{}, errors.New("neither a decimal nor a fraction of two integers of at most 18 digits")
		}
		return Rational{s, d.units, scaleT}, nil
	}
	if !isCount(num) || !isCount(den) || den == "0" {
		return Rational{}, errors.New("neither a decimal nor a fraction of two integers of at most 18 digits")
	}
	n, _ := new(big.Int).SetString(num, 10)
	d, _ := new(big.Int).SetString(den, 10)
	return Rational{s, n, d}, nil
}

// String returns the rational as it was written.
func (r Rational) String() string { return r.text }

// IsZero reports whether r is 0.
func (r Rational) IsZero() bool { return r.num.Sign() == 0 }

// isCount reports whether s is an integer of at most 18 digits without leading
// zeros.
func isCount(s string) bool {
	return isDigits(s) && len(s) <= maxWhole && (s == "0" || s[0] != '0')
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
