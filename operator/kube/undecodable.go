package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// Informers read all objects of a kind at once, and a definition may let pass what its Go type does not read: a DestinationRule with an
// empty idleTimeout, a TraefikService with a weight of 2^31. One such object, of whatever tenant, would keep the informer from
// all others for ever. So once a decoding has failed, lists and watches of custom resources are sifted: what can't be decoded is left out, as
// if it was not there, and the log names it. Until then nothing is looked at twice.

// sieve leaves out what can't be decoded. It is safe for concurrent use.
type sieve struct {
	decoder runtime.Decoder
	on      atomic.Bool

	mu       sync.Mutex
	reported map[types.UID]string // version
}

// withSieve returns the settings of a cache that goes on where an object can't be decoded.
func withSieve(config *rest.Config, options cache.Options) (*rest.Config, cache.Options, error) {
	s := newSieve(options.Scheme)
	config = rest.CopyConfig(config)
	config.Wrap(s.wrap)
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, options, fmt.Errorf("client of the cache: %w", err)
	}
	options.HTTPClient = client
	next := options.DefaultWatchErrorHandler
	if next == nil {
		next = toolscache.DefaultWatchErrorHandler
	}
	options.DefaultWatchErrorHandler = func(ctx context.Context, r *toolscache.Reflector, err error) {
		if undecodable(err) && !s.on.Swap(true) {
			log.FromContext(ctx).Error(err, "An object can't be decoded; from now on such objects are left out")
		}
		next(ctx, r, err)
	}
	return config, options, nil
}

func newSieve(scheme *runtime.Scheme) *sieve {
	return &sieve{decoder: serializer.NewCodecFactory(scheme).UniversalDeserializer(), reported: map[types.UID]string{}}
}

// decoding is the cause by which a client says that it could not decode an event.
const decoding = "ClientWatchDecoding"

// undecodable is true for the end of a list or watch that comes neither from the API server nor from the way there.
func undecodable(err error) bool {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		details := status.Status().Details
		return details != nil && slices.ContainsFunc(details.Causes, func(c metav1.StatusCause) bool { return c.Type == decoding })
	}
	var network net.Error
	var address *url.Error
	return !errors.As(err, &network) && !errors.As(err, &address) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) &&
		!errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

func (s *sieve) wrap(inner http.RoundTripper) http.RoundTripper {
	return &sifting{inner: inner, sieve: s}
}

// sifting is a transport whose answers are sifted.
type sifting struct {
	inner http.RoundTripper
	sieve *sieve
}

// WrappedRoundTripper gives client-go the transport within, whose connections it closes.
func (t *sifting) WrappedRoundTripper() http.RoundTripper { return t.inner }

// RoundTrip implements http.RoundTripper.
func (t *sifting) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := t.inner.RoundTrip(r)
	if err != nil || !t.sieve.on.Load() || !ofCustomResources(r) || answer.StatusCode != http.StatusOK ||
		!strings.HasPrefix(answer.Header.Get("Content-Type"), "application/json") {
		return answer, err //nolint:wrapcheck // it is the transport's
	}
	ctx, body := r.Context(), answer.Body
	if r.URL.Query().Get("watch") != "" {
		answer.Body = t.sieve.watched(ctx, body)
		return answer, nil
	}
	answer.Body, err = t.sieve.listed(ctx, body)
	answer.ContentLength = -1
	answer.Header.Del("Content-Length")
	return answer, err
}

// ofCustomResources is true for a list or a watch of custom resources, but not of their metadata alone.
func ofCustomResources(r *http.Request) bool {
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	from := slices.Index(path, "apis") // an API server behind a proxy has more before that
	if r.Method != http.MethodGet || from < 0 || strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata") {
		return false
	}
	// apis/GROUP/VERSION/RESOURCE, or with namespaces/NAME before the last.
	n := len(path) - from
	return n == 4 || n == 6 && path[from+3] == "namespaces"
}

// head is what of an object can always be decoded.
type head struct {
	metav1.TypeMeta `json:",inline"`

	Metadata metav1.ObjectMeta `json:"metadata"`
}

// reads tells whether an object can be decoded, and what it is called if not.
func (s *sieve) reads(ctx context.Context, raw []byte, byDefault schema.GroupVersionKind) (h head, ok bool) {
	_, _, err := s.decoder.Decode(raw, &byDefault, nil)
	if err == nil || runtime.IsNotRegisteredError(err) || runtime.IsMissingKind(err) {
		return h, true
	}
	if unread := json.Unmarshal(raw, &h); unread != nil {
		return h, true // whoever reads it says what is wrong
	}
	if h.Kind == "" {
		h.SetGroupVersionKind(byDefault)
	}
	if s.isNews(h.Metadata.UID, h.Metadata.ResourceVersion) {
		log.FromContext(ctx).Error(err, "An object can't be decoded and is left out until somebody mends it",
			"kind", h.Kind, "group", h.GroupVersionKind().Group, "namespace", h.Metadata.Namespace, "name", h.Metadata.Name)
	}
	return h, false
}

// mostReported is how many objects are remembered as reported; who makes more is reported again.
const mostReported = 1000

// isNews is true for a version of an object that was not reported yet.
func (s *sieve) isNews(uid types.UID, version string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reported[uid] == version {
		return false
	}
	if len(s.reported) >= mostReported {
		clear(s.reported)
	}
	s.reported[uid] = version
	return true
}

// listed is a list without what can't be decoded.
func (s *sieve) listed(ctx context.Context, body io.ReadCloser) (io.ReadCloser, error) {
	defer body.Close()
	raw, err := io.ReadAll(body)
	if err != nil {
		return nil, fmt.Errorf("read the list: %w", err)
	}
	var list struct {
		metav1.TypeMeta `json:",inline"`

		Metadata json.RawMessage   `json:"metadata"`
		Items    []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return io.NopCloser(bytes.NewReader(raw)), nil // whoever reads it says what is wrong
	}
	kind := list.GroupVersionKind()
	kind.Kind = strings.TrimSuffix(kind.Kind, "List")
	all := len(list.Items)
	list.Items = slices.DeleteFunc(list.Items, func(item json.RawMessage) bool {
		_, ok := s.reads(ctx, item, kind)
		return !ok
	})
	if len(list.Items) < all {
		if raw, err = json.Marshal(list); err != nil {
			return nil, fmt.Errorf("encode the list: %w", err)
		}
	}
	return io.NopCloser(bytes.NewReader(raw)), nil
}

// watched is a watch in which what can't be decoded comes as deleted, if it was there before.
func (s *sieve) watched(ctx context.Context, body io.ReadCloser) io.ReadCloser {
	out, in := io.Pipe()
	go func() {
		events, sifted := json.NewDecoder(body), json.NewEncoder(in)
		for {
			var e metav1.WatchEvent
			err := events.Decode(&e)
			if err == nil && s.sift(ctx, &e) {
				err = sifted.Encode(&e)
			}
			if err != nil {
				in.CloseWithError(err)
				return
			}
		}
	}()
	return pipe{out, body}
}

// sift makes of an event what can be decoded, false for nothing.
func (s *sieve) sift(ctx context.Context, e *metav1.WatchEvent) bool {
	kind := watch.EventType(e.Type)
	if kind != watch.Added && kind != watch.Modified && kind != watch.Deleted {
		return true
	}
	h, ok := s.reads(ctx, e.Object.Raw, schema.GroupVersionKind{})
	if ok {
		return true
	}
	raw, err := json.Marshal(h)
	if err != nil || kind == watch.Added {
		return false
	}
	e.Type, e.Object.Raw = string(watch.Deleted), raw
	return true
}

// pipe ends what it reads from when it is closed.
type pipe struct {
	*io.PipeReader

	from io.Closer
}

// Close implements io.Closer.
func (p pipe) Close() error {
	return errors.Join(p.from.Close(), p.PipeReader.Close())
}
