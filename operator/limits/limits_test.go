package limits_test

import (
	"math"
	"runtime/debug"
	"testing"

	"github.com/sluice-delivery/sluice/operator/limits"
)

func TestSet(t *testing.T) {
	for name, tc := range map[string]struct {
		environment map[string]string
		growth      int
		memory      int64
		wantErr     bool
	}{
		"nothing is said":               {growth: 50, memory: math.MaxInt64},
		"the container has a limit":     {environment: map[string]string{limits.MemoryVariable: "536870912"}, growth: 50, memory: 536870912 / 100 * 90},
		"Go's own limit goes before it": {environment: map[string]string{limits.MemoryVariable: "536870912", "GOMEMLIMIT": "1GiB"}, growth: 50, memory: math.MaxInt64},
		"Go's own growth":               {environment: map[string]string{"GOGC": "200"}, growth: 100, memory: math.MaxInt64},
		"no number":                     {environment: map[string]string{limits.MemoryVariable: "512Mi"}, growth: 50, memory: math.MaxInt64, wantErr: true},
		"none at all":                   {environment: map[string]string{limits.MemoryVariable: "0"}, growth: 50, memory: math.MaxInt64, wantErr: true},
	} {
		t.Run(name, func(t *testing.T) {
			was := debug.SetGCPercent(100)
			limit := debug.SetMemoryLimit(math.MaxInt64)
			t.Cleanup(func() {
				debug.SetGCPercent(was)
				debug.SetMemoryLimit(limit)
			})
			if err := limits.Set(func(name string) string { return tc.environment[name] }); (err != nil) != tc.wantErr {
				t.Error(err)
			}
			if memory := debug.SetMemoryLimit(-1); memory != tc.memory {
				t.Errorf("the memory limit is %d, not %d", memory, tc.memory)
			}
			if growth := debug.SetGCPercent(100); growth != tc.growth {
				t.Errorf("the heap grows by %d %%, not %d %%", growth, tc.growth)
			}
		})
	}
}
