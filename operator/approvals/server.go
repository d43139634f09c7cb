package approvals

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// Server takes presses while a manager runs.
type Server struct {
	// Address is where it listens.
	Address string
	// Handler takes the presses.
	Handler *Handler
	// Synced tells whether all Canaries are known.
	Synced func() bool
}

// NeedLeaderElection has every replica take them.
func (s *Server) NeedLeaderElection() bool { return false }

// Start serves until ctx ends, and what was pressed before to its end.
func (s *Server) Start(ctx context.Context) error {
	toolscache.WaitForCacheSync(ctx.Done(), s.Synced)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.Address)
	if err != nil {
		return fmt.Errorf("address of presses in Slack: %w", err)
	}
	server := &http.Server{
		Handler: s.Handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	log.FromContext(ctx).Info("Taking what people press in Slack", "address", listener.Addr().String(), "path", Path)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("presses in Slack: %w", err)
	case <-ctx.Done():
		err := server.Close()
		s.Handler.Wait()
		return err
	}
}
