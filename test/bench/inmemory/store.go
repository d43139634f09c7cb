package inmemory

import (
	"cmp"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// remembered is how many events of a kind there are for watches that begin in the past.
const remembered = 5000

// name is that of an object.
type name struct{ namespace, name string }

// object is an object as it is stored. It is never changed.
type object struct {
	name
	version int64
	raw     []byte
	labels  labels.Set
}

// collection has the objects of a kind.
type collection struct {
	kind     Kind
	objects  map[name]*object
	events   []*event // the last ones
	dropped  int64    // version of the last event that is not there any more
	watchers map[*watcher]bool
	// applied is what each field manager has applied to objects last.
	applied map[manager][]byte
}

type manager struct {
	name
	by string
}

// watcher is who watches a collection.
type watcher struct {
	queue []*event
	more  chan struct{}
}

// object of JSON, as it is worked on.
type fields = map[string]any

func decoded(raw []byte) (out fields, err error) { return out, utiljson.Unmarshal(raw, &out) }

// sub is the map of that name in a map, made where it is not there.
func sub(of fields, path ...string) fields {
	for _, p := range path {
		next, ok := of[p].(fields)
		if !ok {
			next = fields{}
			of[p] = next
		}
		of = next
	}
	return of
}

func text(of fields, key string) string {
	s, _ := of[key].(string)
	return s
}

func (c *collection) resource() schema.GroupResource {
	return schema.GroupResource{Group: c.kind.Group, Resource: c.kind.Resource}
}

// change is what a request makes of an object, nil for none that is there.
type change struct {
	of name
	by string
	// make gives the object as it is to be. It may change before, which is nil where there is none.
	make func(before fields) (fields, error)
	// operation is as it stands in managed fields, and wrote has the fields that are the writer's.
	operation, subresource string
	wrote                  fields
	dry                    bool
}

// write carries out a change, and returns what is stored then.
func (s *Server) write(c *collection, w change) (*object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := c.objects[w.of]
	var was, is fields
	var err error
	if before != nil {
		if was, err = decoded(before.raw); err != nil {
			return nil, err
		}
		if is, err = decoded(before.raw); err != nil {
			return nil, err
		}
	}
	if is, err = w.make(is); err != nil {
		return nil, err
	}
	meta := sub(is, "metadata")
	delete(meta, "managedFields")
	complete(c.kind, is)
	if was == nil {
		s.begin(c, w.of, is)
	} else {
		old := sub(was, "metadata")
		managed := old["managedFields"]
		delete(old, "managedFields")
		for _, key := range []string{"uid", "creationTimestamp", "generation", "resourceVersion", "namespace", "name", "deletionTimestamp"} {
			if v, ok := old[key]; ok {
				meta[key] = v
			} else if key != "deletionTimestamp" {
				delete(meta, key)
			}
		}
		if reflect.DeepEqual(was, is) {
			return before, nil
		}
		if n, ok := meta["generation"].(int64); ok && !reflect.DeepEqual(content(was), content(is)) {
			meta["generation"] = n + 1
		}
		meta["managedFields"] = managed
	}
	meta["managedFields"] = manage(meta["managedFields"], c.kind, w)
	return s.store(c, w.of, is, before, w.dry)
}

// firstUID is what all UIDs begin with that a server gives, so that those of copies can be others.
const firstUID = "5eed0000"

func newUID() string { return firstUID + uuid.NewString()[len(firstUID):] }

// begin gives a new object what the server gives it.
func (s *Server) begin(c *collection, of name, is fields) {
	meta := sub(is, "metadata")
	meta["name"], meta["uid"], meta["creationTimestamp"] = of.name, newUID(), time.Now().UTC().Format(time.RFC3339)
	if of.namespace != "" {
		meta["namespace"] = of.namespace
	}
	if c.kind.Group != "" {
		meta["generation"] = int64(1)
	}
	if c.kind.Resource == "services" {
		s.address++
		spec := sub(is, "spec")
		address := "10." + strconv.Itoa(s.address>>16&255) + "." + strconv.Itoa(s.address>>8&255) + "." + strconv.Itoa(s.address&255)
		if text(spec, "clusterIP") == "" {
			spec["clusterIP"] = address
		}
		spec["clusterIPs"] = []any{spec["clusterIP"]}
	}
}

// content is all that makes a new generation.
func content(of fields) fields {
	out := fields{}
	for k, v := range of {
		if k != "metadata" && k != "status" {
			out[k] = v
		}
	}
	return out
}

// store stores an object and tells those who watch. It is called with the lock.
func (s *Server) store(c *collection, of name, is fields, before *object, dry bool) (*object, error) {
	s.version++
	meta := sub(is, "metadata")
	meta["resourceVersion"] = strconv.FormatInt(s.version, 10)
	is["apiVersion"], is["kind"] = c.kind.GroupVersion().String(), c.kind.Kind
	raw, err := json.Marshal(is)
	if err != nil {
		return nil, err
	}
	o := &object{name: of, version: s.version, raw: raw, labels: labelsOf(meta)}
	if dry {
		return o, nil
	}
	finalizers, _ := meta["finalizers"].([]any)
	if meta["deletionTimestamp"] != nil && len(finalizers) == 0 {
		s.drop(c, o, before)
		return o, nil
	}
	c.objects[of] = o
	kind := "MODIFIED"
	if before == nil {
		kind = "ADDED"
	}
	s.publish(c, &event{kind: kind, object: o, before: before})
	s.controllers.wrote(c.kind.Resource, of, is)
	return o, nil
}

func labelsOf(meta fields) labels.Set {
	all, _ := meta["labels"].(fields)
	if len(all) == 0 {
		return nil
	}
	out := labels.Set{}
	for k := range all {
		out[k] = text(all, k)
	}
	return out
}

// drop deletes an object, whose last state is o. It is called with the lock.
func (s *Server) drop(c *collection, o, before *object) {
	delete(c.objects, o.name)
	for m := range c.applied {
		if m.name == o.name {
			delete(c.applied, m)
		}
	}
	s.publish(c, &event{kind: "DELETED", object: o, before: before})
	s.controllers.deleted(c.kind.Resource, o.name)
}

// remove deletes an object, or marks it as deleted while it has finalizers.
func (s *Server) remove(c *collection, of name, preconditions *metav1.Preconditions) (*object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := c.objects[of]
	if before == nil {
		return nil, apierrors.NewNotFound(c.resource(), of.name)
	}
	is, err := decoded(before.raw)
	if err != nil {
		return nil, err
	}
	meta := sub(is, "metadata")
	if p := preconditions; p != nil && (p.UID != nil && string(*p.UID) != text(meta, "uid") || p.ResourceVersion != nil && *p.ResourceVersion != text(meta, "resourceVersion")) {
		return nil, apierrors.NewConflict(c.resource(), of.name, errPrecondition)
	}
	meta["deletionTimestamp"] = time.Now().UTC().Format(time.RFC3339)
	return s.store(c, of, is, before, false)
}

// publish gives an event to all who watch.
func (s *Server) publish(c *collection, e *event) {
	c.events = append(c.events, e)
	if len(c.events) >= 2*remembered {
		c.dropped = c.events[remembered-1].object.version
		c.events = append([]*event{}, c.events[remembered:]...)
	}
	for w := range c.watchers {
		w.queue = append(w.queue, e)
		select {
		case w.more <- struct{}{}:
		default:
		}
	}
}

// watch begins to watch: what there was since a version, or what there is where that is "" or "0".
func (s *Server) watch(c *collection, since string, initial bool) (first []*event, w *watcher, version int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if initial || since == "" || since == "0" {
		for _, o := range c.objects {
			first = append(first, &event{kind: "ADDED", object: o})
		}
		// As a store with sorted keys gives them: what is of one namespace comes together.
		slices.SortFunc(first, func(a, b *event) int {
			return cmp.Or(cmp.Compare(a.object.namespace, b.object.namespace), cmp.Compare(a.object.name.name, b.object.name.name))
		})
	} else {
		from, err := strconv.ParseInt(since, 10, 64)
		if err != nil {
			return nil, nil, 0, apierrors.NewBadRequest("resourceVersion: " + since)
		}
		if from < c.dropped {
			return nil, nil, 0, apierrors.NewResourceExpired("too old resource version")
		}
		for _, e := range c.events {
			if e.object.version > from {
				first = append(first, e)
			}
		}
	}
	w = &watcher{more: make(chan struct{}, 1)}
	c.watchers[w] = true
	return first, w, s.version, nil
}

// taken are the events that have come to a watcher.
func (s *Server) taken(w *watcher) (all []*event, version int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, w.queue = w.queue, nil
	return all, s.version
}

func (s *Server) ended(c *collection, w *watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(c.watchers, w)
}

// list is what there is now.
func (s *Server) list(c *collection) (out []*object, version int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range c.objects {
		out = append(out, o)
	}
	return out, s.version
}

func (s *Server) get(c *collection, of name) (*object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := c.objects[of]; o != nil {
		return o, nil
	}
	return nil, apierrors.NewNotFound(c.resource(), of.name)
}
