package configs

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// copyNames are the names that a copy of a config can have, the preferred one
// first. The second is for a config of which another Canary has a copy.
func copyNames(source, target string) []string {
	return []string{copyName(source), copyName(source + "-" + target)}
}

// copyName is a name with -primary at its end. What would be too long for an object is cut and told apart by a hash.
func copyName(of string) string {
	const suffix = "-primary"
	if len(of)+len(suffix) <= validation.DNS1123SubdomainMaxLength {
		return of + suffix
	}
	sum := sha256.Sum256([]byte(of))
	hash := "-" + hex.EncodeToString(sum[:4])
	return strings.TrimRight(of[:validation.DNS1123SubdomainMaxLength-len(hash)-len(suffix)], "-.") + hash + suffix
}
