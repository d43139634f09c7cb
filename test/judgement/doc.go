// Package judgement simulates releases under different rules of judging a canary: the operator's own comparison
// (metrics/compare), and the rules of peers as they are commonly used. It says how often each rolls back a good
// release, how soon it finds a bad one, and how many requests a regression costs until then.
//
// Its tests run a small part of it in seconds. make judgement runs all of it and prints the tables.
package judgement
