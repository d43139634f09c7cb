package main

import (
	"context"
	"io"
	"strings"
	"testing"
)

func TestCommandsOnCanaries(t *testing.T) {
	for _, command := range []string{removeFinalizersCommand, handOverCommand} {
		for want, args := range map[string][]string{
			"unexpected argument":        {command, "now"},
			"no way to reach Kubernetes": {command, "-kubeconfig=/does/not/exist"},
		} {
			if err := run(context.Background(), args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %v", args, err)
			}
		}
	}
}
