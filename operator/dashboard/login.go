package dashboard

import (
	"encoding/json"
	"net/http"
)

// mostBody bounds what is read of a request, in bytes: the longest token, and more than any action.
const mostBody = 64 << 10

// read reads the JSON of a request. Where that is none, it is answered and ok is false.
func read(w http.ResponseWriter, r *http.Request, into any) (ok bool) {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, mostBody))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		fail(w, http.StatusBadRequest, "The request can't be read: "+err.Error())
		return false
	}
	return true
}

func (s *server) login(w http.ResponseWriter, r *http.Request) {
	if s.Login == nil {
		fail(w, http.StatusNotFound, "Nobody can log in here.")
		return
	}
	var body struct {
		Token string `json:"token"`
	}
	if !read(w, r, &body) {
		return
	}
	if err := s.Login.LogIn(w, r, body.Token); err != nil {
		fail(w, http.StatusUnauthorized, "Not logged in: "+err.Error()+".")
		return
	}
	answer(w, struct{}{})
}

func (s *server) logout(w http.ResponseWriter, r *http.Request) {
	if s.Login != nil {
		s.Login.LogOut(w, r)
	}
	answer(w, struct{}{})
}
