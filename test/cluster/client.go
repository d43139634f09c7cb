package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// ClientOptions describes a mesh client. Zero values take the defaults.
type ClientOptions struct {
	// Target is the service to call, host:port, such as
	// podinfo.test.svc.cluster.local:9999. Required. It must be podinfo's gRPC port.
	Target string
	// Name and Namespace of the calling workload; default meshclient in default.
	Name, Namespace string
	// Rate in requests a second; default 100.
	Rate float64
	// Timeout is the deadline of one request; default 2 s.
	Timeout time.Duration
	// Headers go with every request.
	Headers map[string]string
	// Marks go with MarkedShare of the requests, 0 to 1, beside Headers. These are also
	// counted apart, see Report.Marked.
	Marks       map[string]string
	MarkedShare float64
}

// Client is a workload in the mesh that calls a service at a steady rate, by
// the routes and endpoints that istiod gives it.
type Client struct {
	cluster *Cluster
	process *process
	address string
}

// Counts of requests to one workload.
type Counts struct {
	Requests int64 `json:"requests"`
	Failed   int64 `json:"failed"`
}

// Tally counts requests.
type Tally struct {
	// Total and Failed count requests; a request fails with every gRPC status
	// other than OK, whether or not anybody answered.
	Total  int64 `json:"total"`
	Failed int64 `json:"failed"`
	// ByWorkload splits both by the workload that answered; those that nobody
	// answered are under UnknownWorkload.
	ByWorkload map[string]Counts `json:"byWorkload"`
}

// Report is what a client saw since its start, or between two moments (Sub).
type Report struct {
	// Started tells whether the target has answered once; counting begins then.
	Started bool `json:"started"`
	// Tally is of all requests.
	Tally
	// Marked is of those that had ClientOptions.Marks.
	Marked Tally `json:"marked"`
	// Errors are the last few, each with its time and workload.
	Errors []string `json:"errors"`
	// P50 and P99 are latencies of the last 10 seconds, in milliseconds.
	P50 float64 `json:"p50Milliseconds"`
	P99 float64 `json:"p99Milliseconds"`
}

// UnknownWorkload is Istio's name for what cannot be named.
const UnknownWorkload = "unknown"

// StartClient starts a client and returns once its target has answered. The
// cluster must have been started with Istio. Its Prometheus, if it has one,
// scrapes the client from now on.
func (c *Cluster) StartClient(ctx context.Context, options ClientOptions) (*Client, error) {
	if !c.options.Istio {
		return nil, errors.New("a mesh client needs a cluster with Istio")
	}
	binary, err := Binary("meshclient")
	if err != nil {
		return nil, err
	}
	options = options.withDefaults()
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p, err := c.run("meshclient-"+options.Name, unhurriedGC(), binary,
		"-target", options.Target, "-name", options.Name, "-namespace", options.Namespace,
		"-rate", strconv.FormatFloat(options.Rate, 'g', -1, 64), "-timeout", options.Timeout.String(),
		"-headers", joinHeaders(options.Headers), "-marks", joinHeaders(options.Marks),
		"-marked-share", strconv.FormatFloat(options.MarkedShare, 'g', -1, 64), "-kubeconfig", c.Kubeconfig(),
		"-listen", address, "-xds", xdsAddress, "-ip", hostIP)
	if err != nil {
		return nil, err
	}
	client := &Client{cluster: c, process: p, address: address}
	err = waitFor(ctx, "meshclient", 60*time.Second, []*process{p}, func(ctx context.Context) error {
		report, err := client.Report(ctx)
		switch {
		case err != nil:
			return err
		case !report.Started:
			return fmt.Errorf("%s has not answered: %s", options.Target, strings.Join(report.Errors, "; "))
		}
		return nil
	})
	if err == nil && c.options.Prometheus {
		err = c.Scrape(address)
	}
	if err != nil {
		client.Stop()
		return nil, err
	}
	return client, nil
}

func (o ClientOptions) withDefaults() ClientOptions {
	if o.Name == "" {
		o.Name = "meshclient"
	}
	if o.Namespace == "" {
		o.Namespace = "default"
	}
	if o.Rate == 0 {
		o.Rate = 100
	}
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Second
	}
	return o
}

func joinHeaders(headers map[string]string) string {
	var pairs []string
	for name, value := range headers {
		pairs = append(pairs, name+"="+value)
	}
	sort.Strings(pairs)
	return strings.Join(pairs, ",")
}

// Mesh clients listen on ports below those that the kernel gives to connections: one of these could be
// taken between the choice of a port and its use.
const (
	firstPort = 20000
	allPorts  = 9000
)

// lastPort is the place of the port that was chosen last. Test programs that run side by side begin at different ones.
var lastPort atomic.Int64

// freeAddress is on the node's own address: nothing else listens there.
func freeAddress() (string, error) {
	var err error
	for range allPorts {
		port := firstPort + (int64(os.Getpid())*100+lastPort.Add(1))%allPorts
		var listener net.Listener
		if listener, err = net.Listen("tcp", net.JoinHostPort(hostIP, strconv.FormatInt(port, 10))); err == nil {
			return listener.Addr().String(), listener.Close()
		}
	}
	return "", err
}

// Report asks the client what it has seen so far.
func (c *Client) Report(ctx context.Context) (Report, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.address+"/report", nil)
	if err != nil {
		return Report{}, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return Report{}, errors.Join(err, c.process.exited())
	}
	defer response.Body.Close()
	var report Report
	if err := json.NewDecoder(response.Body).Decode(&report); err != nil {
		return Report{}, fmt.Errorf("report of the mesh client: %w", err)
	}
	return report, nil
}

// Stop ends the client. Its metrics are gone with it.
func (c *Client) Stop() {
	c.cluster.forget(c.process)
	c.process.stop(0)
}

// Sub returns what happened between an earlier report of the same client and
// this one. Latencies and errors are those of this one.
func (r Report) Sub(earlier Report) Report {
	difference := r
	difference.Errors = slices.Clone(r.Errors)
	difference.Tally = r.Tally.Sub(earlier.Tally)
	difference.Marked = r.Marked.Sub(earlier.Marked)
	return difference
}

// Unmarked are the requests that had no marks.
func (r Report) Unmarked() Tally { return r.Tally.Sub(r.Marked) }

// Sub takes away the requests of another tally, which are among these.
func (t Tally) Sub(part Tally) Tally {
	difference := Tally{Total: t.Total - part.Total, Failed: t.Failed - part.Failed, ByWorkload: map[string]Counts{}}
	for name, counts := range t.ByWorkload {
		of := part.ByWorkload[name]
		difference.ByWorkload[name] = Counts{Requests: counts.Requests - of.Requests, Failed: counts.Failed - of.Failed}
	}
	return difference
}

// Share is the part of all requests that the workload answered, 0 to 1; 0 when
// there were none.
func (t Tally) Share(workload string) float64 {
	if t.Total == 0 {
		return 0
	}
	return float64(t.ByWorkload[workload].Requests) / float64(t.Total)
}
