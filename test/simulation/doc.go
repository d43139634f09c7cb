// Package simulation has the whole operator at work in a simulated cluster: the real Reconciler, builders and checks,
// an API server in memory, and actors that do to it what clusters do. Its tests need no server. Time is that of a
// synctest bubble, so that hours pass in milliseconds, and everything that happens follows from a seed.
package simulation
