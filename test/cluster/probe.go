package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// eagerPeriod is how often a container that is not ready is probed, if its
// probe is not more frequent anyway: nobody wants to wait for the default 10 s.
const eagerPeriod = 200 * time.Millisecond

const defaultHTTPPort = 9898

// watchReadiness probes a container until ctx ends and calls set on every
// change of its readiness, which is false at first. One that is stopping is
// probed no more often than its manifest says: its server counts probes too.
func watchReadiness(ctx, stopping context.Context, spec *corev1.Container, ip string, set func(bool)) {
	probe := spec.ReadinessProbe
	if probe == nil && isScript(spec) {
		set(true)
		return
	}
	if probe == nil {
		probe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt(httpPort(spec))}}}
	}
	period := orDefault(probe.PeriodSeconds, 10)
	timeout := orDefault(probe.TimeoutSeconds, 1)
	check := checkOf(spec, probe, ip)

	ready, passed, failed := false, int32(0), int32(0)
	wait := time.Duration(probe.InitialDelaySeconds) * time.Second
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		attempt, cancel := context.WithTimeout(ctx, timeout)
		err := check(attempt)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			passed, failed = passed+1, 0
		} else {
			passed, failed = 0, failed+1
		}
		switch {
		case !ready && passed >= max(probe.SuccessThreshold, 1):
			ready = true
			set(true)
		case ready && failed >= max(probe.FailureThreshold, 1):
			ready = false
			set(false)
		}
		wait = period
		if !ready && stopping.Err() == nil {
			wait = min(period, eagerPeriod)
		}
	}
}

func orDefault(seconds, otherwise int32) time.Duration {
	if seconds <= 0 {
		seconds = otherwise
	}
	return time.Duration(seconds) * time.Second
}

// checkOf returns the function behind a probe's handler.
func checkOf(spec *corev1.Container, probe *corev1.Probe, ip string) func(context.Context) error {
	switch {
	case probe.HTTPGet != nil:
		get := probe.HTTPGet
		host := ip
		if get.Host != "" {
			host = get.Host
		}
		url := "http://" + net.JoinHostPort(host, portOf(spec, get.Port)) + "/" + strings.TrimPrefix(get.Path, "/")
		return func(ctx context.Context) error { return checkHTTP(ctx, url, get.HTTPHeaders) }
	case probe.GRPC != nil:
		service := ""
		if probe.GRPC.Service != nil {
			service = *probe.GRPC.Service
		}
		address := net.JoinHostPort(ip, strconv.Itoa(int(probe.GRPC.Port)))
		return func(ctx context.Context) error { return checkGRPC(ctx, address, service) }
	case probe.TCPSocket != nil:
		address := net.JoinHostPort(ip, portOf(spec, probe.TCPSocket.Port))
		return func(ctx context.Context) error { return checkTCP(ctx, address) }
	case probe.Exec != nil:
		return checkCommand(probe.Exec.Command, ip)
	default:
		return func(context.Context) error { return nil }
	}
}

// checkCommand knows podinfo's own client; there is no container to run another
// program in, so all others succeed.
func checkCommand(command []string, ip string) func(context.Context) error {
	words := strings.Fields(strings.Join(command, " "))
	if len(words) < 4 || path.Base(words[0]) != "podcli" || words[1] != "check" {
		return func(context.Context) error { return nil }
	}
	address := strings.Replace(strings.TrimPrefix(words[3], "http://"), "localhost", ip, 1)
	if words[2] == "grpc" {
		return func(ctx context.Context) error { return checkGRPC(ctx, address, "") }
	}
	return func(ctx context.Context) error { return checkHTTP(ctx, "http://"+address, nil) }
}

func checkTCP(ctx context.Context, address string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// probeTransport makes a new connection for every probe, so that none outlives
// a server.
var probeTransport = &http.Transport{DisableKeepAlives: true}

func checkHTTP(ctx context.Context, url string, headers []corev1.HTTPHeader) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "kube-probe")
	for _, h := range headers {
		request.Header.Add(h.Name, h.Value)
	}
	response, err := probeTransport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode >= 400 {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	return nil
}

// h2cTransport speaks HTTP/2 without TLS, which is all that a gRPC health check
// needs of gRPC's transport.
var h2cTransport = func() *http.Transport {
	t := &http.Transport{DisableKeepAlives: true, Protocols: &http.Protocols{}}
	t.Protocols.SetUnencryptedHTTP2(true)
	return t
}()

// checkGRPC calls grpc.health.v1.Health/Check.
func checkGRPC(ctx context.Context, address, service string) error {
	message := []byte{}
	if service != "" {
		message = append(message, 1<<3|2) // field 1, a string
		message = binary.AppendUvarint(message, uint64(len(service)))
		message = append(message, service...)
	}
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	body := strings.NewReader(string(frame) + string(message))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/grpc.health.v1.Health/Check", body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("TE", "trailers")
	response, err := h2cTransport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err != nil {
		return err
	}
	status := response.Trailer.Get("Grpc-Status") + response.Header.Get("Grpc-Status")
	if status != "0" {
		return fmt.Errorf("health check of %s: gRPC status %q", address, status)
	}
	// A frame's 5-byte header, then field 1 with the value SERVING.
	if string(answer) != "\x00\x00\x00\x00\x02\x08\x01" {
		return errors.New("health check of " + address + ": not serving")
	}
	return nil
}

// portOf resolves a probe's port, which may be the name of a container port.
func portOf(spec *corev1.Container, port intstr.IntOrString) string {
	if port.Type == intstr.Int {
		return strconv.Itoa(port.IntValue())
	}
	for _, p := range spec.Ports {
		if p.Name == port.StrVal {
			return strconv.Itoa(int(p.ContainerPort))
		}
	}
	return port.StrVal
}

// httpPort is the port podinfo serves HTTP on: its --port, whose default is 9898.
func httpPort(spec *corev1.Container) int {
	argv := arguments(spec)
	for i, arg := range argv {
		value, found := strings.CutPrefix(arg, "--port=")
		if arg == "--port" && i+1 < len(argv) {
			value, found = argv[i+1], true
		}
		if port, err := strconv.Atoi(value); found && err == nil {
			return port
		}
	}
	return defaultHTTPPort
}
