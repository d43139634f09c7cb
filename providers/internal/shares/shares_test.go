package shares

import (
	"testing"

	"github.com/sluice-delivery/sluice/providers"
)

func TestOf(t *testing.T) {
	primary := Read{ToPrimary: true, Primary: 1, Total: 1}
	split := Read{ToPrimary: true, ToCanary: true, Primary: 2, Canary: 1, Total: 3}
	for name, tc := range map[string]struct {
		routes []Read
		want   providers.Traffic
		none   bool
	}{
		"none":                            {none: true},
		"the primary alone":               {routes: []Read{primary}, want: providers.Traffic{Primary: 100}},
		"weights are rounded":             {routes: []Read{split}, want: providers.Traffic{Primary: 67, Canary: 33}},
		"and up":                          {routes: []Read{{ToPrimary: true, ToCanary: true, Primary: 1, Canary: 2, Total: 3}}, want: providers.Traffic{Primary: 33, Canary: 67}},
		"a sum above 100":                 {routes: []Read{{ToPrimary: true, ToCanary: true, Primary: 100, Canary: 100, Total: 200}}, want: providers.Traffic{Primary: 50, Canary: 50}},
		"another destination":             {routes: []Read{{ToCanary: true, Canary: 1, Total: 4}}, want: providers.Traffic{Primary: 75, Canary: 25}},
		"no weight at all":                {routes: []Read{{ToPrimary: true, ToCanary: true}}, want: providers.Traffic{Primary: 100}},
		"those that match":                {routes: []Read{split, primary}, want: providers.Traffic{Primary: 67, Canary: 33, Matched: true}},
		"cookies come before":             {routes: []Read{{ToCanary: true, Canary: 1, Total: 1}, split}, want: providers.Traffic{Primary: 67, Canary: 33}},
		"copies":                          {routes: []Read{{ToPrimary: true, Primary: 1, Total: 1, Mirror: 30}}, want: providers.Traffic{Primary: 100, Mirror: 30}},
		"copies beside what does not get": {routes: []Read{primary, {ToPrimary: true, Primary: 1, Total: 1, Mirror: 5}}, want: providers.Traffic{Primary: 100, Mirror: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := Of(tc.routes); got != tc.want || ok == tc.none {
				t.Errorf("%+v %t, want %+v", got, ok, tc.want)
			}
		})
	}
}
