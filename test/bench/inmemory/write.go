package inmemory

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

var (
	errPrecondition = errors.New("a precondition does not hold")
	errModified     = errors.New("the object has been modified; please apply your changes to the latest version and try again")
)

// intent is what a client wants of an object.
type intent struct {
	of              name
	by, subresource string
	body            []byte // JSON
	dry             bool
}

// create stores an object that is not there yet.
func (s *Server) create(c *collection, i intent) (*object, error) {
	is, err := decoded(i.body)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if i.of.name = text(sub(is, "metadata"), "name"); i.of.name == "" {
		return nil, apierrors.NewBadRequest("metadata.name: names are not generated here")
	}
	delete(is, "status")
	return s.write(c, change{of: i.of, by: i.by, operation: "Update", wrote: is, dry: i.dry, make: func(before fields) (fields, error) {
		if before != nil {
			return nil, apierrors.NewAlreadyExists(c.resource(), i.of.name)
		}
		delete(sub(is, "metadata"), "resourceVersion")
		return is, nil
	}})
}

// update replaces an object, or its status.
func (s *Server) update(c *collection, i intent) (*object, error) {
	is, err := decoded(i.body)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return s.write(c, change{of: i.of, by: i.by, operation: "Update", subresource: i.subresource, wrote: is, dry: i.dry, make: func(before fields) (fields, error) {
		if before == nil {
			return nil, apierrors.NewNotFound(c.resource(), i.of.name)
		}
		if err := c.unchanged(i.of, before, is); err != nil {
			return nil, err
		}
		return divided(before, is, i.subresource), nil
	}})
}

// unchanged refuses a write of what was read of an older version, or of another object.
func (c *collection) unchanged(of name, before, is fields) error {
	for _, key := range []string{"resourceVersion", "uid"} {
		if want := text(sub(is, "metadata"), key); want != "" && want != text(sub(before, "metadata"), key) {
			return apierrors.NewConflict(c.resource(), of.name, errModified)
		}
	}
	return nil
}

// divided is an object of which a write changes the status alone, or all else.
func divided(before, is fields, subresource string) fields {
	if subresource == "status" {
		before["status"] = is["status"]
		if before["status"] == nil {
			delete(before, "status")
		}
		return before
	}
	delete(is, "status")
	if status, ok := before["status"]; ok {
		is["status"] = status
	}
	return is
}

// patch changes an object by a patch of a kind.
func (s *Server) patch(c *collection, i intent, kind types.PatchType) (*object, error) {
	if kind == types.ApplyPatchType {
		return s.apply(c, i)
	}
	var wrote fields
	if kind != types.JSONPatchType {
		wrote, _ = decoded(i.body)
	}
	return s.write(c, change{of: i.of, by: i.by, operation: "Update", subresource: i.subresource, wrote: wrote, dry: i.dry, make: func(before fields) (fields, error) {
		if before == nil {
			return nil, apierrors.NewNotFound(c.resource(), i.of.name)
		}
		if err := c.unchanged(i.of, before, fields{"metadata": sub(orEmpty(wrote), "metadata")}); err != nil {
			return nil, err
		}
		raw, err := json.Marshal(before)
		if err != nil {
			return nil, err
		}
		patched, err := s.patched(c, raw, i.body, kind)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		is, err := decoded(patched)
		if err != nil {
			return nil, err
		}
		return divided(before, is, i.subresource), nil
	}})
}

func orEmpty(of fields) fields {
	if of == nil {
		return fields{}
	}
	return of
}

func (s *Server) patched(c *collection, raw, patch []byte, kind types.PatchType) ([]byte, error) {
	switch kind {
	case types.JSONPatchType:
		p, err := jsonpatch.DecodePatch(patch)
		if err != nil {
			return nil, err
		}
		return p.Apply(raw)
	case types.MergePatchType:
		return jsonpatch.MergePatch(raw, patch)
	case types.StrategicMergePatchType:
		of, err := s.scheme.New(c.kind.GroupVersionKind)
		if err != nil {
			return nil, err
		}
		return strategicpatch.StrategicMergePatch(raw, patch, of)
	case types.ApplyYAMLPatchType, types.ApplyCBORPatchType: // by apply
	}
	return nil, fmt.Errorf("patches of type %s are not served", kind)
}

// apply is a server-side apply, with force. What a manager has applied before and no more is taken away; lists are
// replaced, but for those of metadata.
func (s *Server) apply(c *collection, i intent) (*object, error) {
	want, err := decoded(i.body)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	who := manager{i.of, i.by}
	o, err := s.write(c, change{of: i.of, by: i.by, operation: "Apply", subresource: i.subresource, wrote: want, dry: i.dry, make: func(before fields) (fields, error) {
		if before == nil && text(sub(want, "metadata"), "uid") != "" {
			return nil, apierrors.NewConflict(c.resource(), i.of.name, errModified)
		}
		if before != nil {
			if err := c.unchanged(i.of, before, want); err != nil {
				return nil, err
			}
		}
		last, err := decoded(c.applied[who])
		if err != nil && c.applied[who] != nil {
			return nil, err
		}
		is := orEmpty(before)
		merge(is, last, want, "")
		return is, nil
	}})
	if err != nil || i.dry {
		return o, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.applied[who] = i.body
	return o, nil
}

// merge has an object be what is wanted, where something else was the last time.
func merge(is, last, want fields, path string) {
	for k, v := range last {
		if _, ok := want[k]; ok {
			continue
		}
		inner, ok := v.(fields)
		live, is2 := is[k].(fields)
		switch {
		case !ok || !is2:
			delete(is, k)
		default:
			if merge(live, inner, nil, path+"."+k); len(live) == 0 {
				delete(is, k)
			}
		}
	}
	for k, v := range want {
		switch v := v.(type) {
		case fields:
			if _, ok := is[k].(fields); !ok {
				is[k] = fields{}
			}
			before, _ := last[k].(fields)
			merge(is[k].(fields), before, v, path+"."+k)
		case []any:
			if path == ".metadata" {
				is[k] = united(is[k], last[k], v)
				continue
			}
			is[k] = v
		default:
			is[k] = v
		}
	}
}

// united is a list in which each entry may be somebody else's.
func united(is, last any, want []any) []any {
	in := func(list any, v any) bool {
		all, _ := list.([]any)
		return slices.ContainsFunc(all, func(other any) bool { return reflect.DeepEqual(other, v) })
	}
	var out []any
	all, _ := is.([]any)
	for _, v := range all {
		if in(want, v) || !in(last, v) {
			out = append(out, v)
		}
	}
	for _, v := range want {
		if !in(out, v) {
			out = append(out, v)
		}
	}
	return out
}
