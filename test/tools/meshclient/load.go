package main

import (
	"context"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/stefanprodan/podinfo/pkg/api/grpc/version"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// load calls podinfo at a steady rate, whether or not earlier calls are done.
type load struct {
	conn    *grpc.ClientConn
	pods    *podIndex
	record  *recorder
	rate    float64 // a second
	timeout time.Duration
	headers metadata.MD // of every request that is not marked
	marks   metadata.MD // of every one that is
	share   float64     // of the requests that are marked
}

// run begins with the first call that succeeds, which does not count: until
// then the mesh does not know the service.
func (l *load) run(ctx context.Context) {
	client := version.NewVersionServiceClient(l.conn)
	for {
		attempt, cancel := context.WithTimeout(metadata.NewOutgoingContext(ctx, l.headers), l.timeout)
		_, err := client.Version(attempt, &version.VersionRequest{}, grpc.WaitForReady(true))
		cancel()
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		l.record.waiting(err)
		// A refusal comes at once.
		if !sleepUntil(ctx, time.Now().Add(50*time.Millisecond)) {
			return
		}
	}
	l.record.begin()

	interval := time.Duration(float64(time.Second) / l.rate)
	next := time.Now()
	for n := int64(0); ; n++ {
		next = next.Add(interval)
		if behind := time.Since(next); behind > time.Second {
			next = next.Add(behind) // the machine stood still; no burst for that
		}
		if !sleepUntil(ctx, next) {
			return
		}
		go l.call(ctx, client, l.marked(n))
	}
}

// marked spreads the marked requests evenly over all.
func (l *load) marked(n int64) bool {
	return int64(float64(n+1)*l.share) > int64(float64(n)*l.share)
}

func (l *load) call(ctx context.Context, client version.VersionServiceClient, marked bool) {
	headers := l.headers
	if marked {
		headers = l.marks
	}
	ctx = metadata.NewOutgoingContext(ctx, headers)
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	var from peer.Peer
	began := time.Now()
	var trailer metadata.MD
	_, err := client.Version(ctx, &version.VersionRequest{}, grpc.Peer(&from), grpc.Trailer(&trailer))
	for notWarm(err) && sleepUntil(ctx, time.Now().Add(time.Millisecond)) {
		_, err = client.Version(ctx, &version.VersionRequest{}, grpc.Peer(&from), grpc.Trailer(&trailer))
	}
	now := time.Now()
	result := result{at: now, took: now.Sub(began), err: err, marked: marked}
	result.there = tookThere(trailer, result.took)
	if address, ok := from.Addr.(*net.TCPAddr); ok {
		result.pod, result.reached = l.pods.lookup(ctx, address.IP.String())
	}
	l.record.add(result)
}

// tookThere is how long a call took by the clock of the pod that answered it, which is what a proxy beside that pod would report;
// here is what stands for it where the pod does not say.
func tookThere(trailer metadata.MD, here time.Duration) time.Duration {
	for _, value := range trailer.Get("sluice-took-us") {
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			return time.Duration(n) * time.Microsecond
		}
	}
	return here
}

// notWarm tells a call that gRPC itself failed because it takes a new route
// into use an instant before the cluster that the route leads to. A sidecar
// never does: Envoy warms a cluster before a route may name it. Such a call has
// not been sent anywhere.
func notWarm(err error) bool {
	s := status.Convert(err)
	return s.Code() == codes.Unavailable && strings.HasPrefix(s.Message(), "unknown cluster selected for RPC")
}

func sleepUntil(ctx context.Context, t time.Time) bool {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
