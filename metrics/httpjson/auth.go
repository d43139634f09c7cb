package httpjson

import (
	"encoding/base64"

	"github.com/sluice-delivery/sluice/metrics"
)

// OptionalAuth are the headers for the keys that a Secret may have for a
// server of one's own: token, or username and password. A token wins.
func OptionalAuth(c metrics.Config) map[string]string {
	if token := c.Secret["token"]; len(token) > 0 {
		return map[string]string{"Authorization": "Bearer " + string(token)}
	}
	if user := c.Secret["username"]; len(user) > 0 {
		pair := string(user) + ":" + string(c.Secret["password"])
		return map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))}
	}
	return nil
}
