package access

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// cookieName is that of the cookies with the token. Tokens of some identity providers are longer than a cookie may be, so
// that each is in as many as it needs.
const cookieName = "sluice-token-"

// Bounds of tokens.
const (
	cookieSize  = 3500
	mostCookies = 5
)

// errPlain refuses a token that everybody on the way could read.
var errPlain = errors.New("the page was not loaded over HTTPS, so that everybody between could read the token: use HTTPS, or kubectl port-forward")

// tokenOf is the token that a request has, of whoever sends it or of a cookie; empty for none.
func tokenOf(r *http.Request) string {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return strings.TrimSpace(token)
	}
	var token strings.Builder
	for i := range mostCookies {
		c, err := r.Cookie(cookieName + strconv.Itoa(i))
		if err != nil {
			break
		}
		token.WriteString(c.Value)
	}
	return token.String()
}

// secure tells whether a browser has loaded the page over HTTPS, as far as the server or a proxy before it says.
func secure(r *http.Request) bool {
	return r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

// local tells whether a browser has named a loopback address, as with kubectl port-forward.
func local(r *http.Request) bool {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return ip != nil && ip.IsLoopback()
}

// LogIn has a browser keep a token that the API server accepts. The token is in cookies that only this page sends and no
// script reads, so that every replica knows who it is and none keeps anything.
func (p *People) LogIn(w http.ResponseWriter, r *http.Request, token string) error {
	if !secure(r) && !local(r) {
		return errPlain
	}
	if token == "" || strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`",;\`, c) }) {
		return errors.New("that is no token")
	}
	if len(token) > cookieSize*mostCookies {
		return fmt.Errorf("the token is longer than %d characters", cookieSize*mostCookies)
	}
	if _, err := p.withToken(r.Context(), token); err != nil {
		if errors.Is(err, ErrNobody) {
			return errors.New("the API server does not accept this token")
		}
		return err
	}
	for i := range mostCookies {
		part := token[min(i*cookieSize, len(token)):min((i+1)*cookieSize, len(token))]
		setCookie(w, r, i, part)
	}
	return nil
}

// LogOut has a browser forget it.
func (p *People) LogOut(w http.ResponseWriter, r *http.Request) {
	for i := range mostCookies {
		setCookie(w, r, i, "")
	}
}

func setCookie(w http.ResponseWriter, r *http.Request, i int, value string) {
	c := &http.Cookie{Name: cookieName + strconv.Itoa(i), Value: value, Path: "/", HttpOnly: true, Secure: secure(r), SameSite: http.SameSiteStrictMode}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}
