package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// completeNames has a shell complete the names of Canaries where a command takes one.
func completeNames(a *app, root *cobra.Command) {
	for _, c := range root.Commands() {
		if strings.Contains(c.Use, " NAME") {
			c.ValidArgsFunction = a.names
		}
	}
}

// names are those of the Canaries of the namespace.
func (a *app) names(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 && !strings.Contains(cmd.Use, "NAME...") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, err := a.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var list v1beta1.CanaryList
	if err := c.List(cmd.Context(), &list, client.InNamespace(c.namespace)); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	out := make([]string, len(list.Items))
	for i := range list.Items {
		out[i] = list.Items[i].Name
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
