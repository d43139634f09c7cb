// Package rules makes the rules of routes of the Gateway API: what the spec asks for, put into
// what a user had there, with the precedence by which proxies choose among them. It is pure.
package rules
