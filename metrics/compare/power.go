package compare

import (
	"math"
	"time"
)

// Traffic is what a release can expect.
type Traffic struct {
	// PerSecond are the requests of both versions, and Weight the canary's share of them.
	PerSecond, Weight float64
	// Bad is the primary's share of bad requests, and Correlation that of the requests of one minute.
	Bad, Correlation float64
	// Look is the time between two looks.
	Look time.Duration
}

// Power says how long it takes.
type Power struct {
	// Requests of the canary, and the time in which it gets them; both 0 where there is no traffic.
	Requests float64
	Time     time.Duration
}

// ToFind says after how many requests of the canary a regression is found on average, a share of requests by which
// the canary is worse than the primary. It is what the evidence of one request makes of it to one who knows both
// shares, after what betting on many regressions costs.
func (j Judge) ToFind(m Metric, regression float64, t Traffic) Power {
	need := math.Log(float64(len(j.Metrics))/(1-j.Confidence)) - math.Log(worsePrior[1])
	test, ratio := m.worse(), (1-t.Weight)/t.Weight
	if m.Alone {
		test, ratio = Beyond(m.Limit, m.Detect), 0
	}
	return t.power(need / test.evidence(math.Min(t.Bad+regression, 1-tiny), t.Bad, ratio))
}

// ToPromote says after how many requests of the canary a release may be promoted on average, if the canary is as good
// as the primary.
func (j Judge) ToPromote(m Metric, t Traffic) Power {
	need := math.Log(1/miss) - math.Log(finePrior[1])
	return t.power(need / m.fine(m.Detect).perRequest(1, t.Bad, (1-t.Weight)/t.Weight))
}

// power makes requests, as many as independent ones would be, a time.
func (t Traffic) power(requests float64) Power {
	perSecond := t.PerSecond * t.Weight
	if perSecond <= 0 || math.IsInf(requests, 0) || math.IsNaN(requests) || requests < 0 {
		return Power{}
	}
	look := t.Look.Seconds()
	requests = math.Ceil(requests * Inflation(Block{
		Canary:  Counts{Requests: perSecond * look},
		Primary: Counts{Requests: t.PerSecond*look - perSecond*look},
		Length:  t.Look,
	}, t.Correlation))
	looks := math.Ceil(requests / perSecond / look)
	if looks*look > math.MaxInt64/1e10 {
		return Power{}
	}
	return Power{Requests: requests, Time: time.Duration(looks) * t.Look}
}
