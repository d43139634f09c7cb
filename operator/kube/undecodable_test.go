package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

func TestUndecodableErrors(t *testing.T) {
	watching := apierrors.NewInternalError(errors.New("unable to decode an event"))
	watching.ErrStatus.Details = &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: decoding}}}
	for name, tc := range map[string]struct {
		err  error
		want bool
	}{
		"a field":             {errors.New("json: cannot unmarshal string into Go struct field"), true},
		"an event":            {fmt.Errorf("watch: %w", watching), true},
		"the API server":      {apierrors.NewForbidden(schema.GroupResource{}, "", nil), false},
		"an old version":      {apierrors.NewResourceExpired("old"), false},
		"the network":         {fmt.Errorf("list: %w", &net.OpError{Op: "dial", Err: errors.New("refused")}), false},
		"the end of the body": {fmt.Errorf("read: %w", io.ErrUnexpectedEOF), false},
		"the end":             {context.Canceled, false},
	} {
		if got := undecodable(tc.err); got != tc.want {
			t.Errorf("%s: %t, want %t", name, got, tc.want)
		}
	}
}

type answering func(*http.Request) (*http.Response, error)

func (f answering) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// The sieve is told by the form of a Deployment, whose spec is no string.
func TestSieve(t *testing.T) {
	const (
		good      = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"good","uid":"1"},"spec":{"replicas":1}}`
		odd       = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"odd","uid":"2"},"spec":"x"}`
		unknown   = `{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"name":"thing"},"spec":"x"}`
		bookmark  = `{"type":"BOOKMARK","object":{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"resourceVersion":"7"}}}`
		all, item = "/apis/apps/v1/deployments", "/apis/apps/v1/namespaces/test/deployments/odd"
		listOf    = `{"kind":"DeploymentList","apiVersion":"apps/v1","metadata":{"resourceVersion":"7"},"items":[%s]}`
	)
	event := func(kind, object string) string { return `{"type":"` + kind + `","object":` + object + "}" }
	for name, tc := range map[string]struct {
		path, accept, body string
		off                bool
		want               string // the names that are left, or events; empty: the body as it was
	}{
		"list":                   {path: all, body: fmt.Sprintf(listOf, good+","+odd), want: `"name":"good"`},
		"list of a namespace":    {path: "/apis/apps/v1/namespaces/test/deployments", body: fmt.Sprintf(listOf, odd+","+good), want: `"name":"good"`},
		"behind a proxy":         {path: "/k8s/clusters/c-1" + all, body: fmt.Sprintf(listOf, odd), want: `"items":[]`},
		"nothing has failed yet": {path: all, body: fmt.Sprintf(listOf, odd), off: true},
		"all good":               {path: all, body: fmt.Sprintf(listOf, good)},
		"unknown kinds":          {path: "/apis/example.com/v1/things", body: `{"kind":"ThingList","apiVersion":"example.com/v1","items":[` + unknown + `]}`},
		"one":                    {path: item, body: odd},
		"core":                   {path: "/api/v1/pods", body: fmt.Sprintf(listOf, odd)},
		"metadata":               {path: all, accept: "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", body: fmt.Sprintf(listOf, odd)},
		"no list":                {path: all, body: "busy"},
		"watch": {
			path: all + "?watch=true", body: event("ADDED", good) + event("ADDED", odd) + event("MODIFIED", odd) + event("DELETED", odd) + bookmark,
			want: `"type":"ADDED","object":{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"good" "type":"DELETED" "type":"DELETED" "type":"BOOKMARK"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			scheme := runtime.NewScheme()
			if err := appsv1.AddToScheme(scheme); err != nil {
				t.Fatal(err)
			}
			s := newSieve(scheme)
			s.on.Store(!tc.off)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://server"+tc.path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept", tc.accept)
			answer, err := s.wrap(answering(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(tc.body))}, nil
			})).RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			raw, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Fatal(err)
			}
			got := string(raw)
			if tc.want == "" {
				if got != tc.body {
					t.Errorf("it was changed to %s", got)
				}
				return
			}
			if strings.Contains(got, `"spec":"x"`) {
				t.Errorf("it still has what can't be decoded: %s", got)
			}
			if is, want := strings.Count(got, `"type":`), strings.Count(tc.want, `"type":`); is != want {
				t.Errorf("%d events in place of %d: %s", is, want, got)
			}
			rest := got
			for _, part := range strings.Split(tc.want, " ") {
				var found bool
				if _, rest, found = strings.Cut(rest, part); !found {
					t.Errorf("%s is not, or not in order, in %s", part, got)
				}
			}
		})
	}
}

// What is reported is remembered, but not without a bound: who makes many such objects has it in hand.
func TestReportedOnce(t *testing.T) {
	s := newSieve(runtime.NewScheme())
	for i := range 3 * mostReported {
		uid := types.UID(fmt.Sprint(i))
		if !s.isNews(uid, "1") || s.isNews(uid, "1") || !s.isNews(uid, "2") {
			t.Fatalf("object %d is not reported once for each version", i)
		}
	}
	if n := len(s.reported); n > mostReported {
		t.Errorf("%d are remembered", n)
	}
}
