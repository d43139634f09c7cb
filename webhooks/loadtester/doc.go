// Package loadtester is a server that hooks of a Canary call to start load tests, run acceptance tests and ask gates.
// Paths, payload and metadata are those of Flagger's load tester.
//
// A request becomes a Command by Rules, which say what may be run; a Runner runs it as a process, so that it can be
// ended with all that it started; Gates remember what people have opened.
package loadtester
