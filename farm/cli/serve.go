// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"noiommu-farm/internal/fault"
	"noiommu-farm/results"
	"noiommu-farm/results/site/live"
)

type serveCmd struct {
	Dir    string `arg:"" optional:"" help:"A run directory, or a directory of them." default:"${runs}" placeholder:"DIR"`
	Listen string `help:"Address on the loopback interface; port 0 takes a free one." default:"127.0.0.1:7373" placeholder:"ADDRESS:PORT"`
	Cache  string `help:"Directory of builds; see farm report." default:"${cache}" placeholder:"DIR"`
}

func (serveCmd) Help() string {
	return `Serves the pages of "farm report" to a browser on this machine, and keeps those of
a run that goes on up to date. Prints the address. Ctrl-C ends it. Other machines
get no answer: the pages are of files that are yours, and nobody logs in. Over
ssh, forward the port: ssh -L 7373:127.0.0.1:7373 HOST.

Examples:

  farm serve                       all runs
  farm serve ~/runs/20260131-020000-1a2b --listen 127.0.0.1:0`
}

func (c *serveCmd) Run(s *surroundings) error {
	dir, err := filepath.Abs(c.Dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return &fault.Usage{Key: "DIR", Value: c.Dir, Err: err}
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return &fault.Usage{Key: "DIR", Value: c.Dir, Err: cmp.Or(err, errors.New("is no directory"))}
	}
	if err := onLoopback(c.Listen); err != nil {
		return &fault.Usage{Key: "--listen", Value: c.Listen, Err: err}
	}
	server, err := live.New(dir, calledIn, s.vmlinux(c.Cache))
	if err != nil {
		return err
	}
	defer server.Close()
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return &fault.Usage{Key: "--listen", Value: c.Listen, Err: err}
	}
	address := "http://" + l.Addr().String() + "/"
	if _, err := results.ReadRun(dir); err == nil {
		address += filepath.Base(dir) + "/index.html"
	}
	if _, err := fmt.Fprintln(s.stdout, address); err != nil {
		return err
	}
	return server.Serve(s.ctx, l)
}

// onLoopback is why an address is not one that only this machine reaches. A
// name could be anybody's tomorrow, but for localhost (RFC 6761).
func onLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return errors.New("is not on the loopback interface: 127.0.0.1, [::1] or localhost")
	}
	return nil
}
