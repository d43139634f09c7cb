package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
)

const (
	insideEnv = "SLUICE_CLUSTER_INSIDE"
	// hostListenerFD is the first of exec.Cmd.ExtraFiles, and serverListenerFD the second.
	hostListenerFD   = 3
	serverListenerFD = 4

	hostIP = "10.244.0.1"
	podNet = hostIP + "/16"
)

// hostAddress is where the API server can be reached from the namespace that
// the program was started in. It is empty until Enter has returned.
var hostAddress string

// serverListener is one of that namespace too, for a server of the program's own; nil until Enter has returned.
var serverListener net.Listener

// Outside has whoever is in the namespace that the program was started in reach a server of this one, at the address that it
// returns. A program has one such server.
func Outside(server string) string {
	go forward(serverListener, server)
	return serverListener.Addr().String()
}

// growth of a test's heap between two collections, in percent: to collect it as often as by default is a quarter of the
// processor's time that tests with an operator in their own process take.
const growth = 400

// Main enters the cluster's network namespace, runs the tests there and exits
// with their code. It is for TestMain; m is a *testing.M. The collector of these
// tests waits longer than by default, unless GOGC says otherwise.
func Main(m interface{ Run() int }) {
	if err := Enter(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(growth)
	}
	os.Exit(m.Run())
}

// Enter runs the current program again, with the same arguments, in a network
// namespace of its own. It returns nil in that second run only, with the
// namespace's network up; in the first run it waits for the second and exits
// with its code. It must be called before anything else happens in main. The
// error says what keeps this machine from having such a namespace.
func Enter() error {
	if hostAddress != "" {
		return nil
	}
	if os.Getenv(insideEnv) != "" {
		// Programs that the cluster starts are not the second run.
		if err := os.Unsetenv(insideEnv); err != nil {
			return err
		}
		return setUpNetwork()
	}
	code, err := runInside()
	if err != nil {
		return err
	}
	os.Exit(code)
	return nil
}

// runInside runs the program in new namespaces and returns its exit code. Two
// listeners of this side go along: sockets keep the namespace they were made
// in, so the program inside can serve connections from here.
func runInside() (int, error) {
	// The parent-death signal of the child follows the thread that forked it,
	// so this goroutine keeps its thread to the end.
	runtime.LockOSThread()

	var listeners []*os.File
	for range 2 {
		file, err := listenerFile()
		if err != nil {
			return 0, fmt.Errorf("listen for connections to the cluster: %w", err)
		}
		listeners = append(listeners, file)
	}

	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)

	cmd, err := startInside(listeners)
	if err != nil {
		return 0, namespaceError(err)
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s) // it may have ended already
		}
	}()
	return exitCode(cmd.Wait())
}

// listenerFile is a listener on a free port of the loopback interface.
func listenerFile() (*os.File, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	file, err := listener.(*net.TCPListener).File()
	return file, errors.Join(err, listener.Close())
}

func startInside(listeners []*os.File) (*exec.Cmd, error) {
	const withUser = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET
	if os.Geteuid() != 0 {
		return startWith(withUser, listeners)
	}
	cmd, err := startWith(syscall.CLONE_NEWNET, listeners)
	if errors.Is(err, syscall.EPERM) { // root of a container without CAP_SYS_ADMIN
		return startWith(withUser, listeners)
	}
	return cmd, err
}

func startWith(flags uintptr, listeners []*os.File) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = listeners
	// A process group of its own, or a terminal's Ctrl-C would arrive twice.
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if flags&syscall.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return cmd, cmd.Start()
}

func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case !errors.As(err, &exit):
		return 0, fmt.Errorf("run inside the cluster's namespace: %w", err)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return exit.ExitCode(), nil
}

// setUpNetwork makes every address of the pod network local: with the prefix
// on lo, a pod's server can listen on the pod's own address.
func setUpNetwork() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return namespaceError(err)
	}
	addr, err := netlink.ParseAddr(podNet)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return namespaceError(err)
	}
	if err := netlink.AddrAdd(lo, addr); err != nil {
		return namespaceError(err)
	}
	listener, err := inherited(hostListenerFD)
	if err != nil {
		return err
	}
	if serverListener, err = inherited(serverListenerFD); err != nil {
		return err
	}
	go forward(listener, apiServerAddress)
	hostAddress = listener.Addr().String()
	return nil
}

// inherited is a listener that the first run has made.
func inherited(fd uintptr) (net.Listener, error) {
	file := os.NewFile(fd, "host-listener")
	listener, err := net.FileListener(file)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("listener of the host's side: %w", err)
	}
	return listener, nil
}

// namespaceError names the kernel settings that are in the way on this machine.
func namespaceError(err error) error {
	var b strings.Builder
	fmt.Fprintf(&b, "this machine does not allow a network namespace of its own for the cluster: %v", err)
	for _, setting := range []struct{ name, bad, good string }{
		{"kernel.unprivileged_userns_clone", "0", "1"},
		{"kernel.apparmor_restrict_unprivileged_userns", "1", "0"},
		{"user.max_user_namespaces", "0", "10000"},
		{"user.max_net_namespaces", "0", "10000"},
	} {
		value, readErr := os.ReadFile("/proc/sys/" + strings.ReplaceAll(setting.name, ".", "/"))
		if readErr == nil && strings.TrimSpace(string(value)) == setting.bad {
			fmt.Fprintf(&b, "\n  %s is %s; allow it with: sudo sysctl -w %s=%s",
				setting.name, setting.bad, setting.name, setting.good)
		}
	}
	b.WriteString("\n  Or run as root. In a container, root needs CAP_SYS_ADMIN and CAP_NET_ADMIN" +
		" (the kernel settings that decide for other users: kernel.unprivileged_userns_clone," +
		" kernel.apparmor_restrict_unprivileged_userns, user.max_user_namespaces).")
	return &NamespaceError{message: b.String(), cause: err}
}

// NamespaceError says that the kernel refused a network namespace, and what
// the user can do about it.
type NamespaceError struct {
	message string
	cause   error
}

func (e *NamespaceError) Error() string { return e.message }

// Unwrap returns the kernel's answer.
func (e *NamespaceError) Unwrap() error { return e.cause }
