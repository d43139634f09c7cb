package main

import "flag"

// ignoredFlag is a flag of Flagger's that means nothing here: a command line that has it starts the operator, and
// the log says once that it has no effect. It is a boolean where its default is one, so that -name alone is one, too.
type ignoredFlag struct {
	name    string
	boolean bool
	why     string
	given   *[]ignoredFlag
}

// String implements flag.Value.
func (f *ignoredFlag) String() string { return "" }

// IsBoolFlag tells package flag that the flag needs no value.
func (f *ignoredFlag) IsBoolFlag() bool { return f.boolean }

// Set implements flag.Value.
func (f *ignoredFlag) Set(string) error {
	for _, g := range *f.given {
		if g.name == f.name {
			return nil
		}
	}
	*f.given = append(*f.given, *f)
	return nil
}

// ignoredFlags registers the flags of Flagger's that have no effect. given gets those that a command line has.
func ignoredFlags(f *flag.FlagSet, given *[]ignoredFlag) {
	const (
		zap  = "the log is not zap's"
		klog = "the log is not klog's; -log-level says how much is logged"
	)
	for _, one := range []ignoredFlag{
		{name: "control-loop-interval", why: "Canaries are reconciled when something happens, and at their interval"},
		{name: "zap-replace-globals", boolean: true, why: zap},
		{name: "v", why: klog}, {name: "vmodule", why: klog},
		{name: "logtostderr", boolean: true, why: klog}, {name: "alsologtostderr", boolean: true, why: klog},
		{name: "stderrthreshold", why: klog}, {name: "log_backtrace_at", why: klog},
		{name: "log_dir", why: klog}, {name: "log_file", why: klog}, {name: "log_file_max_size", why: klog},
		{name: "add_dir_header", boolean: true, why: klog}, {name: "one_output", boolean: true, why: klog},
		{name: "skip_headers", boolean: true, why: klog}, {name: "skip_log_headers", boolean: true, why: klog},
	} {
		one.given = given
		f.Var(&one, one.name, "Flagger's; it has no effect: "+one.why)
	}
}
