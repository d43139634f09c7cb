// Package originals has what routers share that keep what a user's object was before they took it over.
package originals

// Replaced are those of the user's pairs, of labels or annotations, whose value ours replace; nil for none.
func Replaced(users, ours map[string]string) map[string]string {
	var out map[string]string
	for k := range ours {
		if had, ok := users[k]; ok {
			if out == nil {
				out = map[string]string{}
			}
			out[k] = had
		}
	}
	return out
}
