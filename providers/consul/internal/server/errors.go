package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/sluice-delivery/sluice/providers"
)

// isNotFound tells a Consul that does not have what was asked for.
func isNotFound(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code == http.StatusNotFound
}

// explain marks errors that mean that nothing is known, and drops URLs, which may
// hold what is nobody's business.
func explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var status api.StatusError
	if errors.As(err, &status) {
		body := strings.TrimSpace(status.Body)
		switch {
		case status.Code == http.StatusForbidden || status.Code == http.StatusUnauthorized:
			return &providers.UnreachableError{System: "Consul", Err: fmt.Errorf("it refuses the token: %s", body)}
		case status.Code == http.StatusTooManyRequests || status.Code > http.StatusInternalServerError,
			status.Code == http.StatusInternalServerError && transient(body):
			return &providers.UnreachableError{System: "Consul", Err: fmt.Errorf("it answers %d: %s", status.Code, body)}
		}
		return fmt.Errorf("answer of Consul: %d: %s", status.Code, body)
	}
	err = withoutURL(err)
	if ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("no answer in time")
	}
	return &providers.UnreachableError{System: "Consul", Err: err}
}

// transient tells a server that has no leader from one that refuses what is asked,
// which both have one status.
func transient(body string) bool {
	for _, sign := range []string{"No cluster leader", "leadership lost", "Not ready to serve consistent reads", "rpc error", "raft", "ACL not found", "Permission denied", "No path to datacenter", "connection"} {
		if strings.Contains(body, sign) {
			return true
		}
	}
	return false
}

func withoutURL(err error) error {
	var with *url.Error
	if errors.As(err, &with) {
		return with.Err
	}
	return err
}
