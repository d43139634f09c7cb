package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"k8s.io/utils/clock"

	"github.com/sluice-delivery/sluice/webhooks/loadtester"
)

// gateTimeout is how long the load tester may take to answer.
const gateTimeout = 10 * time.Second

// errClosed is the answer of a closed gate.
var errClosed = errors.New("it is closed")

// gate opens, closes or asks a gate of a running load tester, for people: an image without a shell has no curl.
func gate(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f := flag.NewFlagSet("sluice-loadtester "+args[0], flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprintf(stderr, "usage: sluice-loadtester %s open|close|check [flags] NAMESPACE/NAME\n", args[0])
		f.PrintDefaults()
	}
	address := f.String("url", "http://127.0.0.1:8080", "where the load tester listens")
	keyFile := f.String("hmac-key-file", "", "file with the key that calls are signed with; without it that of the load tester in this pod")
	if len(args) < 2 || (args[1] != "open" && args[1] != "close" && args[1] != "check") {
		f.Usage()
		return errors.New("say open, close or check")
	}
	if err := f.Parse(args[2:]); err != nil {
		return err
	}
	namespace, name, ok := strings.Cut(f.Arg(0), "/")
	if f.NArg() != 1 || !ok {
		f.Usage()
		return errors.New("say which Canary: NAMESPACE/NAME")
	}
	body, err := json.Marshal(loadtester.Payload{Name: name, Namespace: namespace})
	if err != nil {
		return err
	}
	if *keyFile == "" {
		*keyFile = localKeyOf(*address)
	}
	text, err := post(ctx, strings.TrimSuffix(*address, "/")+"/"+args[0]+"/"+args[1], *keyFile, body)
	if err != nil {
		return fmt.Errorf("%s of %s/%s: %w", args[0], namespace, name, err)
	}
	_, err = fmt.Fprintf(stdout, "%s of %s/%s: %s\n", args[0], namespace, name, text)
	return err
}

// localKeyOf is the file with the key of the load tester in this pod that listens at an address; empty for none.
func localKeyOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	path := localKeyPath(u.Port())
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// post sends a signed payload and returns what has come of it.
func post(ctx context.Context, to, keyFile string, body []byte) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, gateTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	if keyFile != "" {
		key, err := readKey(keyFile)
		if err != nil {
			return "", err
		}
		request.Header.Set(loadtester.SignatureHeader, loadtester.Sign(key, clock.RealClock{}.Now(), body))
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	switch {
	case err != nil:
		return "", err
	case response.StatusCode == http.StatusOK:
		return "open", nil
	case response.StatusCode == http.StatusAccepted:
		return "done", nil
	case response.StatusCode == http.StatusForbidden && string(text) == "Forbidden":
		return "", errClosed
	default:
		return "", fmt.Errorf("%s: %s", response.Status, text)
	}
}
