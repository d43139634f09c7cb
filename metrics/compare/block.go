package compare

import (
	"errors"
	"math"
	"time"
)

// ErrCounts is wrapped by what is wrong with counts that cannot be used.
var ErrCounts = errors.New("counts that cannot be")

// Counts are requests and how many of them were bad. They may be fractional: a metrics server interpolates.
type Counts struct {
	Requests float64 `json:"n,omitempty"`
	Bad      float64 `json:"bad,omitempty"`
}

// Rate is the share of bad requests, 0 where there are none.
func (c Counts) Rate() float64 {
	if c.Requests <= 0 {
		return 0
	}
	return c.Bad / c.Requests
}

// Plus adds what was counted later.
func (c Counts) Plus(d Counts) Counts {
	return Counts{Requests: c.Requests + d.Requests, Bad: c.Bad + d.Bad}
}

// Since is what was counted after an earlier reading of the same counters. A counter that is lower than before has
// lost something, and what came meanwhile is not known: it counts as nothing, and never as less. There are never
// more bad requests than requests.
func (c Counts) Since(before Counts) Counts {
	n := math.Max(0, c.Requests-before.Requests)
	return Counts{Requests: n, Bad: math.Min(n, math.Max(0, c.Bad-before.Bad))}
}

func (c Counts) usable() bool {
	return c.Requests >= 0 && c.Bad >= 0 && !math.IsInf(c.Requests, 0) && c.Bad <= c.Requests*(1+1e-9)+1e-9
}

// Block is what was counted of both versions between two looks at one weight.
type Block struct {
	Canary  Counts        `json:"canary,omitzero"`
	Primary Counts        `json:"primary,omitzero"`
	Length  time.Duration `json:"length,omitempty"`
}

// Plus is both blocks as one.
func (b Block) Plus(c Block) Block {
	return Block{Canary: b.Canary.Plus(c.Canary), Primary: b.Primary.Plus(c.Primary), Length: b.Length + c.Length}
}

func (b Block) usable() bool {
	return b.Canary.usable() && b.Primary.usable() && b.Length > 0
}
