package routertest

import (
	"fmt"

	"pgregory.net/rapid"
)

// DrawTraffic draws spec.traffic of a Service of Knative, nil for none: shares of its revisions, which are NAME-00000 to
// NAME-00002, the newest of them, and addresses of their own for some. It does not draw what Flagger writes where NAME-00001 serves.
func DrawTraffic(t *rapid.T, name string) []any {
	var out []any
	left := int64(100)
	n := rapid.IntRange(0, 4).Draw(t, "entries")
	for i := range n {
		entry := map[string]any{}
		if i := rapid.IntRange(-1, 2).Draw(t, "revision"); i >= 0 {
			entry["revisionName"] = fmt.Sprintf("%s-%05d", name, i)
		} else {
			entry["latestRevision"] = true
		}
		share := rapid.Int64Range(0, left).Draw(t, "percent")
		if i == n-1 {
			share = left
		}
		left -= share
		tag := rapid.SampledFrom([]string{"", fmt.Sprint("tag", i)}).Draw(t, "tag")
		if tag != "" {
			entry["tag"] = tag
		}
		if share == 0 && tag == "" {
			continue
		}
		entry["percent"] = share
		out = append(out, entry)
	}
	if flaggersTraffic(out, name+"-00001") {
		return nil
	}
	return out
}

// flaggersTraffic tells whether it shares out between the newest revision and the one that serves, and does nothing else.
func flaggersTraffic(traffic []any, primary string) bool {
	to := map[any]bool{}
	for _, one := range traffic {
		entry, _ := one.(map[string]any)
		if entry["tag"] != nil {
			return false
		}
		to[entry["revisionName"]] = true
	}
	return len(traffic) == 2 && to[nil] && to[primary]
}
