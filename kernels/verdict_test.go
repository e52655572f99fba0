// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels/series"
)

// patch makes a patch out of a change to a file of the lab's tree, as git
// writes it.
func (l *lab) patch(t *testing.T, subject, file, old, new string) series.Series {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(string(read(t, filepath.Join(l.tree, file))), "\n"), "\n")
	at := -1
	for i, line := range lines {
		if line == old {
			at = i
		}
	}
	if at < 0 {
		t.Fatalf("%s has no line %q", file, old)
	}
	added := strings.Split(new, "\n")
	text := fmt.Sprintf("From: A <a@example.net>\nSubject: [PATCH] %s\n\n---\ndiff --git a/%s b/%s\n--- a/%s\n+++ b/%s\n@@ -1,%d +1,%d @@\n",
		subject, file, file, file, file, len(lines), len(lines)-1+len(added))
	for i, line := range lines {
		if i != at {
			text += " " + line + "\n"
			continue
		}
		text += "-" + line + "\n"
		for _, a := range added {
			text += "+" + a + "\n"
		}
	}
	path := filepath.Join(t.TempDir(), "0001.patch")
	write(t, path, text)
	p, err := series.Load(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (l *lab) judge(t *testing.T, p series.Series, lint bool) BuildVerdict {
	t.Helper()
	r := l.request(t)
	base := r.Source
	r.Source = base.With(p)
	v, err := l.cache.JudgeBuild(t.Context(), r, &base, lint, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A kernel that a patch breaks is a verdict with the compiler's words, the line
// and the patch.
func TestJudgeBroken(t *testing.T) {
	l := newLab(t)
	v := l.judge(t, l.patch(t, "noiommu: Break it", "drivers/noiommu.c", "	return 1;", "	return one;"), false)
	if v.Good() || v.Build != nil || fault.ExitCode(v.Failure) != fault.ExitKernel {
		t.Fatalf("got %+v", v)
	}
	for _, part := range []string{"drivers/noiommu.c:5:16: error: 'one' undeclared", "return one;", `drivers/noiommu.c is touched by patch "noiommu: Break it"`} {
		if !strings.Contains(v.Failure.Error(), part) {
			t.Errorf("%q is not in: %v", part, v.Failure)
		}
	}
	// The option that compiles the line is off.
	write(t, l.fragment, "CONFIG_PCI=y\n")
	if v := l.judge(t, l.patch(t, "noiommu: Break it", "drivers/noiommu.c", "	return 1;", "	return one;"), false); !v.Good() {
		t.Errorf("without the option: %+v", v)
	}
}

// A patch that breaks a selftest breaks the build; one on a base whose selftests
// are broken does not.
func TestJudgeBrokenSelftest(t *testing.T) {
	l := newLab(t)
	const file = "tools/testing/selftests/vfio/mini_test.c"
	v := l.judge(t, l.patch(t, "selftests: Break it", file, "	return 0;", "	return no;"), false)
	if v.Good() || v.Build != nil || fault.ExitCode(v.Failure) != fault.ExitKernel {
		t.Fatalf("got %+v", v)
	}
	for _, part := range []string{"selftests/vfio: ", "mini_test.c:8:16: error: 'no' undeclared"} {
		if !strings.Contains(v.Failure.Error(), part) {
			t.Errorf("%q is not in: %v", part, v.Failure)
		}
	}
	path := filepath.Join(l.tree, file)
	write(t, path, strings.Replace(string(read(t, path)), "return 0", "return no", 1))
	if v := l.judge(t, l.patch(t, "noiommu: Say more", "drivers/noiommu.c", "	return 1;", "	return 2;"), false); !v.Good() || len(v.Build.Unbuilt) != 1 {
		t.Errorf("on a base that is so: %+v", v)
	}
	// Without a base it is the kernel's own.
	if v, err := l.cache.JudgeBuild(t.Context(), l.request(t), nil, false, nil); err != nil || v.Good() {
		t.Errorf("without a base: %+v, %v", v, err)
	}
}

// Only what the base does not say is new, wherever the lines went.
func TestJudgeWarnings(t *testing.T) {
	l := newLab(t)
	source := filepath.Join(l.tree, "drivers/noiommu.c")
	write(t, source, "#warning old\n"+string(read(t, source)))
	if v := l.judge(t, l.patch(t, "noiommu: Move", "drivers/noiommu.c", "#warning old", "/* a line */\n#warning old"), false); !v.Good() {
		t.Errorf("moved: %+v", v)
	}
	p := l.patch(t, "noiommu: Warn", "drivers/noiommu.c", "	return 1;", "#warning new\n	return 1;")
	v := l.judge(t, p, false)
	if v.Good() || len(v.Warnings) != 1 || !strings.Contains(v.Warnings[0].String(), "drivers/noiommu.c:6:2: warning: #warning new [-Wcpp]") {
		t.Errorf("new: %+v", v)
	}
	if by := BlameWarning(v.Warnings[0], p); len(by) != 1 || by[0] != `patch "noiommu: Warn"` {
		t.Errorf("by %q", by)
	}
	if s := SummarizeWarnings(v.Warnings); s != "compiler 1" {
		t.Errorf("summary %q", s)
	}

	// Without a base every warning counts.
	r := l.request(t)
	if v, err := l.cache.JudgeBuild(t.Context(), r, nil, false, nil); err != nil || v.Good() || len(v.Warnings) != 1 {
		t.Errorf("without a base: %+v, %v", v, err)
	}
}

// W=1 is asked of the files that differ alone, and says what is new in them.
func TestJudgeLint(t *testing.T) {
	l := newLab(t)
	main := filepath.Join(l.tree, "init/main.c")
	write(t, main, "static int never_used;\n"+string(read(t, main)))
	source := filepath.Join(l.tree, "drivers/noiommu.c")
	write(t, source, "static int unused;\n"+string(read(t, source)))
	v := l.judge(t, l.patch(t, "noiommu: Add", "drivers/noiommu.c", "	return 1;", "	int spare;\n	return 1;"), true)
	if len(v.Warnings) != 0 || len(v.Linted) != 1 || v.Linted[0] != "drivers/noiommu.c" || v.Good() {
		t.Fatalf("got %+v", v)
	}
	if len(v.Lint) != 1 || v.Lint[0].Flag != "-Wunused-variable" || v.Lint[0].Function != "noiommu" {
		t.Errorf("lint %+v", v.Lint)
	}
	if !l.build(t).Cached {
		t.Error("the base's build is damaged")
	}
	noWork(t, l.cache)
}

// A base that does not build is no verdict on the patch.
func TestJudgeBrokenBase(t *testing.T) {
	l := newLab(t)
	p := l.patch(t, "noiommu: Change", "drivers/noiommu.c", "	return 1;", "	return 2;")
	write(t, filepath.Join(l.tree, "init/main.c"), "int x = ;\n")
	r := l.request(t)
	base := r.Source
	r.Source = base.With(p)
	_, err := l.cache.JudgeBuild(t.Context(), r, &base, false, nil)
	var kernel *fault.Kernel
	if !errors.As(err, &kernel) || !strings.HasPrefix(err.Error(), "base: ") {
		t.Errorf("got %v", err)
	}
}

// A real patch that reads right and compiles in one profile alone: the group
// that it looks into is not there without groups.
func TestPatchBreaksOneProfile(t *testing.T) {
	if !*slow {
		t.Skip("builds real kernels: run with -noiommu.slow")
	}
	users, debian := usersCache(t)
	p, err := series.Load(t.Context(), "testdata/cdev-open-derefs-group.patch")
	if err != nil {
		t.Fatal(err)
	}
	for name, good := range map[string]bool{"k-all": true, "k-cdev": false} {
		config, err := LoadConfiguration(name)
		if err != nil {
			t.Fatal(err)
		}
		v, err := users.JudgeBuild(t.Context(), Request{Source: debian.With(p), Config: config}, &debian, true, nil)
		if err != nil {
			t.Fatal(err)
		}
		if v.Good() != good {
			t.Errorf("%s: %+v", name, v)
		}
		if !good {
			for _, part := range []string{"drivers/vfio/device_cdev.c:38:", "'struct vfio_device' has no member named 'group'", "vfio/cdev: Test the group type in the cdev open"} {
				if !strings.Contains(v.Failure.Error(), part) {
					t.Errorf("%q is not in: %v", part, v.Failure)
				}
			}
		}
	}
}
