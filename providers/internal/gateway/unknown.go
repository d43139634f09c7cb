package gateway

import (
	"maps"

	"github.com/sluice-delivery/sluice/providers/internal/gateway/rules"
)

// knownFields are those of a rule that our Go types know.
var knownFields = map[string]bool{
	"name": true, "matches": true, "filters": true, "backendRefs": true, "timeouts": true, "retry": true, "sessionPersistence": true,
}

// unknownFields carries over what a newer version of the API has in a user's rules and our Go
// types do not know: a rule that leads elsewhere is as he wrote it, and one that is shared out
// keeps its own fields. It is nil where there is nothing to carry over.
func unknownFields(before *original, planned []rules.Planned) func(map[string]any) {
	if before == nil {
		return nil
	}
	had, _ := before.Spec["rules"].([]any)
	if len(had) == 0 {
		return nil
	}
	return func(object map[string]any) {
		spec, _ := object["spec"].(map[string]any)
		list, _ := spec["rules"].([]any)
		for i := range list {
			if i >= len(planned) || planned[i].Source >= len(had) {
				continue
			}
			users, _ := had[planned[i].Source].(map[string]any)
			if planned[i].Verbatim {
				list[i] = maps.Clone(users)
				continue
			}
			rule, _ := list[i].(map[string]any)
			for field, value := range users {
				if !knownFields[field] {
					rule[field] = value
				}
			}
		}
	}
}
