package inmemory

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// preset sets what is not there.
func preset(of fields, values fields) {
	for k, v := range values {
		if _, ok := of[k]; !ok {
			of[k] = v
		}
	}
}

func items(of fields, key string) (out []fields) {
	list, _ := of[key].([]any)
	for _, i := range list {
		if m, ok := i.(fields); ok {
			out = append(out, m)
		}
	}
	return out
}

// complete gives an object what Kubernetes sets where a user has set nothing, as far as objects of a fleet need any.
func complete(k Kind, of fields) {
	switch k.Resource {
	case "deployments":
		spec := sub(of, "spec")
		preset(spec, fields{
			"replicas": int64(1), "progressDeadlineSeconds": int64(600), "revisionHistoryLimit": int64(10),
			"strategy": fields{"type": "RollingUpdate", "rollingUpdate": fields{"maxSurge": "25%", "maxUnavailable": "25%"}},
		})
		completePod(sub(spec, "template", "spec"))
	case "services":
		spec := sub(of, "spec")
		preset(spec, fields{
			"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
			"ipFamilies": []any{"IPv4"}, "ipFamilyPolicy": "SingleStack",
		})
		preset(of, fields{"status": fields{"loadBalancer": fields{}}})
		for _, p := range items(spec, "ports") {
			preset(p, fields{"protocol": "TCP", "targetPort": p["port"]})
		}
	case "horizontalpodautoscalers":
		target := fields{"type": "Utilization", "averageUtilization": int64(80)}
		preset(sub(of, "spec"), fields{"metrics": []any{fields{"type": "Resource", "resource": fields{"name": "cpu", "target": target}}}})
	default:
	}
}

func completePod(spec fields) {
	preset(spec, fields{
		"dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler", "securityContext": fields{},
		"terminationGracePeriodSeconds": int64(30),
	})
	for _, c := range items(spec, "containers") {
		preset(c, fields{
			"imagePullPolicy": "IfNotPresent", "resources": fields{}, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
		})
		for _, p := range items(c, "ports") {
			preset(p, fields{"protocol": "TCP"})
		}
	}
	for _, v := range items(spec, "volumes") {
		if m, ok := v["configMap"].(fields); ok {
			preset(m, fields{"defaultMode": int64(420)})
		}
	}
}

// manage notes in managed fields whose the fields are that were written. They are half of what an object weighs on its
// way to a client.
func manage(before any, k Kind, w change) []any {
	all, _ := before.([]any)
	all = slices.DeleteFunc(slices.Clone(all), func(e any) bool {
		m, _ := e.(fields)
		return text(m, "manager") == w.by && text(m, "operation") == w.operation && text(m, "subresource") == w.subresource
	})
	if w.wrote == nil {
		return all
	}
	written := maps.Clone(w.wrote)
	delete(written, "apiVersion")
	delete(written, "kind")
	if meta, ok := written["metadata"].(fields); ok {
		meta = maps.Clone(meta)
		for _, key := range []string{"name", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"} {
			delete(meta, key)
		}
		if written["metadata"] = meta; len(meta) == 0 {
			delete(written, "metadata")
		}
	}
	if w.subresource == "status" {
		written = fields{"status": written["status"]}
	} else {
		delete(written, "status")
	}
	entry := fields{
		"manager": w.by, "operation": w.operation, "apiVersion": k.GroupVersion().String(), "time": time.Now().UTC().Format(time.RFC3339),
		"fieldsType": "FieldsV1", "fieldsV1": owned(written, false),
	}
	if w.subresource != "" {
		entry["subresource"] = w.subresource
	}
	return append(all, entry)
}

// owned are the names of fields as they stand in managed fields.
func owned(of any, inList bool) fields {
	out := fields{}
	m, ok := of.(fields)
	if !ok {
		return out
	}
	if inList {
		out["."] = fields{}
	}
	for k, v := range m {
		list, ok := v.([]any)
		if !ok {
			out["f:"+k] = owned(v, false)
			continue
		}
		all := fields{}
		for _, i := range list {
			if item, ok := i.(fields); ok {
				if key := keyOf(item); key != "" {
					all[key] = owned(item, true)
				}
			}
		}
		out["f:"+k] = all
	}
	return out
}

func keyOf(item fields) string {
	for _, key := range []string{"mountPath", "name", "type", "uid"} {
		if s := text(item, key); s != "" {
			return fmt.Sprintf("k:{%q:%q}", key, s)
		}
	}
	return ""
}
