package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/athoune/worker-machine/web"
)

// serveFlags are the flags of serve.
type serveFlags struct {
	addr        string
	keysFile    string
	certFile    string
	keyFile     string
	clientCAs   []string
	behindTLS   bool
	hosts       []string
	base        string
	noDashboard bool
	maxQueue    int64
	pprof       string
	newKey      string
}

const defaultServeAddr = "127.0.0.1:8080"

const serveLong = `Serve the dashboard at /, the JSON API at /api/v1 (described at /api/openapi.json), /healthz, /readyz and /metrics.

Without keys it takes requests from this machine only, and lets them do everything. For any other address there must be keys, or
authorities of client certificates. A keys file has one key a line, a role and a token with a colon between:

  read      looks, but at no payloads
  operate   also enqueues, calls, pauses, cancels, retries and replays, and sees payloads
  admin     also deletes and purges

--new-key makes such a line. Programs send the token as Authorization: Bearer TOKEN, people type it in at /login. Keys may also come in
the variable WM_KEYS, or the name of their file in WM_KEYS_FILE; never as a flag, where other users could see them. A certificate that
an authority of --client-ca has signed lets its holder in like a key of the role given there.

Requests must name this server by localhost, by the address they came in by, by a name in its certificate or one of --host.

ctrl-C or SIGTERM: /readyz says so, streams and waiting requests end, others get 20 seconds.`

func (a *app) serveCommand() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the HTTP API and the dashboard",
		Long:  serveLong,
		Example: `  worker-machine serve
  worker-machine serve --new-key operate >> keys; chmod 600 keys
  worker-machine serve --addr :8443 --keys-file keys --tls-cert cert.pem --tls-key key.pem --host queues.example.org
  worker-machine serve --addr :8443 --client-ca read=watchers.pem --client-ca admin=staff.pem --tls-cert cert.pem --tls-key key.pem`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.newKey != "" {
				return a.newKey(f.newKey)
			}
			return a.serve(cmd.Context(), &f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.addr, "addr", defaultServeAddr, "listen at this host:port")
	flags.StringVar(&f.keysFile, "keys-file", "", "the keys of callers (default $WM_KEYS_FILE, or the keys in $WM_KEYS)")
	flags.StringVar(&f.certFile, "tls-cert", "", "serve TLS with the certificate in this PEM file")
	flags.StringVar(&f.keyFile, "tls-key", "", "the private key of --tls-cert")
	flags.StringArrayVar(&f.clientCAs, "client-ca", nil, "let holders of certificates by this authority in, role=FILE; may be repeated")
	flags.BoolVar(&f.behindTLS, "behind-tls", false, "a proxy in front speaks TLS: cookies are marked for that, and nothing warns")
	flags.StringArrayVar(&f.hosts, "host", nil, "a name that requests may be for; may be repeated")
	flags.StringVar(&f.base, "base", "", "serve below this path, such as /jobs")
	flags.BoolVar(&f.noDashboard, "no-dashboard", false, "serve the API only")
	flags.Int64Var(&f.maxQueue, "max-queue", 0, "refuse tasks when the queue holds so many (default: no limit)")
	flags.StringVar(&f.pprof, "pprof", "", "serve profiles at this loopback host:port")
	flags.StringVar(&f.newKey, "new-key", "", "print a new key for a role (read, operate or admin), and end")
	complete(cmd, "new-key", "read", "operate", "admin")
	for _, name := range []string{"keys-file", "tls-cert", "tls-key"} {
		_ = cmd.MarkFlagFilename(name)
	}
	cmd.MarkFlagsRequiredTogether("tls-cert", "tls-key")
	return cmd
}

// newKey prints a line of a keys file.
func (a *app) newKey(role string) error {
	if _, err := web.ParseRole(role); err != nil {
		return usagef("--new-key: %w", err)
	}
	if isTerminal(a.stdout) {
		a.note("add this line to a keys file that others may not read:")
	}
	return a.printf("%s:%s\n", role, web.NewToken())
}

// serve serves until ctx is done.
func (a *app) serve(ctx context.Context, f *serveFlags) error {
	cfg, secure, err := a.serveConfig(f)
	if err != nil {
		return err
	}
	if f.pprof != "" {
		stop, err := a.profiles(ctx, f.pprof)
		if err != nil {
			return err
		}
		defer stop()
	}
	measured, err := a.measure()
	if err != nil {
		return err
	}
	target, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer target.Close()
	if err = measured.queues(target.store); err != nil {
		return err
	}
	cfg.Metrics = measured.handler()
	handler, err := web.New(target.store, cfg)
	if err != nil {
		return usagef("%w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", f.addr)
	if err != nil {
		return fmt.Errorf("listen at %s: %w", f.addr, err)
	}
	if err := a.tellServe(f, listener.Addr(), secure != nil, handler.Open()); err != nil {
		return errors.Join(err, listener.Close())
	}
	return web.Serve(ctx, listener, handler, secure)
}

// serveConfig reads the flags and the files they name. All mistakes are reported at once.
func (a *app) serveConfig(f *serveFlags) (web.Config, *tls.Config, error) {
	cfg := web.Config{Base: strings.TrimSuffix(f.base, "/"), Hosts: f.hosts, Secure: f.behindTLS, NoDashboard: f.noDashboard}
	cfg.Client.MaxQueue = f.maxQueue
	var bad []error
	report := func(err error) {
		if err != nil {
			bad = append(bad, err)
		}
	}
	var err error
	cfg.Keys, err = a.serveKeys(f)
	report(err)
	cfg.ClientCAs, err = readClientCAs(f)
	report(err)
	secure, names, err := readCertificate(f)
	report(err)
	cfg.Hosts = append(cfg.Hosts, names...)
	if f.maxQueue < 0 {
		report(errors.New("--max-queue cannot be less than nothing"))
	}
	loopback, err := isLoopback(f.addr)
	if err != nil {
		report(fmt.Errorf("--addr: %w", err))
	} else if !loopback && len(cfg.Keys) == 0 && len(cfg.ClientCAs) == 0 && len(bad) == 0 {
		report(fmt.Errorf("--addr: other machines reach %s, so there must be keys:\n  %s serve --new-key operate > keys; chmod 600 keys\n"+
			"  %[2]s serve --addr %[1]s --keys-file keys\nor --client-ca; or listen at %[3]s", f.addr, selfName(), defaultServeAddr))
	}
	if len(bad) > 0 {
		return cfg, nil, usagef("%w", errors.Join(bad...))
	}
	return cfg, secure, nil
}

// serveKeys reads the keys from their file or the environment; none is none.
func (a *app) serveKeys(f *serveFlags) ([]web.Key, error) {
	path, from := f.keysFile, "--keys-file"
	if path == "" {
		path, from = a.getenv("WM_KEYS_FILE"), "WM_KEYS_FILE"
	}
	if path == "" {
		if text := a.getenv("WM_KEYS"); text != "" {
			keys, err := web.ReadKeys(strings.NewReader(strings.ReplaceAll(text, ",", "\n")))
			return keys, named("WM_KEYS", err)
		}
		return nil, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, named(from, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, named(from, err)
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("%s: every user of this machine may use %s (%v); chmod 600 it, or 640 for a group", from, path, info.Mode().Perm())
	}
	keys, err := web.ReadKeys(file)
	return keys, named(from, err)
}

func named(flag string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", flag, err)
}

// readClientCAs reads the authorities of client certificates.
func readClientCAs(f *serveFlags) ([]web.ClientCA, error) {
	if len(f.clientCAs) > 0 && f.certFile == "" {
		return nil, errors.New("--client-ca: there are client certificates with TLS only; give --tls-cert and --tls-key")
	}
	var cas []web.ClientCA
	for _, text := range f.clientCAs {
		name, path, ok := strings.Cut(text, "=")
		role, err := web.ParseRole(name)
		if !ok || err != nil {
			return nil, errors.New("--client-ca: write role=FILE, with a role of read, operate or admin")
		}
		certificates, err := readPEM(path)
		if err != nil {
			return nil, named("--client-ca", err)
		}
		cas = append(cas, web.ClientCA{Role: role, Certificates: certificates})
	}
	return cas, nil
}

func readPEM(path string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var certificates []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		certificates = append(certificates, certificate)
	}
	if len(certificates) == 0 {
		return nil, fmt.Errorf("%s: there is no certificate in it, in PEM", path)
	}
	return certificates, nil
}

// readCertificate reads what TLS needs, and the names in the certificate: requests may be for them. It is nil without TLS.
func readCertificate(f *serveFlags) (*tls.Config, []string, error) {
	if f.certFile == "" {
		return nil, nil, nil
	}
	pair, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
	if err != nil {
		return nil, nil, named("--tls-cert, --tls-key", err)
	}
	var names []string
	for _, name := range pair.Leaf.DNSNames {
		if !strings.Contains(name, "*") {
			names = append(names, name)
		}
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, names, nil
}

// isLoopback tells whether only this machine reaches what listens at an address.
func isLoopback(addr string) (bool, error) {
	resolved, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return false, err
	}
	return resolved.IP.IsLoopback(), nil
}

// tellServe says where it is, and who may do what.
func (a *app) tellServe(f *serveFlags, at net.Addr, secure, open bool) error {
	loopback, err := isLoopback(at.String())
	if err != nil {
		return err
	}
	if !loopback && !secure && !f.behindTLS {
		a.note("warning: keys and payloads cross the network in plain text; give --tls-cert and --tls-key, or --behind-tls when a proxy in front speaks TLS")
	}
	scheme := "http"
	if secure {
		scheme = "https"
	}
	url := scheme + "://" + at.String() + strings.TrimSuffix(f.base, "/")
	if a.json {
		return a.printJSON(map[string]any{"url": url, "keys": !open, "tls": secure})
	}
	page := "the dashboard is at " + url + "/, the API at " + url + "/api/v1"
	if f.noDashboard {
		page = "the API is at " + url + "/api/v1"
	}
	who := "every request but those for /healthz and /readyz needs a key or a client certificate"
	if open {
		who = "there are no keys: every program on this machine may do everything"
	}
	return a.printf("%s;\n%s.\n", page, who)
}

// profiles serves pprof at an address of this machine, until stop.
func (a *app) profiles(ctx context.Context, addr string) (stop func(), err error) {
	const headers = 5 * time.Second
	if loopback, err := isLoopback(addr); err != nil || !loopback {
		return nil, usagef("--pprof: profiles are for this machine only; give an address like 127.0.0.1:6060")
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--pprof: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: headers}
	go func() { _ = server.Serve(listener) }()
	a.note("profiles are at http://%s/debug/pprof/", listener.Addr())
	return func() { _ = server.Close() }, nil
}
