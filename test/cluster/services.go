package cluster

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
)

// services takes requests that containers send to Services, by their names, to one of their pods that are ready: what DNS and
// kube-proxy do in a cluster with a network of its own. It is a proxy for HTTP, which the node names to the scripts of
// containers. What no pod is ready for gets no answer, as a connection that is refused.
type services struct {
	address string
	start   func() (listers, error)
}

// listers know the Services and who is behind them.
type listers struct {
	services corelisters.ServiceLister
	slices   discoverylisters.EndpointSliceLister
}

// serveServices begins to serve, until ctx ends. Services are watched once somebody asks for one.
func serveServices(ctx context.Context, clients kubernetes.Interface) (*services, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(hostIP, "0"))
	if err != nil {
		return nil, err
	}
	s := &services{address: listener.Addr().String(), start: sync.OnceValues(func() (listers, error) {
		factory := informers.NewSharedInformerFactory(clients, 0)
		l := listers{factory.Core().V1().Services().Lister(), factory.Discovery().V1().EndpointSlices().Lister()}
		factory.Start(ctx.Done())
		for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
			if !synced {
				return l, fmt.Errorf("list %s: %w", kind, context.Cause(ctx))
			}
		}
		return l, nil
	})}
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	context.AfterFunc(ctx, func() { _ = server.Close() })
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *services) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	known, err := s.start()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	address, err := known.endpoint(r.URL.Host, callerOf(r))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	proxy := httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Host = address
			p.Out.Host = p.In.Host
		},
		Transport:    &http.Transport{DisableKeepAlives: true},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	proxy.ServeHTTP(w, r)
}

// callerOf is the namespace of the pod that a request is from: the user name that the node has its scripts give to the proxy.
func callerOf(r *http.Request) string {
	encoded := strings.TrimPrefix(r.Header.Get("Proxy-Authorization"), "Basic ")
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return ""
	}
	namespace, _, _ := strings.Cut(string(decoded), ":")
	return namespace
}

// endpoint is the address of a pod that is ready, for a name as a container in a namespace calls a Service.
func (l listers) endpoint(host, namespace string) (string, error) {
	name, port, found := strings.Cut(host, ":")
	if !found {
		port = "80"
	}
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".cluster.local"), ".svc")
	if service, of, qualified := strings.Cut(name, "."); qualified {
		name, namespace = service, of
	}
	service, err := l.services.Services(namespace).Get(name)
	if err != nil {
		return "", err
	}
	slices, err := l.slices.EndpointSlices(namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: name}))
	if err != nil {
		return "", err
	}
	var addresses []string
	for _, slice := range slices {
		addresses = append(addresses, ready(slice, portName(service, port))...)
	}
	if len(addresses) == 0 {
		return "", fmt.Errorf("nothing is ready behind %s/%s, port %s", namespace, name, port)
	}
	return addresses[rand.IntN(len(addresses))], nil //nolint:gosec // a choice of pods
}

// portName is the name of the port of a Service that has a number; where there is none, one that nothing has.
func portName(service *corev1.Service, number string) string {
	for _, p := range service.Spec.Ports {
		if strconv.Itoa(int(p.Port)) == number {
			return p.Name
		}
	}
	return "no such port"
}

// ready are the addresses in a slice that serve a port and are ready.
func ready(slice *discoveryv1.EndpointSlice, port string) []string {
	var out []string
	for _, p := range slice.Ports {
		if p.Name == nil || *p.Name != port || p.Port == nil {
			continue
		}
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				out = append(out, net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(*p.Port))))
			}
		}
	}
	return out
}

// writePrograms makes a folder with the programs that scripts of containers call, all of which are pod by other names.
func writePrograms(folder, pod string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	return os.Symlink(pod, filepath.Join(folder, "curl"))
}
