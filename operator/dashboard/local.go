package dashboard

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// Local serves a dashboard below a path that nobody can guess, which is what lets somebody look: whoever runs the program knows
// it, and other users of the machine and other pages of the browser don't. It returns that path, with a slash at both ends.
func Local(next http.Handler) (h http.Handler, path string) {
	secret := rand.Text()
	path = "/" + secret + "/"
	want := sha256.Sum256([]byte(secret))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first, _, below := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		is := sha256.Sum256([]byte(first))
		if subtle.ConstantTimeCompare(is[:], want[:]) == 0 || !below {
			http.NotFound(w, r)
			return
		}
		http.StripPrefix("/"+first, next).ServeHTTP(w, r)
	}), path
}
