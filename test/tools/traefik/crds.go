// Package traefik has nothing but a requirement: the module of Traefik, from whose files the tests read the definitions of its
// kinds.
package traefik

import (
	// Anything of the module will do. This imports the standard library alone.
	_ "github.com/traefik/traefik/v3/pkg/server/recursion"
)
