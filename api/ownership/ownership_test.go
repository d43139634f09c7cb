package ownership_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sluice-delivery/sluice/api/ownership"
	"github.com/sluice-delivery/sluice/api/v1beta1"
)

func canary(name string) *v1beta1.Canary {
	return &v1beta1.Canary{ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name, UID: types.UID("uid-of-" + name)}}
}

func reference(c *v1beta1.Canary) metav1.OwnerReference {
	return *metav1.NewControllerRef(c, v1beta1.GroupVersion.WithKind(v1beta1.CanaryKind))
}

func referenced(by ...metav1.OwnerReference) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "test", Name: "a", UID: "a1", ResourceVersion: "7", OwnerReferences: by}
}

func marked(name string) metav1.ObjectMeta {
	m := referenced()
	ownership.For(canary(name)).Mark(&m)
	return m
}

func annotated(pairs map[string]string) metav1.ObjectMeta {
	m := referenced()
	m.Annotations = pairs
	return m
}

func labelled(value string) metav1.ObjectMeta {
	m := referenced()
	m.Labels = map[string]string{ownership.Label: value}
	return m
}

var shop = metav1.OwnerReference{APIVersion: "acme.io/v1", Kind: "Shop", Name: "theirs", UID: "shop", Controller: new(true)}

func TestOf(t *testing.T) {
	again := canary("podinfo")
	again.UID = "another"
	mine := reference(canary("podinfo"))
	plain := mine
	plain.Controller = nil
	namesake := mine
	namesake.APIVersion = "acme.io/v1"
	both := marked("podinfo")
	both.OwnerReferences = []metav1.OwnerReference{shop}
	long := strings.Repeat("a", 80)
	for name, tc := range map[string]struct {
		live       metav1.ObjectMeta
		owner      ownership.Owner // the zero value: that of podinfo
		want       ownership.Ownership
		wantRemote ownership.Ownership // in the eyes of a podinfo in another cluster
	}{
		"nobody's":                            {live: referenced(), want: ownership.Users, wantRemote: ownership.Users},
		"marked":                              {live: marked("podinfo"), want: ownership.Ours, wantRemote: ownership.Others},
		"marked for another":                  {live: marked("other"), want: ownership.Others, wantRemote: ownership.Others},
		"without annotation":                  {live: labelled("podinfo"), want: ownership.Ours, wantRemote: ownership.Others},
		"another's label":                     {live: labelled("other"), want: ownership.Others, wantRemote: ownership.Others},
		"without label":                       {live: annotated(map[string]string{ownership.Annotation: "podinfo"}), want: ownership.Ours, wantRemote: ownership.Others},
		"by an older version":                 {live: referenced(mine), want: ownership.Ours, wantRemote: ownership.Ours},
		"no controller":                       {live: referenced(plain), want: ownership.Ours, wantRemote: ownership.Ours},
		"of the Canary that was there before": {live: referenced(reference(again)), want: ownership.Ours, wantRemote: ownership.Others},
		"of another Canary":                   {live: referenced(reference(canary("other"))), want: ownership.Others, wantRemote: ownership.Others},
		"a Canary of another API":             {live: referenced(namesake), want: ownership.Others, wantRemote: ownership.Others},
		"another controller":                  {live: referenced(shop), want: ownership.Others, wantRemote: ownership.Others},
		"marked, and another controller":      {live: both, want: ownership.Others, wantRemote: ownership.Others},
		"marked from another cluster": {
			live: annotated(map[string]string{"sluice.dev/owner": "podinfo/uid-of-podinfo"}), want: ownership.Ours, wantRemote: ownership.Ours,
		},
		"marked from a third cluster": {
			live: annotated(map[string]string{"sluice.dev/owner": "podinfo/other"}), want: ownership.Others, wantRemote: ownership.Others,
		},
		"of a Canary that is gone":      {live: marked("other"), owner: ownership.For(canary("podinfo"), "other"), want: ownership.Ours, wantRemote: ownership.Others},
		"of a third that is not":        {live: marked("third"), owner: ownership.For(canary("podinfo"), "other"), want: ownership.Others, wantRemote: ownership.Others},
		"its own while another is gone": {live: marked("podinfo"), owner: ownership.For(canary("podinfo"), "other"), want: ownership.Ours, wantRemote: ownership.Others},
		"a long name, annotation lost":  {live: labelled(ownership.LabelValue(long)), owner: ownership.For(canary(long)), want: ownership.Ours, wantRemote: ownership.Others},
	} {
		t.Run(name, func(t *testing.T) {
			owner := tc.owner
			if cmp.Equal(owner, ownership.Owner{}, cmp.AllowUnexported(ownership.Owner{})) {
				owner = ownership.For(canary("podinfo"))
			}
			if got := owner.Of(&tc.live); got != tc.want || owner.Owns(&tc.live) != (tc.want == ownership.Ours) {
				t.Errorf("got %d, want %d", got, tc.want)
			}
			if got := ownership.Remote(canary("podinfo")).Of(&tc.live); got != tc.wantRemote {
				t.Errorf("in another cluster got %d, want %d", got, tc.wantRemote)
			}
		})
	}
}

func TestMark(t *testing.T) {
	users := metav1.ObjectMeta{
		Labels:      map[string]string{"team": "a", ownership.Label: "spoofed", "app.kubernetes.io/managed-by": "Helm"},
		Annotations: map[string]string{"note": "b", ownership.Annotation: "spoofed"},
	}
	for name, tc := range map[string]struct {
		owner                       ownership.Owner
		wantLabels, wantAnnotations map[string]string
	}{
		"its own cluster": {
			owner:           ownership.For(canary("podinfo")),
			wantLabels:      map[string]string{"team": "a", "sluice.dev/canary": "podinfo", "app.kubernetes.io/managed-by": "Helm"},
			wantAnnotations: map[string]string{"note": "b", "sluice.dev/canary": "podinfo"},
		},
		"a Canary that was there before is not named": {
			owner:           ownership.For(canary("podinfo"), "gone"),
			wantLabels:      map[string]string{"team": "a", "sluice.dev/canary": "podinfo", "app.kubernetes.io/managed-by": "Helm"},
			wantAnnotations: map[string]string{"note": "b", "sluice.dev/canary": "podinfo"},
		},
		"another cluster": {
			owner:           ownership.Remote(canary("podinfo")),
			wantLabels:      map[string]string{"team": "a", "sluice.dev/canary": "spoofed", "app.kubernetes.io/managed-by": "Helm"},
			wantAnnotations: map[string]string{"note": "b", "sluice.dev/canary": "spoofed", "sluice.dev/owner": "podinfo/uid-of-podinfo"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			intent := users.DeepCopy()
			tc.owner.Mark(intent)
			if diff := cmp.Diff(tc.wantLabels, intent.Labels); diff != "" {
				t.Errorf("labels (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(tc.wantAnnotations, intent.Annotations); diff != "" {
				t.Errorf("annotations (-want +got)\n%s", diff)
			}
			if !ownership.Marked(intent) || len(intent.OwnerReferences) > 0 || users.Labels[ownership.Label] != "spoofed" {
				t.Error("it is not marked, or the user's labels were changed")
			}
		})
	}
	if ownership.Marked(&metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}) {
		t.Error("what nobody marked is marked")
	}
}

// patched is what a server makes of an object and a patch.
func patched(t *testing.T, now metav1.ObjectMeta, kind types.PatchType, patch []byte) (metav1.ObjectMeta, error) {
	t.Helper()
	o := &corev1.ConfigMap{ObjectMeta: now}
	server := fake.NewClientBuilder().WithObjects(o).Build()
	err := server.Patch(t.Context(), o, client.RawPatch(kind, patch))
	return o.ObjectMeta, err
}

// merged is an object after a JSON merge patch of its metadata.
func merged(t *testing.T, live metav1.ObjectMeta, metadata map[string]any) metav1.ObjectMeta {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		t.Fatal(err)
	}
	out, err := patched(t, live, types.MergePatchType, patch)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestClaimAndLetGo(t *testing.T) {
	owner := ownership.For(canary("podinfo"))
	theirs := shop
	theirs.Controller = nil
	old := referenced(theirs, reference(canary("podinfo")))
	old.Labels, old.Annotations = map[string]string{"team": "a"}, map[string]string{"note": "b"}
	unlabelled, unannotated := marked("podinfo"), marked("podinfo")
	delete(unlabelled.Labels, ownership.Label)
	delete(unannotated.Annotations, ownership.Annotation)
	for name, tc := range map[string]struct {
		live metav1.ObjectMeta
		want bool // something is to be written
	}{
		"as it must be":            {live: marked("podinfo")},
		"of an older version":      {live: old, want: true},
		"without the label":        {live: unlabelled, want: true},
		"without the annotation":   {live: unannotated, want: true},
		"of a Canary that is gone": {live: marked("gone"), want: true},
	} {
		t.Run(name, func(t *testing.T) {
			patch := owner.Claim(&tc.live)
			if (patch != nil) != tc.want {
				t.Fatalf("patch %v", patch)
			}
			if !tc.want {
				return
			}
			got := merged(t, tc.live, patch)
			if !owner.Owns(&got) || owner.Claim(&got) != nil || ownership.Referenced(&got) {
				t.Errorf("it is not claimed: %+v", got)
			}
			if got.Labels["team"] != tc.live.Labels["team"] || got.Annotations["note"] != tc.live.Annotations["note"] {
				t.Errorf("labels %v, annotations %v", got.Labels, got.Annotations)
			}
			if ownership.Referenced(&tc.live) && patch["resourceVersion"] != "7" {
				t.Error("another's reference, which came meanwhile, would be lost")
			}
			free := merged(t, got, ownership.LetGo(&got))
			if owner.Of(&free) != ownership.Users || free.Labels["team"] != tc.live.Labels["team"] {
				t.Errorf("it is not let go of: %+v", free)
			}
		})
	}
	claimed := merged(t, old, owner.Claim(&old))
	if diff := cmp.Diff([]metav1.OwnerReference{theirs}, claimed.OwnerReferences); diff != "" {
		t.Errorf("references of others (-want +got)\n%s", diff)
	}
	free := merged(t, old, ownership.LetGo(&old))
	if owner.Of(&free) != ownership.Users {
		t.Errorf("one of an older version is not let go of: %+v", free)
	}
}

func TestDereference(t *testing.T) {
	theirs := shop
	theirs.Controller = nil
	plain := reference(canary("other"))
	plain.Controller = nil
	for name, tc := range map[string]struct {
		live, now metav1.ObjectMeta // as it was read, and as it is when the patch comes
		want      []metav1.OwnerReference
		wantNone  bool // nothing to be sent
		refused   bool
	}{
		"nothing to take away": {live: referenced(theirs), wantNone: true},
		"one":                  {live: referenced(reference(canary("podinfo"))), now: referenced(reference(canary("podinfo")))},
		"among others": {
			live: referenced(reference(canary("podinfo")), theirs, plain), now: referenced(reference(canary("podinfo")), theirs, plain),
			want: []metav1.OwnerReference{theirs},
		},
		"others have come before it": {live: referenced(plain), now: referenced(theirs, plain), refused: true},
		"it was made anew": {
			live: referenced(plain), now: func() metav1.ObjectMeta { m := referenced(plain); m.UID = "a2"; return m }(), refused: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := ownership.Dereference(&tc.live)
			if err != nil {
				t.Fatal(err)
			}
			if raw == nil != tc.wantNone {
				t.Fatalf("patch %s", raw)
			}
			if tc.wantNone {
				return
			}
			got, err := patched(t, tc.now, types.JSONPatchType, raw)
			if (err != nil) != tc.refused {
				t.Fatalf("got %+v, %v", got, err)
			}
			if tc.refused {
				return
			}
			if diff := cmp.Diff(tc.want, got.OwnerReferences, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestNames(t *testing.T) {
	elsewhere := annotated(map[string]string{"sluice.dev/owner": "podinfo/u9"})
	for name, tc := range map[string]struct {
		live               metav1.ObjectMeta
		wantCanary, wantBy string
	}{
		"marked":              {live: marked("podinfo"), wantCanary: "podinfo", wantBy: "Canary podinfo"},
		"by an older version": {live: referenced(reference(canary("podinfo"))), wantCanary: "podinfo", wantBy: "Canary podinfo"},
		"without annotation":  {live: labelled("podinfo"), wantBy: "Canary podinfo"},
		"another controller":  {live: referenced(shop), wantBy: "Shop theirs"},
		"another cluster's":   {live: elsewhere, wantBy: "Canary podinfo with UID u9, in another cluster or deleted there without its finalizer"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ownership.CanaryOf(&tc.live); got != tc.wantCanary {
				t.Errorf("made for %q", got)
			}
			if got := ownership.Name(&tc.live); got != tc.wantBy {
				t.Errorf("belongs to %q", got)
			}
		})
	}
}

// What has lost its annotation is found by the same key.
func TestKey(t *testing.T) {
	for _, name := range []string{"podinfo", strings.Repeat("payments.", 10) + "eu"} {
		m := marked(name)
		if got, want := ownership.Key(&m), ownership.LabelValue(name); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		kept := metav1.ObjectMeta{}
		kept.Labels, kept.Annotations = ownership.Keep(m.Labels, m.Annotations)
		if !ownership.For(canary(name)).Owns(&kept) || len(kept.Labels) != 1 || len(kept.Annotations) != 1 {
			t.Errorf("kept %+v", kept)
		}
		delete(m.Annotations, ownership.Annotation)
		if got, want := ownership.Key(&m), ownership.LabelValue(name); got != want {
			t.Errorf("without the annotation got %q, want %q", got, want)
		}
	}
	if got := ownership.Key(&metav1.ObjectMeta{}); got != "" {
		t.Errorf("nobody's has %q", got)
	}
}

func TestLabelValue(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{
		"podinfo", "my.app", strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("a", 65),
		strings.Repeat("a", 51) + "-.-.b" + strings.Repeat("c", 20), strings.Repeat("a.b-", 50),
	} {
		v := ownership.LabelValue(name)
		if problems := validation.IsValidLabelValue(v); len(problems) > 0 {
			t.Errorf("%s: %v", v, problems)
		}
		if len(name) <= 63 && v != name {
			t.Errorf("%s has become %s", name, v)
		}
		if other, taken := seen[v]; taken {
			t.Errorf("%s and %s have the same value", name, other)
		}
		seen[v] = name
	}
}
