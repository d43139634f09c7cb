package switching

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// relay stands between one operator and the API server. It notes what the operator writes, and can keep the answer to a write from it.
type relay struct {
	kubeconfig string

	mu     sync.Mutex
	writes []write
	reads  map[string]int // by path
	keep   func(write) bool
	kept   chan struct{} // closed when an answer is kept
	letGo  chan struct{} // closed to pass it on
}

// write is one that the API server has answered.
type write struct {
	at           time.Time // when it came
	method, path string
	body         []byte
	status       int
}

func (w write) String() string { return fmt.Sprintf("%s %s: %d", w.method, w.path, w.status) }

// of tells whether it is about an object of a namespace, and neither an event nor a lease.
func (w write) of(namespace string) bool {
	return strings.Contains(w.path, "/namespaces/"+namespace+"/") && w.matters()
}

// matters is true for what moves a release: neither an event nor a lease.
func (w write) matters() bool {
	return !strings.Contains(w.path, "/events") && !strings.Contains(w.path, "/leases")
}

// newRelay begins to stand there, with the rights of config.
func newRelay(t *testing.T, config *rest.Config, name string) *relay {
	t.Helper()
	r := &relay{reads: map[string]int{}, kept: make(chan struct{}), letGo: make(chan struct{})}
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(p *httputil.ProxyRequest) { p.SetURL(to) },
		Transport: transport, FlushInterval: -1, // watches
		ModifyResponse: r.answered,
		ErrorHandler:   func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }, // of those who went
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: r.noted(proxy), ReadHeaderTimeout: limit}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	r.kubeconfig = filepath.Join(t.TempDir(), name+".kubeconfig")
	err = clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: "http://" + listener.Addr().String()}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name}},
		CurrentContext: name,
	}, r.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// noting is the key of the write that a request is, in its context.
type noting struct{}

func (r *relay) noted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		x := write{at: time.Now(), method: req.Method, path: req.URL.Path}
		if req.Method == http.MethodGet {
			r.mu.Lock()
			r.reads[req.URL.Path]++
			r.mu.Unlock()
		} else {
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return // it went
			}
			x.body, req.Body = body, io.NopCloser(bytes.NewReader(body))
		}
		next.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), noting{}, &x)))
	})
}

// answered notes a write. The answer that is to be kept is, until it is let go or the operator is no more.
func (r *relay) answered(answer *http.Response) error {
	x, ok := answer.Request.Context().Value(noting{}).(*write)
	if !ok || x.method == http.MethodGet {
		return nil
	}
	x.status = answer.StatusCode
	r.mu.Lock()
	r.writes = append(r.writes, *x)
	keep := r.keep != nil && x.status < 300 && r.keep(*x)
	if keep {
		r.keep = nil
		close(r.kept)
	}
	r.mu.Unlock()
	if keep {
		select {
		case <-r.letGo:
		case <-answer.Request.Context().Done():
		}
	}
	return nil
}

// keepNext has the answer kept to the next write that succeeds and is such a one.
func (r *relay) keepNext(which func(write) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keep = which
}

// since are the writes that came after a moment.
func (r *relay) since(from time.Time) []write {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.writes), func(w write) bool { return w.at.Before(from) })
}

// hasRead tells whether an object was read.
func (r *relay) hasRead(path string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reads[path] > 0
}

// leads tells whether the operator has written the lease that is at a path since a moment.
func (r *relay) leads(lease string, from time.Time) bool {
	return slices.ContainsFunc(r.since(from), func(w write) bool {
		created := w.method == http.MethodPost && strings.HasPrefix(lease, w.path+"/")
		return w.status < 300 && (w.path == lease || created)
	})
}
