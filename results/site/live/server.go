// SPDX-License-Identifier: Apache-2.0

// Package live serves the pages of runs over loopback, and says when those of a
// run that goes on have changed.
//
// In comes a directory of run directories, or one of them; out go the pages of
// site. A run's files are looked at no more often than once a second, and only
// while somebody looks at the run. It answers nobody but this machine under its
// own name, hands out nothing but pages, and never changes a run.
package live

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"noiommu-farm/results"
	"noiommu-farm/results/site"
	"noiommu-farm/results/verdict"
)

// every is how often the files of a run are looked at, at most.
const every = time.Second

// maxShown is how many runs of a directory are listed, the newest.
const maxShown = 200

// Server serves runs.
type Server struct {
	runs    string                    // directory of run directories; empty for a single run
	one     string                    // the single run
	called  func(string) string       // what "farm repro" calls a run directory
	vmlinux func(build string) string // see site.Run
	pages   string                    // directory of the pages written so far

	mu   sync.Mutex
	open map[string]*run // by name of the directory
}

// run is one that somebody has looked at.
type run struct {
	mu   sync.RWMutex // of the pages
	live *site.Live
	dir  string
	err  error
	last time.Time // it was looked at
	n    int       // how often it has changed
}

// New serves the run in dir, or the runs below it. called is what "farm repro"
// calls a run directory, vmlinux finds a kernel by its build. Close removes what it has written.
func New(dir string, called func(dir string) string, vmlinux func(build string) string) (*Server, error) {
	pages, err := os.MkdirTemp("", "noiommu-farm-serve-")
	if err != nil {
		return nil, fmt.Errorf("serve: %w", err)
	}
	s := &Server{called: called, vmlinux: vmlinux, pages: pages, open: make(map[string]*run)}
	if _, err := results.ReadRun(dir); err == nil {
		s.one = dir
	} else {
		s.runs = dir
	}
	return s, nil
}

// Close removes the pages.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := []error{}
	for _, r := range s.open {
		if r.live != nil {
			errs = append(errs, r.live.Close())
		}
	}
	return errors.Join(append(errs, os.RemoveAll(s.pages))...)
}

// Handler answers for the host names that a browser on this machine uses with a
// listener on that address. Anything else is a page of somebody else's who had
// his name point here.
func (s *Server) Handler(listening net.Addr) http.Handler {
	_, port, _ := net.SplitHostPort(listening.String())
	var hosts []string
	for _, name := range []string{"127.0.0.1", "localhost", "::1"} {
		hosts = append(hosts, net.JoinHostPort(name, port))
		if port == "80" {
			hosts = append(hosts, name)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.list)
	mux.HandleFunc("GET /{run}/changes", s.changes)
	mux.HandleFunc("GET /{run}/{page...}", s.page)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		// The strictest of all pages; that of a page itself is in the page.
		h.Set("Content-Security-Policy", site.LivePolicy+"; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !slices.Contains(hosts, r.Host) {
			http.Error(w, "no such host here", http.StatusMisdirectedRequest)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// find is the run of a name; it is read when it is asked for the first time.
func (s *Server) find(name string) *run {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.open[name]; ok {
		return r
	}
	dir := s.one
	if s.runs != "" {
		dir = filepath.Join(s.runs, name)
		info, err := os.Lstat(dir)
		if !filepath.IsLocal(name) || filepath.Base(name) != name || err != nil || !info.IsDir() {
			return nil
		}
	} else if name != filepath.Base(s.one) {
		return nil
	}
	if _, err := results.ReadRun(dir); err != nil {
		return nil
	}
	r := &run{dir: dir}
	pages := filepath.Join(s.pages, name)
	if r.err = os.Mkdir(pages, 0o700); r.err == nil {
		r.live, r.err = site.Watch(dir, pages, s.called(dir), s.vmlinux)
	}
	s.open[name] = r
	return r
}

// look brings the pages of a run up to date. It returns how often they have
// changed, and whether the run has ended.
func (r *run) look() (n int, over bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.live == nil {
		return 0, true, r.err
	}
	if time.Since(r.last) >= every {
		changed, err := r.live.Update()
		if r.err = err; changed {
			r.n++
		}
		r.last = time.Now()
	}
	return r.n, r.live.Over(), r.err
}

func (s *Server) page(w http.ResponseWriter, q *http.Request) {
	r := s.find(q.PathValue("run"))
	if r == nil {
		http.NotFound(w, q)
		return
	}
	if _, _, err := r.look(); err != nil {
		failed(w, err)
		return
	}
	page := cmp.Or(q.PathValue("page"), "index.html")
	if filepath.Ext(page) != ".html" {
		http.NotFound(w, q)
		return
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	root, err := os.OpenRoot(filepath.Join(s.pages, q.PathValue("run")))
	if err != nil {
		failed(w, err)
		return
	}
	defer root.Close()
	f, err := root.Open(filepath.FromSlash(page))
	if err != nil {
		http.NotFound(w, q)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	io.Copy(w, f)
}

func failed(w http.ResponseWriter, err error) {
	http.Error(w, fmt.Sprintf("%q", err.Error()), http.StatusInternalServerError)
}

// changes tells a page that it has changed, as server-sent events (HTML living
// standard, 9.2).
func (s *Server) changes(w http.ResponseWriter, q *http.Request) {
	r := s.find(q.PathValue("run"))
	if r == nil {
		http.NotFound(w, q)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	told := -1 // what changed before the page asked is told, too
	for {
		n, over, err := r.look()
		event := ": still here\n\n"
		switch {
		case over || err != nil:
			event = "event: over\ndata:\n\n"
		case n != told:
			event = "event: change\ndata:\n\n"
		}
		told = n
		if _, err := io.WriteString(w, event); err != nil {
			return
		}
		if out.Flush() != nil || over || err != nil {
			return
		}
		select {
		case <-q.Context().Done():
			return
		case <-time.After(every):
		}
	}
}

// list is the page of all runs.
func (s *Server) list(w http.ResponseWriter, q *http.Request) {
	if s.one != "" {
		http.Redirect(w, q, "/"+filepath.Base(s.one)+"/index.html", http.StatusSeeOther)
		return
	}
	all, err := list(s.runs)
	if err != nil {
		failed(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	site.List(w, all)
}

// list reads the heads of the newest runs of a directory.
func list(dir string) ([]site.Listed, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []site.Listed
	for _, e := range entries {
		if !e.IsDir() { // "latest" is a link
			continue
		}
		head, err := results.ReadRun(filepath.Join(dir, e.Name()))
		if err == nil {
			all = append(all, site.Listed{Name: e.Name(), Run: head})
		}
	}
	slices.SortFunc(all, func(a, b site.Listed) int {
		return cmp.Or(b.Started.Compare(a.Started), cmp.Compare(b.Name, a.Name))
	})
	all = all[:min(len(all), maxShown)]
	for i := range all {
		all[i].Verdict = verdictOf(filepath.Join(dir, all[i].Name, results.ConclusionJSON))
	}
	return all, nil
}

// verdictOf reads a run's verdict from its results.json, and no more of what may
// be a large file; empty where there is none.
func verdictOf(path string) verdict.Verdict {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	d := json.NewDecoder(f)
	if _, err := d.Token(); err != nil { // {
		return ""
	}
	for d.More() {
		key, err := d.Token()
		if err != nil || key == "judged" {
			return ""
		}
		if key == "verdict" {
			var v verdict.Verdict
			if d.Decode(&v) != nil {
				return ""
			}
			return v
		}
		var skipped json.RawMessage
		if d.Decode(&skipped) != nil {
			return ""
		}
	}
	return ""
}

// Serve answers on a listener until the context ends, and then lets go of every
// reader.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           s.Handler(l.Addr()),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if server.Shutdown(last) != nil {
		server.Close()
	}
	return nil
}
