package builtin

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

// podOf names a pod as Kubernetes does: the workload controller makes a base of the
// workload's name, for a Deployment with the hash of its ReplicaSet, and the API server
// cuts that and adds five letters.
func podOf(r *rand.Rand, kind, workload string, ordinal int) string {
	const alphabet = "bcdfghjklmnpqrstvwxz2456789"
	random := func(n int) string {
		var out strings.Builder
		for range n {
			out.WriteByte(alphabet[r.IntN(len(alphabet))])
		}
		return out.String()
	}
	base := workload + "-"
	switch kind {
	case kindStatefulSet:
		return fmt.Sprintf("%s-%d", workload, ordinal)
	case kindDaemonSet:
	default:
		base += random(6+r.IntN(5)) + "-"
	}
	return base[:min(len(base), 58)] + random(5)
}

// Every pod of a version is found by its name, however long that is, and none of the other
// version's is; where that can't be, it is said.
func TestPodsAreFound(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, kind := range []string{"Deployment", kindDaemonSet, kindStatefulSet} {
		refused := 0
		for length := 1; length <= 63; length++ {
			v := Vars{Target: strings.Repeat("podinfo-x", 7)[:length], Kind: kind}
			if strings.HasSuffix(v.Target, "-") {
				v.Target = v.Target[:length-1] + "y"
			}
			v.Primary = v.Target + "-primary"
			if tellApart(v) != nil {
				refused++
				continue
			}
			canary, primary := regexp.MustCompile("^(?:"+podPattern(kind, v.Target)+")$"), regexp.MustCompile("^(?:"+podPattern(kind, v.Primary)+")$")
			for n := range 300 {
				for workload, want := range map[string][2]bool{v.Target: {true, false}, v.Primary: {false, true}} {
					pod := podOf(r, kind, workload, n)
					if got := [2]bool{canary.MatchString(pod), primary.MatchString(pod)}; got != want {
						t.Fatalf("%s %s (%d characters), pod %s: taken for the canary's %t, for the primary's %t", kind, v.Target, length, pod, got[0], got[1])
					}
				}
			}
		}
		if want := map[string]int{"Deployment": 63 - 54, kindDaemonSet: 63 - 56}[kind]; refused != want {
			t.Errorf("%s: %d lengths are refused, want %d", kind, refused, want)
		}
	}
}

// Pods of other workloads whose names begin alike.
func TestOthersPods(t *testing.T) {
	for pod, want := range map[string]bool{
		"podinfo-5d4bb7fdf8-4bz8p":         true,
		"podinfo-primary-5d4bb7fdf8-4bz8p": false,
		"podinfo-worker-5d4bb7fdf8-4bz8p":  false,
		"podinfo-db-4bz8p":                 false,
		"podinfo-cache-0":                  false,
		"xpodinfo-5d4bb7fdf8-4bz8p":        false,
	} {
		if got := regexp.MustCompile("^(?:" + podPattern("Deployment", "podinfo") + ")$").MatchString(pod); got != want {
			t.Errorf("%s: %t", pod, got)
		}
	}
}
