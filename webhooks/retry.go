package webhooks

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

const (
	firstPause = time.Second
	maxPause   = 30 * time.Second
)

// pause returns how long to wait after that attempt, 1 for the first one: twice as long each time, up to maxPause, and
// a random part of up to a half less so that those who failed together do not come again together. What the endpoint
// asked for is added to by no more than that, and bounded too. random is 0 to 1.
func pause(attempt int, asked time.Duration, random float64) time.Duration {
	d := maxPause
	if attempt <= 5 { // 1s, 2s, 4s, 8s, 16s
		d = firstPause << (attempt - 1)
	}
	d -= time.Duration(random * float64(d) / 2)
	return max(d, min(asked, maxPause))
}

// retryAfter reads the header of that name: seconds, or a date. 0 is none, or one that has passed.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil {
		return max(time.Duration(seconds)*time.Second, 0)
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(at.Sub(now), 0)
}

// wait returns false if ctx ends before the wait does, at once where that is known from the beginning.
func (c *Client) wait(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && deadline.Sub(c.clock.Now()) <= d {
		return false
	}
	timer := c.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C():
		return true
	}
}
