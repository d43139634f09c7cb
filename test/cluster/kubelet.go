package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	certutil "k8s.io/client-go/util/cert"
)

// kubeletPort is where the API server asks the nodes, all of which are at hostIP, for the logs of containers.
const kubeletPort = 10250

// logPath is the file with the output of a container, its restarts included.
func logPath(folder, namespace, pod, container string) string {
	return filepath.Join(folder, namespace+"_"+pod+"_"+container+".log")
}

// serveKubelet serves what kubectl logs shows, until ctx ends.
func (n *node) serveKubelet(ctx context.Context) error {
	cert, key, err := certutil.GenerateSelfSignedCertKey(hostIP, []net.IP{net.ParseIP(hostIP)}, nodeNames)
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return err
	}
	listener, err := tls.Listen("tcp", net.JoinHostPort(hostIP, strconv.Itoa(kubeletPort)), &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", n.containerLogs)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	go func() { _ = server.Serve(listener) }()
	context.AfterFunc(ctx, func() { _ = server.Close() })
	return nil
}

// containerLogs answers with what a container has written. It knows tailLines and follow; a container without a process has
// written nothing.
func (n *node) containerLogs(w http.ResponseWriter, r *http.Request) {
	namespace, pod := r.PathValue("namespace"), r.PathValue("pod")
	key := namespace + "/" + pod
	if n.running(key) == nil {
		http.Error(w, key+" does not run here", http.StatusNotFound)
		return
	}
	content, err := os.ReadFile(logPath(n.logs, namespace, pod, r.PathValue("container")))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	from := 0
	if lines := r.FormValue("tailLines"); lines != "" {
		count, err := strconv.Atoi(lines)
		if err != nil {
			http.Error(w, fmt.Sprintf("tailLines=%s is no number", lines), http.StatusBadRequest)
			return
		}
		from = lastLines(content, count)
	}
	if _, err := w.Write(content[from:]); err != nil || r.FormValue("follow") != "true" {
		return
	}
	n.follow(w, r, key, int64(len(content)))
}

// lastLines is where the last lines of a text begin.
func lastLines(content []byte, count int) int {
	from := len(content)
	if from > 0 && content[from-1] == '\n' {
		from--
	}
	for ; count > 0; count-- {
		if from = bytes.LastIndexByte(content[:from], '\n'); from < 0 {
			return 0
		}
	}
	return min(from+1, len(content))
}

// follow sends what is written to a container's log from then on, until the pod or the request ends.
func (n *node) follow(w http.ResponseWriter, r *http.Request, key string, offset int64) {
	path := logPath(n.logs, r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container"))
	flush := http.NewResponseController(w)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		ended := n.running(key) == nil
		if file, err := os.Open(path); err == nil { //nolint:gosec // of a pod that runs
			sent, err := io.Copy(w, io.NewSectionReader(file, offset, 1<<62))
			_ = file.Close()
			offset += sent
			if err != nil {
				return
			}
		}
		if err := flush.Flush(); err != nil || ended {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}
