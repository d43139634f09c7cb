package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// faults is what goes wrong with the requests of a bad release. Health checks
// and metrics stay right: a release that fails those never gets traffic.
type faults struct {
	errorPercent float64
	delay        time.Duration
	delayPercent float64
}

func faultsFromEnv() (faults, error) {
	percent, err := number("SLUICE_ERROR_PERCENT", 100, 0)
	if err != nil {
		return faults{}, err
	}
	delay, err := number("SLUICE_DELAY_MS", float64(time.Hour.Milliseconds()), 0)
	if err != nil {
		return faults{}, err
	}
	delayed, err := number("SLUICE_DELAY_PERCENT", 100, 100)
	if err != nil {
		return faults{}, err
	}
	return faults{errorPercent: percent, delay: time.Duration(delay * float64(time.Millisecond)), delayPercent: delayed}, nil
}

// number reads a variable; unset is what it is where it is not set.
func number(name string, highest, unset float64) (float64, error) {
	value := os.Getenv(name)
	if value == "" {
		return unset, nil
	}
	n, err := strconv.ParseFloat(value, 64)
	if err != nil || !(n >= 0 && n <= highest) {
		return 0, fmt.Errorf("%s=%q is not a number from 0 to %v", name, value, highest)
	}
	return n, nil
}

// strike waits out the delay and tells whether the request is to fail.
func (f faults) strike(ctx context.Context) bool {
	if f.delay > 0 && rand.Float64()*100 < f.delayPercent {
		timer := time.NewTimer(f.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return rand.Float64()*100 < f.errorPercent
}

func (f faults) http(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		spared := strings.HasPrefix(r.URL.Path, "/readyz") || strings.HasPrefix(r.URL.Path, "/healthz") || r.URL.Path == "/metrics"
		if !spared && f.strike(r.Context()) {
			http.Error(w, "injected fault", http.StatusInternalServerError)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// tookKey is the trailer that says how many microseconds a call took by the pod's own clock, as a proxy beside it would.
const tookKey = "sluice-took-us"

func (f faults) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (answer any, err error) {
	began := time.Now()
	if err = f.grpc(ctx, info.FullMethod); err == nil {
		answer, err = next(ctx, request)
	}
	took := strconv.FormatInt(time.Since(began).Microseconds(), 10)
	_ = grpc.SetTrailer(ctx, metadata.Pairs(tookKey, took)) // without it the caller's own clock has to do
	return answer, err
}

func (f faults) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := f.grpc(stream.Context(), info.FullMethod); err != nil {
		return err
	}
	return next(server, stream)
}

// grpc returns the error that a call of method is to fail with, or nil.
func (f faults) grpc(ctx context.Context, method string) error {
	if strings.HasPrefix(method, "/grpc.health.") || strings.HasPrefix(method, "/grpc.reflection.") || !f.strike(ctx) {
		return nil
	}
	return status.Error(codes.Internal, "injected fault")
}
