package approvals

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// Users says who the members of a workspace are in the cluster.
type Users struct {
	// Team is the id of the workspace, such as T0123ABCD: ids of members are only unique within one.
	Team string `json:"team"`
	// Users are who may press, by the ids of members, such as U0456EFGH.
	Users map[string]User `json:"users"`
}

// User is one as the API server knows them.
type User struct {
	// User is the name, as kubectl auth whoami prints it.
	User string `json:"user"`
	// Groups are those that rights are given to. Whoever is in system:authenticated by a login is in that here too.
	Groups []string `json:"groups,omitempty"`
}

// ReadUsers reads a file, which may be edited at any time.
func ReadUsers(path string) (Users, error) {
	var out Users
	raw, err := os.ReadFile(path)
	if err != nil {
		return out, fmt.Errorf("users of Slack: %w", err)
	}
	if err := yaml.UnmarshalStrict(raw, &out); err != nil {
		return out, fmt.Errorf("users of Slack: %s: %w", path, err)
	}
	if err := out.check(); err != nil {
		return out, fmt.Errorf("users of Slack: %s: %w", path, err)
	}
	return out, nil
}

func (u Users) check() error {
	if u.Team == "" {
		return errors.New("team: the id of the workspace is needed, such as T0123ABCD")
	}
	for id, user := range u.Users {
		if user.User == "" {
			return fmt.Errorf("users[%s].user: the name of a user of the cluster is needed", id)
		}
		for _, name := range append([]string{user.User}, user.Groups...) {
			// Those are Kubernetes' own, as system:masters, and no person in a chat.
			if strings.HasPrefix(name, "system:") {
				return fmt.Errorf("users[%s]: %q: nobody of system: presses buttons", id, name)
			}
		}
	}
	return nil
}

// of is who a member is; false for nobody.
func (u Users) of(team, member string) (rest.ImpersonationConfig, bool) {
	user, ok := u.Users[member]
	if !ok || team != u.Team {
		return rest.ImpersonationConfig{}, false
	}
	return rest.ImpersonationConfig{UserName: user.User, Groups: slices.Clone(user.Groups)}, true
}
