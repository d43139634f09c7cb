package configs

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

// A copy of a config whose name is as long as names can be has a name that the API server takes, and its own.
func TestNamesOfCopies(t *testing.T) {
	long := strings.Repeat("c", 250)
	for _, source := range []string{"settings", long + "a", long + "b", strings.Repeat("c", 235) + "." + long[:15]} {
		names := copyNames(source, "podinfo")
		for _, name := range names {
			if wrong := validation.IsDNS1123Subdomain(name); len(wrong) > 0 || !strings.HasSuffix(name, "-primary") {
				t.Errorf("%s: %s: %v", source, name, wrong)
			}
		}
		if names[0] == names[1] {
			t.Errorf("%s: both are %s", source, names[0])
		}
	}
	if copyNames(long+"a", "x")[0] == copyNames(long+"b", "x")[0] {
		t.Error("two configs have one copy")
	}
	if got := copyNames("settings", "podinfo"); got[0] != "settings-primary" || got[1] != "settings-podinfo-primary" {
		t.Errorf("got %q", got)
	}
}
