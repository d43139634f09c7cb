package kube

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// configMaps streams some ConfigMaps, each with the label of, as an API server does.
func configMaps(all ...[3]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		const object = `{"type":%q,"object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"1",%s}}}` + "\n"
		for _, o := range all {
			fmt.Fprintf(w, object, "ADDED", fmt.Sprintf(`"namespace":%q,"name":%q,"labels":{"of":%q}`, o[0], o[1], o[2]))
		}
		fmt.Fprintf(w, object, "BOOKMARK", `"annotations":{"k8s.io/initial-events-end":"true"}`)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
}

// What has an index of single namespaces is found in each as by an index of controller-runtime, and nobody is given an
// empty list who looks for it in all.
func TestIndexInNamespace(t *testing.T) {
	server := httptest.NewServer(configMaps([3]string{"a", "one", "x"}, [3]string{"a", "two", "y"}, [3]string{"b", "three", "x"}))
	defer server.Close()
	defer server.CloseClientConnections()
	c, err := NewCache()(&rest.Config{Host: server.URL}, cache.Options{Scheme: clientgoscheme.Scheme, Mapper: KnownMapper(clientgoscheme.Scheme)})
	if err != nil {
		t.Fatal(err)
	}
	of := func(o client.Object) []string { return []string{o.GetLabels()["of"]} }
	if err := IndexInNamespace(t.Context(), c, &corev1.ConfigMap{}, "narrow", of); err != nil {
		t.Fatal(err)
	}
	if err := c.IndexField(t.Context(), &corev1.ConfigMap{}, "wide", of); err != nil {
		t.Fatal(err)
	}
	go func() { _ = c.Start(t.Context()) }() // it ends with the test
	if !c.WaitForCacheSync(t.Context()) {
		t.Fatal("it is not read")
	}
	for _, tc := range []struct {
		namespace, value string
		want             []string
	}{
		{"a", "x", []string{"one"}},
		{"a", "y", []string{"two"}},
		{"b", "x", []string{"three"}},
		{"b", "y", nil},
		{"c", "x", nil},
	} {
		for _, index := range []string{"narrow", "wide"} {
			var list corev1.ConfigMapList
			if err := c.List(t.Context(), &list, client.InNamespace(tc.namespace), client.MatchingFields{index: tc.value}); err != nil {
				t.Fatal(err)
			}
			var got []string
			for i := range list.Items {
				got = append(got, list.Items[i].Name)
			}
			if fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("%s in %s by the index that is %s: %v, want %v", tc.value, tc.namespace, index, got, tc.want)
			}
		}
	}
	var list corev1.ConfigMapList
	if err := c.List(t.Context(), &list, client.MatchingFields{"wide": "x"}); err != nil || len(list.Items) != 2 {
		t.Errorf("in all namespaces: %d, %v", len(list.Items), err)
	}
	if err := c.List(t.Context(), &list, client.MatchingFields{"narrow": "x"}); err == nil {
		t.Errorf("what is found in single namespaces is looked for in all, and %d are found", len(list.Items))
	}
}
