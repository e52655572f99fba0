// SPDX-License-Identifier: Apache-2.0

package build

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// ask runs a question as conf does: its macros replaced, with popen.
func ask(t *testing.T, job Job, question string) string {
	t.Helper()
	tables := strings.NewReplacer(
		"$(1)", question, "$(2)", "y", "$(3)", "n",
		"/answers/", job.Objects+".answers/",
	)
	line := tables.Replace(looksUp)
	line = strings.TrimSuffix(line[strings.Index(line, "$(shell,")+len("$(shell,"):], ")")
	out, err := exec.Command("/bin/sh", "-c", line).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
	return string(out)
}

// A question is asked once: after that its answer is known, however it is quoted.
func TestAnswers(t *testing.T) {
	dir := t.TempDir()
	counted := filepath.Join(dir, "counted")
	macros := "# macros\n" + asks + "\n\nsuccess = $(if-success,$(1),y,n)\n"
	if err := os.MkdirAll(filepath.Join(dir, "tree/scripts"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tree", include), []byte(macros), 0o644); err != nil {
		t.Fatal(err)
	}
	job := Job{Tree: filepath.Join(dir, "tree"), Objects: filepath.Join(dir, "objects"), Answers: filepath.Join(dir, "kept", "gcc"), Learn: true}
	count := "; echo x >>" + counted + "; "
	// The last command's end is the answer; -x says that something is compiled.
	questions := map[string]string{
		`echo 'int f(char *x) { asm goto ("": "=r"(*x) ::: bar); }'` + count + `: $$ -x c`:                 "y\n",
		`trap "rm -rf .tmp_$$" EXIT` + count + "printf \"%b\\n\" \"a`echo b`\" >/dev/null; false $CC -x c": "n\n",
		`: it\'s "quoted" 'twice'` + count + `! : -x assembler-with-cpp`:                                   "n\n",
	}
	for round := range 2 {
		with, done, err := job.withAnswers()
		if err != nil || len(with.asking) != 3 {
			t.Fatal(with.asking, err)
		}
		learn := strings.ReplaceAll(learns, "/answered/", job.Objects+".answered/")
		if err := os.WriteFile(job.Objects+".answers/learn", []byte(learn), 0o644); err != nil {
			t.Fatal(err)
		}
		for question, want := range questions {
			if got := ask(t, job, question); got != want {
				t.Errorf("round %d: %s: %q, want %q", round, question, got, want)
			}
		}
		if got := ask(t, job, "true; : command -v gcc"); got != "y\n" {
			t.Errorf("what is not kept: %q", got)
		}
		if err := done(); err != nil {
			t.Fatal(err)
		}
		if text, _ := os.ReadFile(counted); string(text) != strings.Repeat("x\n", len(questions)) {
			t.Errorf("after round %d there were %d asked, want %d", round, strings.Count(string(text), "x"), len(questions))
		}
	}
	if known, err := readAnswers(job.Answers); err != nil || len(known) != len(questions) {
		t.Errorf("%d kept, %v", len(known), err)
	}
}

// What a series asked is not kept, and what no compiler was asked neither.
func TestAnswersKeep(t *testing.T) {
	long := strings.Repeat("x", maxQuestion)
	for _, c := range []struct {
		name, text string
		keeps      int
	}{
		{"a question", "sh-c gcc -x c /dev/null\ny\n", 1},
		{"two, one cut off", "sh-c gcc -x c /dev/null\ny\nsh-c gcc -x c -\n", 1},
		{"another program", "sh-c command -v rustc\nn\n", 0},
		{"a script of the tree", "sh-c /src/scripts/cc-can-link.sh gcc -x c\ny\n", 0},
		{"a control character", "sh-c gcc -x c \x1b[2J\ny\n", 0},
		{"a long question", "gcc -x c " + long + "\ny\n", 0},
		{"a long answer", "gcc -x c\n" + strings.Repeat("y", maxAnswer+1) + "\n", 0},
		{"nothing", "", 0},
	} {
		if n := (answers{}).add(c.text); n != c.keeps {
			t.Errorf("%s: %d kept, want %d", c.name, n, c.keeps)
		}
	}
	many := answers{}
	for i := range maxAnswers + 10 {
		many.add("gcc -x c " + strings.Repeat("a", i/100) + strings.Repeat("b", i%100) + "\ny\n")
	}
	if len(many) > maxAnswers {
		t.Errorf("%d kept", len(many))
	}
}

// A tree that asks in another way asks itself.
func TestAnswersOtherMacros(t *testing.T) {
	dir := t.TempDir()
	job := Job{Tree: dir, Objects: filepath.Join(dir, "objects"), Answers: filepath.Join(dir, "kept")}
	if with, _, err := job.withAnswers(); err != nil || len(with.asking) != 0 {
		t.Error(with.asking, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "scripts"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, include), []byte("if-success = $(shell,$(1))\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if with, _, err := job.withAnswers(); err != nil || len(with.asking) != 0 {
		t.Error(with.asking, err)
	}
}
