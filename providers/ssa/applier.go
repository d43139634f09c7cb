// Package ssa writes objects by server-side apply with one field owner, and
// only when something differs, so that a settled object costs no request.
//
// An object differs when the annotation [AppliedAnnotation] does not hold the
// hash of the intent (the intent changed, perhaps by losing a field), or when
// the intent is not contained in the live object (somebody else changed one of
// our fields).
package ssa

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-delivery/sluice/api/ownership"
)

const (
	// FieldOwner is the field manager of every write.
	FieldOwner = "sluice"
	// AppliedAnnotation holds a versioned hash of the intent last applied.
	AppliedAnnotation = "sluice.dev/applied"
)

// Option changes how an intent is made or compared with the live object.
type Option func(*options)

type options struct {
	comparison

	edit func(map[string]any)
	key  string
	// sharedField is a path that others write too; version is set where desired only
	// repeats what the object has there in that version.
	sharedField []string
	version     string
	// before is asked before the intent is sent.
	before func(context.Context) error
}

// ProtoJSON says that the kind is a custom resource like those made from protobuf,
// as Istio's are: its lists are atomic, so that an element which somebody
// extended is drift, and an absent field is the same as 0 or an empty list.
func ProtoJSON(o *options) { o.proto = true }

// Edited has edit change the JSON form of desired, to say what its Go type
// cannot: an explicit 0 or empty list, a number that protobuf writes as a string. The live
// object is compared in the same form, which its Go type does not have either. edit must be a
// pure function of its argument, and the same for what it has made.
func Edited(edit func(object map[string]any)) Option {
	return func(o *options) { o.edit = edit }
}

// Keyed says that desired is a pure function of key, so that a settled object is
// known by the key alone and desired need not be encoded to compare it.
func Keyed(key string) Option {
	return func(o *options) { o.key = key }
}

// Sets says that desired sets a field which others write too, as the number of replicas: the
// object has another value as soon as they do, and that is no other intent.
func Sets(path ...string) Option {
	return func(o *options) { o.sharedField = path }
}

// Repeats says that desired only repeats what such a field has in a version of the object. It
// is no reason to write, and where something else is one, the write is refused with a conflict
// if the object has changed since: it would undo what was written there meanwhile. A key of
// such an intent must not depend on the field.
func Repeats(version string, path ...string) Option {
	return func(o *options) { o.sharedField, o.version = path, version }
}

// Before has check called before the intent is sent, for what costs too much to be looked at where
// nothing is. With its error nothing is.
func Before(check func(context.Context) error) Option {
	return func(o *options) { o.before = check }
}

// Applier applies intents. It is safe for concurrent use.
type Applier struct {
	client client.Client
	memory *memory
}

// New returns an Applier that reads through c, which is expected to answer
// from an informer cache, and writes with it.
func New(c client.Client) *Applier { return newApplier(c, clock.RealClock{}) }

func newApplier(c client.Client, now clock.PassiveClock) *Applier {
	return &Applier{client: c, memory: newMemory(now)}
}

// Apply makes the object express desired, which is everything that Sluice
// wants to own in it: a field that an earlier intent had and this one lacks is
// removed. Nothing is sent when nothing differs, nor while the cache has yet to
// show our last write of the same intent: where it shows no object at all, [Pending] says when to
// look again. Fields of others are left alone,
// except where both set the same one: then ours wins. What is marked as made for a
// Canary has no owner reference to one.
func (a *Applier) Apply(ctx context.Context, desired client.Object, opts ...Option) error {
	p, err := a.compare(ctx, desired, opts)
	switch {
	case err != nil:
		return err
	case p.referenced():
		return a.dereference(ctx, p.key, p.fingerprint, p.live)
	case p.state != differs:
		return nil
	}
	// The cache still shows the version that was found to be an old one: it would be refused again.
	if err := a.memory.refusal(p.key, p.intent.version); err != nil {
		return err
	}
	if p.before != nil {
		if err := p.before(ctx); err != nil {
			return err
		}
	}
	u := p.intent.object
	u.SetResourceVersion(p.intent.version)
	if p.live != nil && inherits(desired, p.live) {
		version, err := a.inherit(ctx, p.live, p.intent.version)
		if err != nil {
			return fmt.Errorf("apply %s: %w", p.key, err)
		}
		if p.intent.version != "" {
			u.SetResourceVersion(version)
		}
	}
	annotate(u, p.intent.hash)
	err = a.send(ctx, p.key, p.fingerprint, u)
	if p.intent.version != "" && apierrors.IsConflict(err) {
		a.memory.refused(p.key, p.intent.version, err)
	}
	if err != nil || !ownership.Marked(desired) {
		return err
	}
	return a.dereference(ctx, p.key, p.fingerprint, u)
}

// InSync reports whether the object expresses desired. It is false while the
// cache is older than our own last write.
func (a *Applier) InSync(ctx context.Context, desired client.Object, opts ...Option) (bool, error) {
	p, err := a.compare(ctx, desired, opts)
	return err == nil && p.state == same && !p.referenced(), err
}

// ApplyPartial applies u, a few fields of an object that is not ours, without
// leaving the annotation. It sends when u is not contained in live, the object
// as the cache has it, or live still has the annotation, and with it fields that Apply
// has set and u lacks; u gets the UID of live, so that an object deleted
// meanwhile is not created again (the error is then a conflict). Use either
// Apply or ApplyPartial on one object, never both: each removes what the other owns.
// Of the options those count that say how to compare.
func (a *Applier) ApplyPartial(ctx context.Context, u *unstructured.Unstructured, live client.Object, opts ...Option) error {
	o := options{}
	for _, opt := range opts {
		opt(&o)
	}
	u = u.DeepCopy()
	if u.GetUID() == "" && live.GetUID() != "" {
		u.SetUID(live.GetUID())
	}
	key := keyOf(u.GroupVersionKind(), u)
	fingerprint, err := fingerprintOf(u, o.comparison)
	if err != nil {
		return fmt.Errorf("apply %s: %w", key, err)
	}
	switch a.memory.recall(key, fingerprint, live.GetResourceVersion()) {
	case pending, same:
		return nil
	case differs:
		return a.send(ctx, key, fingerprint, u)
	case unknown:
	}
	actual, err := toMap(live)
	if err != nil {
		return fmt.Errorf("apply %s: %w", key, err)
	}
	// What Apply has written has fields of ours that u lacks, and they are to go.
	applied := live.GetAnnotations()[AppliedAnnotation] != ""
	if !applied && o.contains(withoutType(u.Object), actual) {
		a.memory.verified(key, fingerprint, live.GetResourceVersion())
		return nil
	}
	return a.send(ctx, key, fingerprint, u)
}

// Observed reports whether obj, as read from the cache, is at least as new as
// our last write to it. An object that we never wrote is observed.
func (a *Applier) Observed(obj client.Object) bool {
	gvk, err := a.client.GroupVersionKindFor(obj)
	if err != nil {
		return true
	}
	return a.memory.observed(keyOf(gvk, obj), obj.GetResourceVersion())
}

// Deleted notes that the cache has shown the deletion of obj: a write of ours that it had
// by then is not on its way any more, and where obj is wanted it is made again at once.
func (a *Applier) Deleted(obj client.Object) {
	gvk, err := a.client.GroupVersionKindFor(obj)
	if err != nil {
		return
	}
	a.memory.shown(keyOf(gvk, obj), obj.GetResourceVersion())
}

// Knows reports whether obj is in the very version in which it was last found,
// or made, to express what was wanted of it.
func (a *Applier) Knows(obj client.Object) bool {
	gvk, err := a.client.GroupVersionKindFor(obj)
	return err == nil && a.memory.knows(keyOf(gvk, obj), obj.GetResourceVersion())
}

// Wrote reports whether obj is in the very version that our last write gave it.
func (a *Applier) Wrote(obj client.Object) bool {
	gvk, err := a.client.GroupVersionKindFor(obj)
	return err == nil && a.memory.isOurs(keyOf(gvk, obj), obj.GetResourceVersion())
}

// Delete deletes obj if it still has the UID that obj carries (any UID when it
// has none). An object that is gone already is no error; one that the cache
// still shows after we deleted it costs no second request.
func (a *Applier) Delete(ctx context.Context, obj client.Object) error {
	gvk, err := a.client.GroupVersionKindFor(obj)
	if err != nil {
		return fmt.Errorf("delete %T: %w", obj, err)
	}
	key := keyOf(gvk, obj)
	if a.memory.isGone(key, obj.GetUID()) {
		return nil
	}
	opts := []client.DeleteOption{client.PropagationPolicy(metav1.DeletePropagationBackground)}
	if uid := obj.GetUID(); uid != "" {
		opts = append(opts, client.Preconditions{UID: &uid})
	}
	if err := a.client.Delete(ctx, obj, opts...); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	a.memory.deleted(key, obj.GetUID())
	return nil
}

// plan is the outcome of a comparison. intent is set when state is differs.
type plan struct {
	key         objectKey
	fingerprint fingerprint
	state       state
	intent      intent
	live        client.Object // as the cache has it, nil if there is none
	marked      bool          // the intent is for what is made for a Canary
	before      func(context.Context) error
}

// referenced tells whether nothing is to be done but to take references to Canaries
// away from what was made for one.
func (p plan) referenced() bool {
	return p.state == same && p.marked && ownership.Referenced(p.live)
}

func (a *Applier) compare(ctx context.Context, desired client.Object, opts []Option) (plan, error) {
	gvk, err := a.client.GroupVersionKindFor(desired)
	if err != nil {
		return plan{}, fmt.Errorf("compare %T: %w", desired, err)
	}
	o := options{}
	for _, opt := range opts {
		opt(&o)
	}
	p := plan{key: keyOf(gvk, desired), marked: ownership.Marked(desired), before: o.before}
	p.state, err = a.fill(ctx, &p, gvk, desired, o)
	if err != nil {
		return plan{}, fmt.Errorf("compare %s: %w", p.key, err)
	}
	return p, nil
}

func (a *Applier) fill(ctx context.Context, p *plan, gvk schema.GroupVersionKind, desired client.Object, o options) (state, error) {
	live, err := a.newLike(gvk, desired)
	if err != nil {
		return unknown, err
	}
	version, err := a.read(ctx, p.key, live)
	if err != nil {
		return unknown, err
	}
	if version != "" {
		p.live = live
	}
	if p.fingerprint, err = o.identify(desired); err != nil {
		return unknown, err
	}
	known := a.memory.recall(p.key, p.fingerprint, version)
	if known == pending && version == "" {
		pendingOf(ctx).note(grace)
	}
	if known == same || known == pending {
		return known, nil
	}
	if p.intent, err = o.intentOf(gvk, desired); err != nil {
		return unknown, err
	}
	if known == differs || live.GetAnnotations()[AppliedAnnotation] != p.intent.hash {
		return differs, nil
	}
	actual, err := toMap(live)
	if err != nil {
		return unknown, err
	}
	if o.edit != nil {
		actual = runtime.DeepCopyJSON(actual) // that of an unstructured object is the cache's own
		o.edit(actual)
	}
	if !o.contains(withoutType(p.intent.compared), actual) {
		return differs, nil
	}
	a.memory.verified(p.key, p.fingerprint, version)
	return same, nil
}

// read fills live from the cache and returns its version, "" for an object that
// does not exist.
func (a *Applier) read(ctx context.Context, key objectKey, live client.Object) (version string, err error) {
	err = a.client.Get(ctx, key.ObjectKey, live)
	switch {
	case err == nil && !a.memory.isGone(key, live.GetUID()):
		return live.GetResourceVersion(), nil
	case err == nil, apierrors.IsNotFound(err): // the cache may show what we deleted
		return "", nil
	default:
		return "", err
	}
}

// newLike returns an empty object of desired's form, so that the read is
// answered by the informer that the rest of the operator uses.
func (a *Applier) newLike(gvk schema.GroupVersionKind, desired client.Object) (client.Object, error) {
	if _, ok := desired.(*unstructured.Unstructured); ok {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(gvk)
		return u, nil
	}
	obj, err := a.client.Scheme().New(gvk)
	if err != nil {
		return nil, err
	}
	return obj.(client.Object), nil //nolint:forcetypeassert // same type as desired, which is one
}

func (a *Applier) send(ctx context.Context, key objectKey, fp fingerprint, u *unstructured.Unstructured) error {
	err := a.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(FieldOwner), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("apply %s: %w", key, err)
	}
	a.memory.wrote(key, fp, u.GetResourceVersion())
	log.FromContext(ctx).V(1).Info("Applied", "object", key.String(), "resourceVersion", u.GetResourceVersion())
	return nil
}
