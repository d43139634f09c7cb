package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sluice-delivery/sluice/test/bench/inmemory"
	"github.com/sluice-delivery/sluice/test/cluster"
	"github.com/sluice-delivery/sluice/test/rig"
)

// plane is a cluster as far as it is not its applications'.
type plane interface {
	// Config is an administrator's.
	Config() *rest.Config
	// requests are the operator's so far.
	requests() (map[string]int, error)
	// run runs the operator.
	run(env []string, argv ...string) (program, error)
	Stop() error
}

// program is the operator while it runs.
type program interface {
	// Err is nil while it runs.
	Err() error
	// Stop ends it, after a grace in which it may end by itself.
	Stop(grace time.Duration)
}

// realPlane has the programs of Kubernetes.
type realPlane struct {
	*cluster.Cluster
	audit *audit
}

func (p *realPlane) requests() (map[string]int, error) { return p.audit.snapshot() }

func (p *realPlane) run(env []string, argv ...string) (program, error) {
	return p.StartProgram(name, env, argv...)
}

// memoryPlane has its objects in the memory of this program, and no other programs.
type memoryPlane struct {
	*inmemory.Server
	log     string
	stop    context.CancelFunc
	started []*running
}

// startMemory starts one that serves what the real one has.
func startMemory(ctx context.Context, log string, crds ...string) (*memoryPlane, error) {
	scheme, err := rig.Scheme()
	if err != nil {
		return nil, err
	}
	kinds, err := kindsIn(crds...)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	return &memoryPlane{Server: inmemory.Start(ctx, scheme, kinds), log: log, stop: stop}, nil
}

func (p *memoryPlane) Config() *rest.Config { return p.Server.Config("administrator") }

func (p *memoryPlane) requests() (map[string]int, error) { return p.Requests(account), nil }

// Stop implements plane.
func (p *memoryPlane) Stop() error {
	for _, r := range p.started {
		r.Stop(0)
	}
	p.stop()
	p.Server.Stop()
	return nil
}

// kubeconfig writes one by which the operator reaches the server at an address.
func (p *memoryPlane) kubeconfig(address, file string) error {
	return writeKubeconfig(file, address, p.Config().CAData, account)
}

func writeKubeconfig(file, address string, ca []byte, token string) error {
	config := clientcmdapi.NewConfig()
	config.Clusters[account] = &clientcmdapi.Cluster{Server: "https://" + address, CertificateAuthorityData: ca}
	config.AuthInfos[account] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts[account] = &clientcmdapi.Context{Cluster: account, AuthInfo: account}
	config.CurrentContext = account
	return clientcmd.WriteToFile(*config, file)
}

func (p *memoryPlane) run(env []string, argv ...string) (program, error) {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), env...), log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	r := &running{cmd: cmd, ended: make(chan struct{})}
	go func() {
		r.err = cmd.Wait()
		close(r.ended)
	}()
	p.started = append(p.started, r)
	return r, nil
}

// running is a program of this one.
type running struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // how it ended, once it has
}

// Err implements program.
func (r *running) Err() error {
	select {
	case <-r.ended:
		return fmt.Errorf("the operator ended: %w", errors.Join(errors.New("see its log"), r.err))
	default:
		return nil
	}
}

// Stop implements program.
func (r *running) Stop(grace time.Duration) {
	_ = r.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-r.ended:
	case <-time.After(grace):
		_ = r.cmd.Process.Kill() // likewise
		<-r.ended
	}
}

// definition is as much of a CustomResourceDefinition as is read.
type definition struct {
	Spec struct {
		Group string `json:"group"`
		Scope string `json:"scope"`
		Names struct {
			Kind   string `json:"kind"`
			Plural string `json:"plural"`
		} `json:"names"`
		Versions []struct {
			Name    string `json:"name"`
			Served  bool   `json:"served"`
			Storage bool   `json:"storage"`
		} `json:"versions"`
	} `json:"spec"`
}

// kindsIn are those of the definitions in files, and in those of folders.
func kindsIn(paths ...string) (out []inmemory.Kind, err error) {
	for _, path := range paths {
		files := []string{path}
		if info, err := os.Stat(path); err != nil {
			return nil, err
		} else if info.IsDir() {
			if files, err = filepath.Glob(filepath.Join(path, "*.yaml")); err != nil {
				return nil, err
			}
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			documents := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(string(raw)), 4096)
			for {
				var d definition
				if err := documents.Decode(&d); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					return nil, fmt.Errorf("%s: %w", file, err)
				}
				if d.Spec.Group != "" {
					out = append(out, d.kind())
				}
			}
		}
	}
	return out, nil
}

func (d definition) kind() inmemory.Kind {
	out := inmemory.Kind{Resource: d.Spec.Names.Plural, Namespaced: d.Spec.Scope == "Namespaced", Custom: true}
	for _, v := range d.Spec.Versions {
		if v.Served {
			out.Versions = append(out.Versions, v.Name)
		}
	}
	out.Group, out.Kind = d.Spec.Group, d.Spec.Names.Kind
	out.Version = out.Versions[0]
	if slices.Contains(out.Versions, "v1") {
		out.Version = "v1" // the one that is preferred
	}
	return out
}
