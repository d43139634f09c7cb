package ssa

import "slices"

// comparison decides whether an intent is contained in a live object.
type comparison struct{ proto bool }

// contains reports whether every field of want is in got with the same value.
// Elements that have a name (containers, volumes, ports, owners) must each be
// contained in a live one of that name: the server merges such lists, so the
// other elements are somebody else's. All other lists must have the same
// length, element by element contained (equal for [ProtoJSON]).
func (c comparison) contains(want, got any) bool {
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if !ok {
			return false
		}
		for k, w := range want {
			if !c.containsField(w, got, k) {
				return false
			}
		}
		return true
	case []any:
		got, ok := got.([]any)
		return ok && c.containsList(want, got)
	default:
		return scalarEqual(want, got)
	}
}

func (c comparison) containsField(want any, got map[string]any, key string) bool {
	g, ok := got[key]
	if !ok {
		return c.proto && isZero(want)
	}
	return c.contains(want, g)
}

func (c comparison) containsList(want, got []any) bool {
	if !c.proto && named(want) {
		return !slices.ContainsFunc(want, func(w any) bool {
			return !slices.ContainsFunc(got, func(g any) bool { return c.contains(w, g) })
		})
	}
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if !c.contains(want[i], got[i]) {
			return false
		}
		// Containment both ways is equality.
		if c.proto && !c.contains(got[i], want[i]) {
			return false
		}
	}
	return true
}

func named(list []any) bool {
	return len(list) > 0 && !slices.ContainsFunc(list, func(e any) bool {
		m, _ := e.(map[string]any)
		return m["name"] == nil
	})
}

func scalarEqual(a, b any) bool {
	if a == b {
		return true
	}
	x, okX := number(a)
	y, okY := number(b)
	return okX && okY && x == y
}

func isZero(v any) bool {
	if list, ok := v.([]any); ok {
		return len(list) == 0
	}
	n, ok := number(v)
	return ok && n == 0
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case int32:
		return float64(v), true
	case int:
		return float64(v), true
	case float64:
		return v, true
	default:
		return 0, false
	}
}
