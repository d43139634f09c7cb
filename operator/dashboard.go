package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/dashboard"
	"github.com/sluice-delivery/sluice/operator/dashboard/access"
	"github.com/sluice-delivery/sluice/operator/dashboard/fleet"
	"github.com/sluice-delivery/sluice/webhooks/alerts"
)

// dashboardOptions say whether and for whom the dashboard is served.
type dashboardOptions struct {
	address      string
	anonymous    bool
	tlsDirectory string
	proxies      list
	proxyCA      string
	userHeader   string
	groupHeader  string
	links        alerts.LinkTemplates
}

func (o *dashboardOptions) register(f *flag.FlagSet) {
	f.StringVar(&o.address, "dashboard-address", "", "address of the dashboard, such as :8090; none without it")
	f.BoolVar(&o.anonymous, "dashboard-anonymous", false, "let everybody who reaches the dashboard see all releases, without a login and without a right to do anything")
	f.StringVar(&o.tlsDirectory, "dashboard-tls-dir", "", "directory with tls.crt and tls.key, with which the dashboard is served over TLS; they may be rotated")
	f.Var(&o.proxies, "dashboard-proxies", "addresses and CIDRs, comma separated, of authenticating proxies that are trusted to say in headers who a request comes from")
	f.StringVar(&o.proxyCA, "dashboard-proxy-ca", "", "file with the authorities of the certificates by which authenticating proxies are trusted, wherever they are; it needs -dashboard-tls-dir")
	f.StringVar(&o.userHeader, "dashboard-user-header", "X-Forwarded-User", "header in which such a proxy names the user")
	f.StringVar(&o.groupHeader, "dashboard-group-header", "X-Forwarded-Groups", "header in which such a proxy names the user's groups")
	f.Var(&o.links, "dashboard-link", "NAME=TEMPLATE of a link at each release, such as logs=https://logs.example.com/?ns={{ .Namespace }}&app={{ .Target }}; may be given often")
}

// check finds what is better known now than when somebody looks.
func (o *dashboardOptions) check() error {
	if _, err := o.trusted(); err != nil {
		return err
	}
	_, _, err := net.SplitHostPort(o.address)
	switch {
	case o.address != "" && err != nil:
		return fmt.Errorf("-dashboard-address: %q is no address such as :8090", o.address)
	case o.address == "" && (o.anonymous || o.tlsDirectory != "" || len(o.proxies) > 0 || o.proxyCA != "" || len(o.links) > 0):
		return errors.New("-dashboard-anonymous, -tls-dir, -proxies, -proxy-ca and -link are about the dashboard, which -dashboard-address turns on")
	case o.proxyCA != "" && o.tlsDirectory == "":
		return errors.New("-dashboard-proxy-ca: it needs -dashboard-tls-dir, as certificates are shown over TLS alone")
	}
	if o.tlsDirectory != "" {
		if _, err := tls.LoadX509KeyPair(filepath.Join(o.tlsDirectory, "tls.crt"), filepath.Join(o.tlsDirectory, "tls.key")); err != nil {
			return fmt.Errorf("-dashboard-tls-dir: %w", err)
		}
	}
	_, err = o.authorities()
	return err
}

// trusted are the proxies that are trusted, nil for none.
func (o *dashboardOptions) trusted() (*access.Proxies, error) {
	if len(o.proxies) == 0 && o.proxyCA == "" {
		return nil, nil
	}
	out := &access.Proxies{Verified: o.proxyCA != "", UserHeader: o.userHeader, GroupHeader: o.groupHeader}
	for _, text := range o.proxies {
		prefix, err := netip.ParsePrefix(text)
		if addr, addrErr := netip.ParseAddr(text); addrErr == nil {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("-dashboard-proxies: %q is neither an address nor a CIDR such as 10.1.0.0/16", text)
		}
		out.Addresses = append(out.Addresses, prefix.Masked())
	}
	return out, nil
}

// authorities are those of proxies' certificates, nil for none.
func (o *dashboardOptions) authorities() (*x509.CertPool, error) {
	if o.proxyCA == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(o.proxyCA)
	if err != nil {
		return nil, fmt.Errorf("-dashboard-proxy-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("-dashboard-proxy-ca: there is no certificate in %s", o.proxyCA)
	}
	return pool, nil
}

// addDashboard has the manager serve the dashboard, on every replica.
func addDashboard(ctx context.Context, mgr ctrl.Manager, o options) error {
	if o.dashboard.address == "" {
		return nil
	}
	all := fleet.New(clock.RealClock{})
	informer, err := mgr.GetCache().GetInformer(ctx, &v1beta1.Canary{})
	if err != nil {
		return fmt.Errorf("dashboard: %w", err)
	}
	fed, err := informer.AddEventHandler(feed(all))
	if err != nil {
		return fmt.Errorf("dashboard: %w", err)
	}
	people := &access.People{Config: mgr.GetConfig(), Scheme: mgr.GetScheme(), Clock: clock.RealClock{}}
	if people.Proxies, err = o.dashboard.trusted(); err != nil {
		return err
	}
	if o.dashboard.anonymous {
		own, err := access.NewClient(mgr.GetConfig(), mgr.GetScheme())
		if err != nil {
			return fmt.Errorf("dashboard: %w", err)
		}
		people.Anonymous = access.Anonymous(own, clock.RealClock{})
	}
	links := o.dashboard.links
	if len(links) == 0 {
		links = o.alerts.links
	}
	handler, err := dashboard.New(dashboard.Config{
		Fleet: all, Who: people.Of, Login: people, Links: links, Cluster: o.alerts.clusterName,
		Version: version, Clock: clock.RealClock{},
	})
	if err != nil {
		return fmt.Errorf("dashboard: %w", err)
	}
	return mgr.Add(&dashboardServer{dashboardOptions: o.dashboard, handler: handler, fed: fed.HasSynced})
}

// feed has a fleet follow an informer.
func feed(all *fleet.Fleet) toolscache.ResourceEventHandler {
	changed := func(o any) {
		if c, ok := o.(*v1beta1.Canary); ok {
			all.Changed(c)
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    changed,
		UpdateFunc: func(_, o any) { changed(o) },
		DeleteFunc: func(o any) {
			if last, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = last.Obj
			}
			if c, ok := o.(*v1beta1.Canary); ok {
				all.Gone(c.Namespace, c.Name)
			}
		},
	}
}

// dashboardServer serves the dashboard while the manager runs.
type dashboardServer struct {
	dashboardOptions

	handler http.Handler
	// fed tells whether all releases are known.
	fed func() bool
}

// NeedLeaderElection has every replica serve it.
func (s *dashboardServer) NeedLeaderElection() bool { return false }

// Start serves until ctx ends.
func (s *dashboardServer) Start(ctx context.Context) error {
	toolscache.WaitForCacheSync(ctx.Done(), s.fed)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.address)
	if err != nil {
		return fmt.Errorf("-dashboard-address: %w", err)
	}
	return s.serve(ctx, listener)
}

func (s *dashboardServer) serve(ctx context.Context, listener net.Listener) (err error) {
	server := &http.Server{
		Handler: s.handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		// Streams end with the manager.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	serve := func() error { return server.Serve(listener) }
	if s.tlsDirectory != "" {
		if server.TLSConfig, err = s.tls(ctx); err != nil {
			return err
		}
		serve = func() error { return server.ServeTLS(listener, "", "") }
	}
	log.FromContext(ctx).Info("Serving the dashboard", "address", listener.Addr().String(), "tls", s.tlsDirectory != "", "anonymous", s.anonymous)
	ended := make(chan error, 1)
	go func() { ended <- serve() }()
	select {
	case err := <-ended:
		return fmt.Errorf("dashboard: %w", err)
	case <-ctx.Done():
		return server.Close() // streams have no end of their own
	}
}

// tls is how the dashboard is served over TLS. Its files are read again when they change.
func (s *dashboardServer) tls(ctx context.Context) (*tls.Config, error) {
	watcher, err := certwatcher.New(filepath.Join(s.tlsDirectory, "tls.crt"), filepath.Join(s.tlsDirectory, "tls.key"))
	if err != nil {
		return nil, fmt.Errorf("-dashboard-tls-dir: %w", err)
	}
	go func() {
		if err := watcher.Start(ctx); err != nil {
			log.FromContext(ctx).Error(err, "The certificate of the dashboard is not read again when it changes")
		}
	}()
	out := &tls.Config{GetCertificate: watcher.GetCertificate, MinVersion: tls.VersionTLS12}
	if out.ClientCAs, err = s.authorities(); err != nil {
		return nil, err
	}
	if out.ClientCAs != nil {
		out.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return out, nil
}
