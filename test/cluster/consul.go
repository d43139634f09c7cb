package cluster

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Consul is a real Consul server with ACLs that deny by default and with TLS that
// asks for a client's certificate. It keeps its data and addresses when it is
// started again.
type Consul struct {
	// Address is its URL.
	Address string
	// CAFile, CertFile and KeyFile are for clients.
	CAFile, CertFile, KeyFile string
	// Token may do everything.
	Token string

	dir     string
	binary  string
	client  *http.Client
	process *process
}

// StartConsul starts a server with its data in dir, which must be empty. End it with
// Kill.
func StartConsul(ctx context.Context, dir string) (*Consul, error) {
	binary, err := Binary("consul")
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(ctx, 3)
	if err != nil {
		return nil, err
	}
	c := &Consul{
		Address: fmt.Sprintf("https://127.0.0.1:%d", ports[0]), Token: "b0f5d9c2-0000-4000-8000-000000000001",
		CAFile: filepath.Join(dir, "ca.pem"), CertFile: filepath.Join(dir, "client.pem"), KeyFile: filepath.Join(dir, "client-key.pem"),
		dir: dir, binary: binary,
	}
	if err := c.issue(); err != nil {
		return nil, fmt.Errorf("certificates of Consul: %w", err)
	}
	config, err := json.Marshal(map[string]any{
		"server": true, "bootstrap_expect": 1, "node_name": "server", "data_dir": filepath.Join(dir, "data"),
		"bind_addr": "127.0.0.1", "client_addr": "127.0.0.1", "log_level": "warn", "disable_update_check": true,
		"ports": map[string]int{
			"http": -1, "https": ports[0], "server": ports[1], "serf_lan": ports[2], "serf_wan": -1, "dns": -1, "grpc": -1, "grpc_tls": -1,
		},
		"performance": map[string]int{"raft_multiplier": 1},
		"connect":     map[string]bool{"enabled": true},
		"acl":         map[string]any{"enabled": true, "default_policy": "deny", "tokens": map[string]string{"initial_management": c.Token, "agent": c.Token}},
		"tls": map[string]any{"https": map[string]any{
			"ca_file": c.CAFile, "cert_file": filepath.Join(dir, "server.pem"), "key_file": filepath.Join(dir, "server-key.pem"), "verify_incoming": true,
		}},
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "consul.json"), config, 0o600)
	}
	if err != nil {
		return nil, err
	}
	return c, c.Start(ctx)
}

// Start starts the server again after Kill and waits until it leads.
func (c *Consul) Start(ctx context.Context) error {
	p, err := startProcess("consul", filepath.Join(c.dir, "consul.log"), os.Environ(), c.binary, "agent", "-config-file", filepath.Join(c.dir, "consul.json"))
	if err != nil {
		return err
	}
	c.process = p
	return waitFor(ctx, "consul", readyLimit, []*process{p}, func(ctx context.Context) error {
		// The agent registers itself once there is a leader and its token works.
		var nodes []any
		if err := c.Call(ctx, http.MethodGet, "/v1/catalog/nodes", nil, &nodes); err != nil {
			return err
		}
		if len(nodes) == 0 {
			return errors.New("no node yet")
		}
		return nil
	})
}

// Kill ends the server as kill -9 does.
func (c *Consul) Kill() { c.process.stop(0) }

// Call sends a request with the token that may do everything, and decodes the answer
// into out unless that is nil.
func (c *Consul) Call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.Address+path, body)
	if err != nil {
		return err
	}
	r.Header.Set("X-Consul-Token", c.Token)
	response, err := c.client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return err
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("consul: %s %s: %s: %s", method, path, response.Status, answer)
	case out == nil:
		return nil
	}
	return json.Unmarshal(answer, out)
}

// Register makes the server's own node have an instance of a service in the mesh.
func (c *Consul) Register(ctx context.Context, service string) error {
	return c.Call(ctx, http.MethodPut, "/v1/agent/service/register", map[string]any{
		"ID": service, "Name": service, "Port": 80, "Connect": map[string]bool{"Native": true},
	}, nil)
}

// Deregister removes that instance.
func (c *Consul) Deregister(ctx context.Context, service string) error {
	return c.Call(ctx, http.MethodPut, "/v1/agent/service/deregister/"+service, nil, nil)
}

// ConsulPod is a pod in the mesh as consul-k8s registers it.
type ConsulPod struct {
	// ID is of this instance of Service.
	ID, Service string
	// Address is the pod's, and ClusterIP that of the Kubernetes Service for which it is
	// registered, which may be "None".
	Address, ClusterIP string
	Ready              bool
	Meta               map[string]string
}

const (
	podNode     = "pods-virtual" // consul-k8s makes nodes of its own up
	proxySuffix = "-sidecar-proxy"
)

// RegisterPod registers a pod and its transparent proxy, or what has become of them.
func (c *Consul) RegisterPod(ctx context.Context, p ConsulPod) error {
	status := map[bool]string{true: "passing", false: "critical"}[p.Ready]
	addresses := map[string]any{}
	if net.ParseIP(p.ClusterIP) != nil {
		addresses["virtual"] = map[string]any{"Address": p.ClusterIP, "Port": 80}
	}
	service := map[string]any{"ID": p.ID, "Service": p.Service, "Address": p.Address, "Port": 80, "Meta": p.Meta, "TaggedAddresses": addresses}
	proxy := map[string]any{
		"Kind": "connect-proxy", "ID": p.ID + proxySuffix, "Service": p.Service + proxySuffix, "Address": p.Address, "Port": 20000, "Meta": p.Meta,
		"TaggedAddresses": addresses,
		"Proxy":           map[string]any{"DestinationServiceName": p.Service, "DestinationServiceID": p.ID, "Mode": "transparent"},
	}
	for _, of := range []map[string]any{service, proxy} {
		if err := c.Call(ctx, http.MethodPut, "/v1/catalog/register", map[string]any{
			"Node": podNode, "Address": "127.0.0.1", "SkipNodeUpdate": true, "Service": of,
			"Check": map[string]any{"CheckID": of["ID"], "Name": "Kubernetes Readiness Check", "Status": status, "ServiceID": of["ID"]},
		}, nil); err != nil {
			return err
		}
	}
	return nil
}

// DeregisterPod removes a pod and its proxy.
func (c *Consul) DeregisterPod(ctx context.Context, id string) error {
	for _, of := range []string{id + proxySuffix, id} {
		if err := c.Call(ctx, http.MethodPut, "/v1/catalog/deregister", map[string]any{"Node": podNode, "ServiceID": of}, nil); err != nil {
			return err
		}
	}
	return nil
}

// NewToken makes a token that may do what the rules, in Consul's language for
// policies, say. name is new.
func (c *Consul) NewToken(ctx context.Context, name, rules string) (string, error) {
	policy := map[string]string{"Name": name, "Rules": rules}
	if err := c.Call(ctx, http.MethodPut, "/v1/acl/policy", policy, nil); err != nil {
		return "", err
	}
	var made struct{ SecretID string }
	err := c.Call(ctx, http.MethodPut, "/v1/acl/token", map[string]any{"Description": name, "Policies": []map[string]string{{"Name": name}}}, &made)
	return made.SecretID, err
}

// issue writes the certificates of a CA of its own.
func (c *Consul) issue() error {
	now := time.Now()
	template := func(serial int64, name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(24 * time.Hour),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
	}
	ca := template(1, "ca")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage, ca.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
	caKey, err := writePair(c.CAFile, filepath.Join(c.dir, "ca-key.pem"), ca, ca, nil)
	if err != nil {
		return err
	}
	server := template(2, "server.dc1.consul")
	server.DNSNames, server.IPAddresses = []string{"server.dc1.consul", "localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	if _, err := writePair(filepath.Join(c.dir, "server.pem"), filepath.Join(c.dir, "server-key.pem"), server, ca, caKey); err != nil {
		return err
	}
	if _, err := writePair(c.CertFile, c.KeyFile, template(3, "client"), ca, caKey); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return err
	}
	encoded, err := os.ReadFile(c.CAFile)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(encoded)
	c.client = &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}},
	}
	return nil
}

// writePair makes a key and a certificate for it, signed by its own key where there is no other.
func writePair(certFile, keyFile string, template, issuer *x509.Certificate, issuerKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if issuerKey == nil {
		issuerKey = key
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, issuerKey)
	if err != nil {
		return nil, err
	}
	encoded, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "EC PRIVATE KEY", Bytes: encoded}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			return nil, err
		}
	}
	return key, nil
}

// freePorts are ports of 127.0.0.1 that nothing listens on.
func freePorts(ctx context.Context, n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}
