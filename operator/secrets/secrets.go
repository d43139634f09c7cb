// Package secrets reads the contents of Secrets that specs refer to, for those who
// may have them. Who writes a Canary names both a Secret and the server that gets it,
// and may not be allowed to read either: so it is the Secret that says what it is for.
//
// A cache of contents would be a copy of the cluster's secrets in this process; only
// those that are in use are kept here, and each is read once for each of its versions.
package secrets

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-delivery/sluice/webhooks"
)

// Annotations of a Secret by which its owner says what it may be used for. A Secret
// with one of them needs both.
const (
	// UsedForAnnotation lists purposes, comma separated.
	UsedForAnnotation = "sluice.dev/used-for"
	// HostsAnnotation lists the hosts that may get it, comma separated: names, *.suffix
	// for all names below the suffix, or * for every host.
	HostsAnnotation = "sluice.dev/hosts"
)

// Purpose is what a Secret is used for.
type Purpose string

// Purposes.
const (
	// Metrics are Prometheus servers of Canaries and providers of MetricTemplates.
	Metrics Purpose = "metrics"
	// Hooks are calls of hooks and gates.
	Hooks Purpose = "hooks"
	// Alerts are AlertProviders.
	Alerts Purpose = "alerts"
)

// Use is what somebody wants a Secret for.
type Use struct {
	Purpose Purpose
	// Host gets what the Secret holds. Empty where the Secret itself, or nobody who writes
	// specs, decides who gets it.
	Host string
}

// ErrNotFound says that there is no such Secret.
var ErrNotFound = errors.New("there is no such Secret")

// RefusedError says that a Secret is not for what it is wanted for, until somebody who may
// write Secrets changes it.
type RefusedError struct {
	// Secret is its name and Namespace where it is.
	Namespace, Secret string
	// Why says what it may not be used for, and what would allow it.
	Why string
}

// Error implements error.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("the Secret %s in the namespace %s %s", e.Secret, e.Namespace, e.Why)
}

// AsRefused gives the RefusedError that err is, or nil.
func AsRefused(err error) *RefusedError {
	var e *RefusedError
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// never are the types of Secrets that are for the cluster and its tools alone: their keys would open more than
// whoever names them in a spec can open.
var never = []corev1.SecretType{
	corev1.SecretTypeServiceAccountToken, corev1.SecretTypeBootstrapToken, corev1.SecretTypeDockercfg,
	corev1.SecretTypeDockerConfigJson, corev1.SecretTypeSSHAuth, "helm.sh/release.v1",
}

// most is how many contents are kept at once.
const most = 1024

// Reader reads Secrets. It may be used by many at once.
type Reader struct {
	metadata client.Reader
	live     client.Reader
	unmarked bool
	in       []string

	mu    sync.Mutex
	known map[types.NamespacedName]content
}

type content struct {
	uid     types.UID
	version string
	kind    corev1.SecretType
	owner   metav1.ObjectMeta // its name, and what its owner says
	data    map[string][]byte
}

// New gives a Reader. metadata reads the metadata of Secrets from a cache, live
// reads Secrets from the API server. unmarked allows those that have none of the annotations,
// as Flagger does. The operator may read those of the namespaces in; none are all.
func New(metadata, live client.Reader, unmarked bool, in ...string) *Reader {
	return &Reader{metadata: metadata, live: live, unmarked: unmarked, in: in, known: map[types.NamespacedName]content{}}
}

// Data gives the content of a Secret, which must not be changed. A Secret that
// does not exist is ErrNotFound, one that is not for this use a [*RefusedError].
func (r *Reader) Data(ctx context.Context, namespace, name string, use Use) (map[string][]byte, error) {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	if len(r.in) > 0 && !slices.Contains(r.in, namespace) {
		return nil, &RefusedError{Namespace: namespace, Secret: name, Why: "can't be read: the operator reads Secrets in " + strings.Join(r.in, ", ") + " only (-secret-namespaces)"}
	}
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	if err := r.metadata.Get(ctx, key, meta); err != nil {
		return nil, r.failed(key, err)
	}
	is, ok := r.recall(key, meta)
	if !ok {
		secret := &corev1.Secret{}
		if err := r.live.Get(ctx, key, secret); err != nil {
			return nil, r.failed(key, err)
		}
		is = contentOf(secret)
		r.remember(key, is)
	}
	if err := r.consents(is, use); err != nil {
		return nil, err
	}
	return is.data, nil
}

// contentOf keeps of a Secret what is needed of it: nothing of one that is never used, and of its annotations those that
// say what it is for, which the cache of metadata does not have.
func contentOf(s *corev1.Secret) content {
	is := content{uid: s.UID, version: s.ResourceVersion, kind: s.Type, data: s.Data}
	is.owner = metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name}
	for _, key := range []string{UsedForAnnotation, HostsAnnotation} {
		if value, ok := s.Annotations[key]; ok {
			metav1.SetMetaDataAnnotation(&is.owner, key, value)
		}
	}
	if slices.Contains(never, is.kind) {
		is.data = nil
	}
	return is
}

func refused(o metav1.Object, format string, args ...any) error {
	return &RefusedError{Namespace: o.GetNamespace(), Secret: o.GetName(), Why: fmt.Sprintf(format, args...)}
}

// Marked tells whether the owner of a Secret has said what it is for.
func Marked(o metav1.Object) bool {
	a := o.GetAnnotations()
	_, uses := a[UsedForAnnotation]
	_, hosts := a[HostsAnnotation]
	return uses || hosts
}

// consents asks the type and the annotations of a Secret.
func (r *Reader) consents(is content, use Use) error {
	o := &is.owner
	if slices.Contains(never, is.kind) {
		return refused(o, "is of type %s, which is never sent anywhere: put what the server asks for into a Secret of its own", is.kind)
	}
	if !Marked(o) {
		if r.unmarked {
			return nil
		}
		return refused(o, "does not say that it may be used: who owns it sets its annotations %s: %s and %s: %s", UsedForAnnotation, use.Purpose, HostsAnnotation, use.host())
	}
	a := o.GetAnnotations()
	if !slices.Contains(listed(a[UsedForAnnotation]), string(use.Purpose)) {
		return refused(o, "may not be used for %s: its annotation %s is %q", use.Purpose, UsedForAnnotation, a[UsedForAnnotation])
	}
	if use.Host != "" && !webhooks.MatchesHost(listed(a[HostsAnnotation]), use.Host) {
		return refused(o, "may not be sent to %s: its annotation %s is %q", use.Host, HostsAnnotation, a[HostsAnnotation])
	}
	return nil
}

func (u Use) host() string {
	if u.Host == "" {
		return "'*'"
	}
	return u.Host
}

func listed(value string) []string {
	var out []string
	for v := range strings.SplitSeq(value, ",") {
		if v = strings.TrimSpace(v); v != "" {
			out = append(out, v)
		}
	}
	return out
}

func (r *Reader) failed(key types.NamespacedName, err error) error {
	if apierrors.IsNotFound(err) {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.known, key)
		return fmt.Errorf("secret %s: %w", key, ErrNotFound)
	}
	return fmt.Errorf("read secret %s: %w", key, err)
}

func (r *Reader) recall(key types.NamespacedName, is *metav1.PartialObjectMetadata) (content, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.known[key]
	return c, ok && c.uid == is.UID && c.version == is.ResourceVersion
}

func (r *Reader) remember(key types.NamespacedName, c content) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.known[key]; !ok && len(r.known) >= most {
		for other := range r.known { // any: it is read again when it is asked for
			delete(r.known, other)
			break
		}
	}
	r.known[key] = c
}
