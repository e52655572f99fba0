// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"bytes"
	"flag"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"noiommu-farm/results/failure"
	"noiommu-farm/results/verdict"
)

var update = flag.Bool("update", false, "write testdata anew")

// sample is the report of a series of five: a benign patch, text, one that
// breaks something, its revert, and one whose failure does not repeat.
func sample() *Report {
	point := Point{all, none}
	key := Key{point, "get_pa", "get_pa.PA-02"}
	broken := describe(3, key, result{
		Failure: failure.Failure{Verdict: verdict.Fail}, reason: "getpa.go:103: PA-02: get_pa(iova=0x80000001, length=0xffffffffffffffff): length = 0x200000, want 0x1fffff",
		cell: Cell{Run: "/runs/r3", Name: "003_noiommu_none"},
	})
	broken.Repeated = Repeated{Done: true, With: Rate{4, 4}, Before: Rate{0, 4}, Sure: sure(Rate{4, 4}, Rate{0, 4})}
	broken.Again = "farm run --kernel debian:7.3 --series v2.mbox --config noiommu --topology none --append init_on_free=1 --append 'slab_debug=FZP,kmalloc-*' --append oops=panic --device edu --device igb --test PA-02"
	also := describe(3, Key{point, "get_pa", "get_pa.PA-03"}, result{Failure: failure.Failure{Verdict: verdict.Crash}, reason: "BUG: kernel NULL pointer dereference in iopt_get_phys"})
	also.Finding, also.Console = also.Reason, []string{"BUG: kernel NULL pointer dereference, address: 0000000000000008", "RIP: 0010:iopt_get_phys+0x1f/0x320", "\x1b[2Jhostile"}
	also.Repeated = Repeated{Done: true, With: Rate{4, 4}, Before: Rate{0, 4}, Sure: 0.98}
	flaky := describe(5, Key{Point{all, intel}, "vfio/vfio_pci_device_test", "fixture.test"}, result{Failure: failure.Failure{Verdict: verdict.Timeout}, reason: "stopped after 6m0s"})
	flaky.Repeated = Repeated{Done: true, Whole: true, With: Rate{1, 4}, Before: Rate{1, 4}, Flaky: true}
	flaky.Repeated.Sure = sure(Rate{1, 4}, Rate{1, 4})
	cells := func(pass, fail int) []Cell {
		return []Cell{{Point: point, Name: "c", Verdict: verdict.Pass, Counts: verdict.Counts{verdict.Pass: pass, verdict.Fail: fail, verdict.Skip: 7}}}
	}
	built := []Build{{Config: all, Key: "k"}}
	patch := func(i int, subject, id string, touched ...string) State {
		return State{
			Index: i, Subject: subject, Author: "Ada Example <ada@example.org>", MessageID: id,
			Prefix: "PATCH v2 " + string(rune('0'+i)) + "/5", Touched: touched,
			Plan: PlanFor(touched, Core), Builds: built, Cells: cells(90, 0), Took: time.Duration(i) * time.Minute, Verdict: verdict.Pass,
		}
	}
	const pa = "drivers/iommu/iommufd/io_pagetable.c"
	r := &Report{
		Series: Series{Spec: "/home/me/v2.mbox", Title: "iommufd: make it better", Version: 2, Cover: "cover@example.org", Patches: 5},
		Base:   "debian:7.3", BaseID: strings.Repeat("a", 40), Level: Core, Verdict: verdict.Fail, Dir: "/runs/gate-1",
		Version: map[string]string{"qemu": "10.0.2", "accel": "tcg"},
		States: []State{
			{Index: 0, Plan: PlanFor([]string{pa}, Core), Builds: built, Cells: cells(89, 1), Took: time.Minute, Verdict: verdict.Fail},
			patch(1, "iommufd: Cache the last IOVA in iopt_get_phys()", "1@example.org", pa),
			patch(2, "Documentation: say more", "2@example.org", "Documentation/driver-api/vfio.rst"),
			patch(3, "iommufd: Start the contiguous length at a whole page", "3@example.org", pa),
			patch(4, "Revert \"iommufd: Start the contiguous length at a whole page\"", "4@example.org", pa),
			patch(5, "selftests/vfio: Ask twice, füreinander", "5@example.org", "tools/testing/selftests/vfio/vfio_pci_device_test.c"),
		},
		Found: []Difference{broken, also, flaky},
	}
	own := describe(0, Key{point, "lifecycle", "lifecycle.LC-05"}, result{Failure: failure.Failure{Verdict: verdict.Fail}, reason: "leak.go:62: x"})
	r.Found = append([]Difference{own}, r.Found...)
	r.States[2].Verdict, r.States[2].Builds, r.States[2].Cells = verdict.Skip, nil, nil
	r.States[3].Verdict, r.States[3].Cells = verdict.Fail, cells(88, 2)
	r.States[4].Mended = []Inherited{{key, 3}}
	return r
}

// passes is the report of a series that is as it should be.
func passes() *Report {
	r := sample()
	r.Found, r.Verdict = nil, verdict.Pass
	r.States = r.States[:3]
	r.Series.Patches = 2
	r.States[0].Verdict = verdict.Pass
	return r
}

// breaksBuild is the report of a patch that does not compile.
func breaksBuild() *Report {
	r := sample()
	r.Series.Patches, r.Series.Cover, r.Series.Version = 1, "", 1
	r.States = r.States[:2]
	s := &r.States[1]
	s.Prefix, s.Verdict, s.Cells = "PATCH", verdict.Fail, nil
	s.Builds = []Build{{Config: all}, {Config: cdev, Error: "compile: drivers/vfio/device_cdev.c:38:19: error: ‘struct vfio_device’ has no member named ‘group’"}}
	r.Found = []Difference{{
		Kind: BuildFails, Patch: 1, Key: Key{Point: Point{Config: cdev}}, Statement: "KC-12", Promise: "Every profile compiles.",
		Reason: s.Builds[1].Error, Console: []string{"   38 |         if (device->group->type == VFIO_NO_IOMMU && !capable(CAP_SYS_RAWIO)) {", "      |                   ^~"}, Again: "farm run --kernel debian:7.3 --series x.patch --config k-cdev", Repeated: Repeated{Done: true},
	}}
	return r
}

// loses is the report of a series whose first patch takes a selftest out and
// makes another skip, and whose second one loses results of a third.
func loses() *Report {
	r := sample()
	r.Series.Patches = 2
	r.States = []State{r.States[0], r.States[5], r.States[1]}
	r.States[1].Index, r.States[1].Prefix, r.States[2].Index, r.States[2].Prefix = 1, "PATCH v2 1/2", 2, "PATCH v2 2/2"
	h := newHistory()
	lose := func(i int, program string, names ...string) {
		m := missing{cells: map[Point]Cell{onIntel: {Run: "/runs/r", Name: "c"}}}
		for _, n := range append(names, "") {
			m.gone = append(m.gone, Key{onIntel, program, n})
		}
		found := h.absent(&r.States[i], m)
		for j := range found {
			found[j].Again, found[j].Repeated.Done = "farm run --suite "+program, true
		}
		r.Found, r.States[i].Gone = append(r.Found, found...), m.gone
	}
	r.Found = nil
	lose(1, "vfio/vfio_pci_device_test", "a.reset", "a.irqs")
	r.States[1].Skipped = []Key{{onNone, "nodes", "nodes.ND-04"}}
	lose(2, "vfio/vfio_dma_mapping_test", "a.b.map", "a.c.map")
	r.States[2].Verdict = ofFound(r.Found)
	return r
}

func TestGolden(t *testing.T) {
	for name, r := range map[string]*Report{"broken": sample(), "passes": passes(), "build": breaksBuild(), "gone": loses()} {
		for ext, render := range map[string]func(*bytes.Buffer) error{
			"table": func(b *bytes.Buffer) error { return r.Table(b, false) },
			"md":    func(b *bytes.Buffer) error { return r.Markdown(b) },
			"eml":   func(b *bytes.Buffer) error { return r.Mail(b) },
			"gh":    func(b *bytes.Buffer) error { return r.GitHub(b) },
		} {
			var b bytes.Buffer
			if err := render(&b); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+"."+ext)
			if *update {
				if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Errorf("%s (-want +got)\n%s", path, diff)
			}
		}
	}
}

// The first line names the patch and the statement.
func TestHeadline(t *testing.T) {
	infra := sample()
	infra.Found, infra.Verdict = nil, verdict.Infra
	once := sample()
	once.Found, once.Verdict = once.Found[3:], verdict.Infra
	once.Found[0].Repeated = Repeated{Done: true, With: Rate{1, 7}, Before: Rate{0, 7}, Flaky: true}
	empty := &Report{Verdict: verdict.Skip, Base: "debian:7.3", States: []State{{}}}
	text := passes()
	text.Series.Patches, text.Verdict = 1, verdict.Skip
	text.States = append(text.States[:1:1], sample().States[2])
	kconfig, unbuilt := *text, *text
	kconfig.States = append(text.States[:1:1], State{Index: 1, Plan: PlanFor([]string{"arch/arm64/Kconfig"}, Core), Verdict: verdict.Skip})
	unbuilt.States = append(text.States[:1:1], State{
		Index: 1, Builds: []Build{{Config: cdev, Error: "x"}}, Verdict: verdict.Skip,
		Plan: PlanFor([]string{"drivers/vfio/device_cdev.c"}, Quick).without([]string{all}, "it still does not build with"),
	})
	unbuilt.Level = Quick
	every := passes()
	every.States[2] = every.States[1]
	fewer := *every
	fewer.States = slices.Clone(every.States)
	fewer.States[1].Gone = []Key{{onIntel, "vfio/vfio_pci_sriov_uapi_test", ""}, {onIntel, "vfio/vfio_pci_sriov_uapi_test", "init"}}
	cut := passes()
	cut.Verdict, cut.Found = verdict.Infra, []Difference{{
		Kind: ResultsGone, Patch: 1, Key: Key{onIntel, "vfio/vfio_dma_mapping_test", ""}, Reason: "no result of 2 tests that passed before the patch: killed by signal 11",
		Repeated: Repeated{With: Rate{1, 1}, Before: Rate{0, 1}, Flaky: true, Done: true},
	}}
	for want, r := range map[string]*Report{
		`FAIL patch 3/5 "iommufd: Start the contiguous length at a whole page": PA-02: `:                                                                  sample(),
		"PASS: 1 of 2 patches builds, boots and passes on debian:7.3; nothing was booted for the other":                                                   passes(),
		"PASS: each of 2 patches builds, boots and passes on debian:7.3":                                                                                  every,
		"PASS: each of 2 patches builds, boots and passes on debian:7.3; it runs fewer tests than before":                                                 &fewer,
		"INFRA: nobody knows whether patch 1/2 breaks vfio/vfio_dma_mapping_test: no result of 2 tests that passed before the patch: killed by signal 11": cut,
		"SKIP: nothing was run: vfio.rst: no kernel has it":                                                                                               text,
		"SKIP: nothing was run but the Kconfig statements: Kconfig: not of this architecture":                                                             &kconfig,
		"SKIP: nothing was booted: it still does not build with noiommu":                                                                                  &unbuilt,
		`FAIL patch 1/1 "iommufd: Cache the last IOVA in iopt_get_phys()": KC-12: `:                                                                       breaksBuild(),
		"INFRA: the farm failed": infra,
		"INFRA: nobody knows whether patch 5/5 breaks vfio/vfio_pci_device_test fixture.test: it fails 1 of 7 with the patch, 0 of 7 before it": once,
		"SKIP: nothing was run: the series is empty": empty,
	} {
		if got := r.Headline(); !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q first", got, want)
		}
	}
}

// checkMail holds a mail to what mailing lists and git want.
func checkMail(t *testing.T, text string) *mail.Message {
	t.Helper()
	_, body, _ := strings.Cut(text, "\n\n")
	for i, line := range strings.Split(body, "\n") {
		if n := utf8.RuneCountInString(line); n > width {
			t.Errorf("line %d has %d columns: %q", i+1, n, line)
		}
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("line %d has control characters: %q", i+1, line)
		}
	}
	m, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return m
}

func TestMail(t *testing.T) {
	for name, c := range map[string]struct {
		r                              *Report
		subject, inReplyTo, references string
	}{
		"guilty":   {sample(), "Re: [PATCH v2 3/5] iommufd: Start the contiguous length at a whole page", "<3@example.org>", "<cover@example.org> <3@example.org>"},
		"innocent": {passes(), "Re: [PATCH v2 0/2] iommufd: make it better", "<cover@example.org>", "<cover@example.org>"},
		"build":    {breaksBuild(), "Re: [PATCH] iommufd: Cache the last IOVA in iopt_get_phys()", "<1@example.org>", "<1@example.org>"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := c.r.Mail(&b); err != nil {
				t.Fatal(err)
			}
			m := checkMail(t, b.String())
			for header, want := range map[string]string{
				"Subject": c.subject, "In-Reply-To": c.inReplyTo, "References": c.references, "To": `"Ada Example" <ada@example.org>`,
			} {
				if got := m.Header.Get(header); got != want {
					t.Errorf("%s: %q, want %q", header, got, want)
				}
			}
		})
	}
}

// Whatever a series says of itself, it does not become a header, a long line or
// a control character.
func TestHostileMail(t *testing.T) {
	word := rapid.StringOfN(rapid.RuneFrom([]rune("ab \n\r\t\x00\x1b<>@:\"|`é漢\u202e")), 0, 200, -1)
	rapid.Check(t, func(x *rapid.T) {
		r := sample()
		for i := range r.States {
			r.States[i].Subject, r.States[i].MessageID = word.Draw(x, "subject"), word.Draw(x, "id")
			r.States[i].Author = word.Draw(x, "author")
		}
		r.Series.Title, r.Series.Cover = word.Draw(x, "title"), word.Draw(x, "cover")
		for i := range r.Found {
			r.Found[i].Reason, r.Found[i].Again = word.Draw(x, "reason"), word.Draw(x, "command")
			r.Found[i].Console = []string{word.Draw(x, "console")}
		}
		var b bytes.Buffer
		if err := r.Mail(&b); err != nil {
			x.Fatal(err)
		}
		head, body, _ := strings.Cut(b.String(), "\n\n")
		for _, line := range strings.Split(body, "\n") {
			if utf8.RuneCountInString(line) > width || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				x.Fatalf("body line %q", line)
			}
		}
		for _, line := range strings.Split(head, "\n") {
			name, _, _ := strings.Cut(line, ":")
			switch {
			case strings.HasPrefix(line, " "):
			case name == "To", name == "Subject", name == "In-Reply-To", name == "References", name == "MIME-Version", strings.HasPrefix(name, "Content-"):
			default:
				x.Fatalf("header line %q", line)
			}
		}
		var table, gh bytes.Buffer
		if err := r.Table(&table, false); err != nil {
			x.Fatal(err)
		}
		if strings.ContainsAny(table.String(), "\x1b\x00\r") {
			x.Fatalf("control characters: %q", table.String())
		}
		if err := r.GitHub(&gh); err != nil {
			x.Fatal(err)
		}
		for _, line := range strings.Split(strings.TrimSpace(gh.String()), "\n") {
			if !strings.HasPrefix(line, "::") {
				x.Fatalf("annotation %q", line)
			}
		}
	})
}

func TestContinued(t *testing.T) {
	lines := continued(sample().Found[1].Again)
	out, err := exec.Command("/bin/sh", "-c", "farm() { echo farm \"$@\"; }\n"+strings.Join(lines, "\n")).Output()
	if err != nil || strings.TrimSpace(string(out)) != strings.ReplaceAll(sample().Found[1].Again, "'", "") {
		t.Errorf("a shell reads %q (%v) of %q", out, err, lines)
	}
	for _, l := range lines {
		if len(l) > width-6 {
			t.Errorf("%q is too long", l)
		}
	}
}

// git takes the mail as it is.
func TestSendEmail(t *testing.T) {
	for _, name := range []string{"broken.eml", "passes.eml", "build.eml", "gone.eml"} {
		send := exec.Command("git", "send-email", "--dry-run", "--from", "Bob <bob@example.org>", "--suppress-cc=all", "--confirm=never", filepath.Join("testdata", name))
		send.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "HOME="+t.TempDir(), "GIT_AUTHOR_NAME=Bob", "GIT_AUTHOR_EMAIL=bob@example.org", "GIT_COMMITTER_NAME=Bob", "GIT_COMMITTER_EMAIL=bob@example.org")
		out, err := send.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "Result: OK") || !strings.Contains(string(out), "To: \"Ada Example\" <ada@example.org>") ||
			!strings.Contains(string(out), "In-Reply-To: <") {
			t.Errorf("%s: git send-email: %v (it is in Debian's git-email; .ci/setup installs it)\n%s", name, err, out)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
