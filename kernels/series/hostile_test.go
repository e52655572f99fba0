// SPDX-License-Identifier: Apache-2.0

package series

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"noiommu-farm/internal/fault"
)

// mailOf is a mail with a diff, or anything else.
func mailOf(subject, headers, body string) string {
	id := strings.NewReplacer("[", "", "]", "", " ", ".").Replace(subject)
	return "From: Mallory <mallory@example.net>\nSubject: " + subject + "\nMessage-ID: <" + id + "@example.net>\n" + headers + "\nChange it.\n---\n" + body
}

const (
	header1 = "diff --git a/drivers/vfio/vfio.h b/drivers/vfio/vfio.h\n--- a/drivers/vfio/vfio.h\n+++ b/drivers/vfio/vfio.h\n"
	hunk1   = "@@ -1,5 +1,5 @@\n /* SPDX-License-Identifier: GPL-2.0-only */\n struct group {\n-\tint opened;\n+\tint open;\n \tint count;\n };\n"
	good    = header1 + hunk1
)

func newFile(name, mode string) string {
	return fmt.Sprintf("diff --git a/%[1]s b/%[1]s\nnew file mode %[2]s\n--- /dev/null\n+++ b/%[1]s\n@@ -0,0 +1 @@\n+x\n", name, mode)
}

// Patches that nobody may apply. Each is refused when it is read, with where.
func TestHostileDiffs(t *testing.T) {
	for _, c := range []struct{ name, diff, why string }{
		{"path traversal", newFile("../../etc/cron.d/x", "100644"), `"../../etc/cron.d/x" (line 3 of the patch): a name that leads out of the tree`},
		{"traversal in the middle", newFile("drivers/../../x", "100644"), "leads out of the tree"},
		{"traversal by rename", "diff --git a/drivers/vfio/vfio.h b/../x\nsimilarity index 100%\nrename from drivers/vfio/vfio.h\nrename to ../x\n", "leads out of the tree"},
		{"traversal by copy", "diff --git a/drivers/vfio/vfio.h b/x\nsimilarity index 100%\ncopy from ../../etc/shadow\ncopy to drivers/x\n", "leads out of the tree"},
		{"traversal in octal", "diff --git \"a/\\056\\056/x\" \"b/\\056\\056/x\"\nnew file mode 100644\n--- /dev/null\n+++ \"b/\\056\\056/x\"\n@@ -0,0 +1 @@\n+x\n", "leads out of the tree"},
		{"absolute name", "--- /etc/passwd\n+++ /etc/passwd\n@@ -1,1 +1,1 @@\n-a\n+b\n", "an absolute name"},
		{"absolute name for git", "diff --git a//etc/passwd b//etc/passwd\n--- a//etc/passwd\n+++ b//etc/passwd\n@@ -1,1 +1,1 @@\n-a\n+b\n", "an absolute name"},
		{"absolute name in quotes", "diff --git \"/etc/passwd\" \"/etc/passwd\"\n--- \"/etc/passwd\"\n+++ \"/etc/passwd\"\n@@ -1,1 +1,1 @@\n-a\n+b\n", "an absolute name"},
		{"absolute rename", "diff --git a/drivers/vfio/vfio.h b/x\nsimilarity index 100%\nrename from drivers/vfio/vfio.h\nrename to /etc/x\n", "an absolute name"},
		{"git's directory", newFile("drivers/.Git/config", "100644"), "inside git's own directory"},
		{"control characters", "diff --git \"a/x\\ny\" \"b/x\\ny\"\nnew file mode 100644\n--- /dev/null\n+++ \"b/x\\ny\"\n@@ -0,0 +1 @@\n+x\n", "control characters"},
		{"long name", newFile(strings.Repeat("x", 1025), "100644"), "too long"},
		{"dot", newFile("drivers/./x", "100644"), "not the shortest"},
		{"no directory", "--- x\n+++ x\n@@ -1,1 +1,1 @@\n-a\n+b\n", "names no file below the top"},
		{"symbolic link", newFile("drivers/x", "120000"), `"drivers/x" (line 4 of the patch): a symbolic link`},
		{"file becomes a link", "diff --git a/drivers/vfio/vfio.h b/drivers/vfio/vfio.h\nold mode 100644\nnew mode 120000\n", "a symbolic link"},
		{"link is changed", "diff --git a/drivers/x b/drivers/x\nindex 1111111..2222222 120000\n--- a/drivers/x\n+++ b/drivers/x\n@@ -1 +1 @@\n-a\n+b\n", "a symbolic link"},
		{"submodule", newFile("drivers/x", "160000"), "a submodule"},
		{"set-uid", newFile("drivers/x", "104755"), "a file of mode 104755"},
		{"binary", "diff --git a/logo.png b/logo.png\nindex 1111111..2222222 100644\nGIT binary patch\nliteral 3\nKcmZQzU|?X_1^@s60RR91\n\nliteral 0\nHcmV?d00001\n\n", `"logo.png" (line 5 of the patch): a binary patch`},
		{"binary without data", "diff --git a/logo.png b/logo.png\nindex 1111111..2222222 100644\nBinary files a/logo.png and b/logo.png differ\n", "a binary patch"},
		{"too few lines", header1 + strings.Replace(hunk1, "-1,5 +1,5", "-1,6 +1,6", 1), "hunk 1 (line 6 of the patch): is cut short: 1 old and 1 new lines are missing"},
		{"too many lines", header1 + strings.Replace(hunk1, "-1,5 +1,5", "-1,4 +1,4", 1), "has more lines than its header says"},
		{"a line that nobody counts", good + "+int evil;\n", "hunk 1 (line 13 of the patch): has more lines than its header says"},
		{"wrapped", header1 + strings.Replace(hunk1, " struct group {", " struct\ngroup {", 1), `"group {" is no line of a hunk: was it wrapped?`},
		{"huge counts", header1 + "@@ -1,999999999 +1,999999999 @@\n a\n", "is cut short"},
		{"counts beyond counting", header1 + "@@ -1,99999999999999999999 +1,99999999999999999999 @@\n a\n", "no header of a hunk"},
		{"negative counts", header1 + "@@ --1,5 +1,5 @@\n a\n", "no header of a hunk"},
		{"no changes", header1 + "@@ -1,1 +1,1 @@\n a\n", "no changes"},
		{"nothing", "diff --git a/drivers/x b/drivers/x\nindex 1111111..2222222 100644\n", "changes nothing"},
		{"a hunk of no file", good + "\n@@ -1 +1 @@\n-a\n+b\n", "without file header"},
		{"combined diff", "diff --git a/x/y b/x/y\n@@@ -1,1 -1,1 +1,1 @@@\n- a\n", "changes nothing"},
		{"two names", "diff --git a/drivers/a b/drivers/b\n--- a/drivers/a\n+++ b/drivers/c\n@@ -1 +1 @@\n-a\n+b\n", "does not"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.patch")
			write(t, path, mailOf("[PATCH 1/1] evil", "", c.diff))
			if c.name == "two names" { // which git takes for a rename, when both exist
				s := mustLoad(t, path)
				if _, _, err := s.Apply(tree()); err == nil {
					t.Error("applied")
				}
				return
			}
			refused(t, path, `patch 1/1 "evil"`, c.why)
		})
	}
}

// Mails that hide what they are, or are no series.
func TestHostileMails(t *testing.T) {
	mime := "MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: "
	box := func(mails ...string) string {
		var b strings.Builder
		for _, m := range mails {
			b.WriteString("From mboxrd@z Thu Jan  1 00:00:00 1970\n" + m + "\n")
		}
		return b.String()
	}
	deep := mailOf("[PATCH] deep", "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b0\n", "")
	for i := range 20 {
		deep += fmt.Sprintf("--b%d\nContent-Type: multipart/mixed; boundary=b%d\n\n", i, i+1)
	}
	wide := mailOf("[PATCH] wide", "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n", "") + strings.Repeat("--b\nContent-Type: text/plain\n\nx\n", 100) + "--b--\n"
	two := mailOf("[PATCH] two", "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n", "") + strings.Repeat("--b\nContent-Type: text/x-patch\n\n"+good, 2) + "--b--\n"
	for _, c := range []struct{ name, text, why string }{
		{"empty", "", "holds no patch"},
		{"no diff", mailOf("[PATCH 1/1] none", "", "Nothing.\n"), `patch 1/1 "none": has no diff`},
		{"reply alone", mailOf("Re: [PATCH] x", "", good), "holds no patch"},
		{"cover alone", mailOf("[PATCH 0/2] x", "", ""), "missing 1/2, 2/2"},
		{"missing patches", box(mailOf("[PATCH v2 1/9] a", "", good), mailOf("[PATCH v2 9/9] b", "", good)), "version 2 is not whole: missing 2/9, 3/9, 4/9, 5/9, 6/9, 2 more"},
		{"two versions mixed", box(mailOf("[PATCH v2 1/3] a", "", good), mailOf("[PATCH v3 2/3] b", "", good), mailOf("[PATCH v2 3/3] c", "", good)), "version 3 is not whole: missing 1/3, 3/3 (there are mails of the versions v2, v3)"},
		{"duplicate numbers", box(mailOf("[PATCH 1/2] a", "", good), mailOf("[PATCH 2/2] b", "", good), mailOf("[PATCH 2/2] c", "", good)), "two patches 2/2"},
		{"one id, two patches", box(mailOf("[PATCH 1/1] a", "", good), mailOf("[PATCH 1/1] a", "", newFile("drivers/x", "100644"))), "two patches 1/1"},
		{"two series", box(mailOf("[PATCH 1/1] a", "", good), mailOf("[PATCH 1/2] b", "", good), mailOf("[PATCH 2/2] b", "", good)), "two series of version 1"},
		{"absurd count", mailOf("[PATCH 1/99999999] x", "", good), "is no number of a patch"},
		{"absurd number", mailOf("[PATCH 99999999999999999999/1] x", "", good), "is no number of a patch"},
		{"absurd version", mailOf("[PATCH v99999999999 1/1] x", "", good), "is no number of a patch"},
		{"number above count", mailOf("[PATCH 3/2] x", "", good), "is no number of a patch"},
		{"answering each other", box(mailOf("[PATCH] a", "", good), mailOf("[PATCH] b", "In-Reply-To: <PATCH.a@example.net>\n", good)), "cannot be told"},
		{"bad quoted-printable", mailOf("[PATCH] x", mime+"quoted-printable\n", good+"\x01\n"), "quoted-printable"},
		{"bad base64", mailOf("[PATCH] x", mime+"base64\n", good), "base64"},
		{"unknown encoding", mailOf("[PATCH] x", mime+"x-rot13\n", good), "x-rot13"},
		{"unknown charset", mailOf("[PATCH] x", "MIME-Version: 1.0\nContent-Type: text/plain; charset=klingon\n", good), "klingon"},
		{"NUL", mailOf("[PATCH] x", "", strings.Replace(good, "open;", "open\x00;", 1)), "a NUL byte"},
		{"UTF-7", "From: M <m@example.net>\nSubject: [PATCH] x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-7\n\n" + good, "utf-7"},
		{"format=flowed", mailOf("[PATCH 1/1] x", "MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8; format=flowed\n", good), "the mail is format=flowed, which breaks patches"},
		{"deep MIME", deep, "more than 8 deep"},
		{"wide MIME", wide, "more than 64 parts"},
		{"two diffs in one mail", two, "two of its parts hold a diff"},
		{"html", mailOf("[PATCH 1/1] x", "MIME-Version: 1.0\nContent-Type: text/html\n", good), "has no diff"},
		{"giant mail", mailOf("[PATCH 1/1] x", "", good+strings.Repeat("x\n", maxMail/2)), "more than 16777216 bytes"},
		{"giant header", "Subject: [PATCH] x\nX: " + strings.Repeat("x", maxHeader) + "\n\n" + good, "header"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x")
			write(t, path, c.text)
			refused(t, path, c.why)
		})
	}
}

func TestHostileInputs(t *testing.T) {
	dir := t.TempDir()
	refused(t, "", "names no series (allowed: FILE.mbox,")
	refused(t, "a\nb")
	refused(t, filepath.Join(dir, "none"), "no such file")
	refused(t, "/dev/null", "neither a file nor a directory")
	refused(t, dir, "holds no patch")

	write(t, filepath.Join(dir, "bomb.gz"), "\x1f\x8bnot gzip")
	refused(t, filepath.Join(dir, "bomb.gz"), "gzip")

	// A link in a directory of patches leads nowhere.
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, mailOf("[PATCH] secret", "", good))
	links := filepath.Join(dir, "links")
	if err := os.Mkdir(links, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(links, "0001.patch")); err != nil {
		t.Fatal(err)
	}
	refused(t, links, "holds no patch")
}

// Mails that only look strange.
func TestGoodMails(t *testing.T) {
	want := mustLoad(t, "testdata/patches").Patches[2].ID()
	text, err := os.ReadFile("testdata/patches/v5-0003-vfio-Add-the-cdev-s-own-file.patch")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(text), "\n\n")
	latin := strings.NewReplacer("ö", "\xf6", "ß", "\xdf").Replace(body)
	// What a mail program that knows format=flowed makes of it.
	var flowed strings.Builder
	for line := range strings.Lines(body) {
		if line[0] == ' ' || strings.HasPrefix(line, "From ") || line[0] == '>' {
			line = " " + line
		}
		if line == "  \n" { // an empty line of context, as GNU diff may write it
			line = "\n"
		}
		flowed.WriteString(line)
	}
	for _, c := range []struct{ name, subject, headers, body string }{
		{"CRLF", "[PATCH 1/1] x", "", strings.ReplaceAll(body, "\n", "\r\n")},
		{"Latin-1", "[PATCH 1/1] x", "MIME-Version: 1.0\nContent-Type: text/plain; charset=ISO-8859-1\nContent-Transfer-Encoding: 8bit\n", latin},
		{"format=flowed", "[PATCH 1/1] x", "MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8; format=flowed\n", flowed.String()},
		{"tags of lists", "[EXTERNAL] [RFC PATCHv3,vfio-next 1/1] x", "", body},
		{"resent", "[RESEND PATCH v2] x", "", body},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.eml")
			write(t, path, mailOf(c.subject, c.headers, c.body))
			s := mustLoad(t, path)
			if s.Patches[0].ID() != want || s.Title != "x" {
				t.Errorf("%q does %s", s.Title, s.Patches[0].Diff)
			}
		})
	}
}

// What no patch may do to a tree, although it reads well.
func TestRefusedByTree(t *testing.T) {
	link := t.TempDir()
	write(t, filepath.Join(link, "drivers/vfio/vfio.h"), "/* SPDX-License-Identifier: GPL-2.0-only */\nstruct group {\n\tint opened;\n\tint count;\n};\n")
	if err := os.Symlink("/etc", filepath.Join(link, "out")); err != nil {
		t.Fatal(err)
	}
	remove := "diff --git a/drivers/vfio/vfio.h b/drivers/vfio/vfio.h\ndeleted file mode 100644\n--- a/drivers/vfio/vfio.h\n+++ /dev/null\n@@ -1,5 +0,0 @@\n-/* SPDX-License-Identifier: GPL-2.0-only */\n-struct group {\n-\tint opened;\n-\tint count;\n-};\n"
	for _, c := range []struct{ name, diff, why string }{
		{"behind a link", newFile("out/cron.d/x", "100644"), `would lie behind "out", which is no directory`},
		{"over a link", "diff --git a/out b/out\n--- a/out\n+++ b/out\n@@ -1 +1 @@\n-a\n+b\n", "is a symbolic link"},
		{"behind a file", newFile("drivers/vfio/vfio.h/x", "100644"), "which is no directory"},
		{"over a directory", newFile("drivers/vfio", "100644"), "makes it, and it exists"},
		{"made twice", newFile("drivers/x", "100644") + newFile("drivers/x", "100644"), "makes it, and it exists"},
		{"a file over a new directory", newFile("new/x", "100644") + newFile("new", "100644"), "makes it, and it exists"},
		{"over a file", newFile("drivers/vfio/vfio.h", "100644"), "makes it, and it exists"},
		{"no such file", strings.ReplaceAll(good, "vfio.h", "none.h"), `changes "drivers/vfio/none.h", which does not exist`},
		{"removed before", remove + good, "which does not exist"},
		{"other context", strings.Replace(good, "struct group", "struct groups", 1), `"drivers/vfio/vfio.h": hunk 1 (line 6 of the patch): does not fit: line 2 is "struct group {", not "struct groups {"`},
		{"whitespace", strings.Replace(good, " \tint count", "         int count", 1), "does not fit: line 4"},
		{"beyond the end", strings.Replace(good, "-1,5 +1,5", "-100,5 +100,5", 1) + "\n" + header1 + strings.Replace(hunk1, "struct group", "x", 1), "does not fit"},
		{"half removed", strings.Replace(strings.Replace(remove, "-1,5", "-1,4", 1), "-};\n", "", 1), "does not fit"},
		{"overlap", good[:len(good)-4] + " };\n" + "@@ -3,3 +3,3 @@\n \tint open;\n-\tint count;\n+\tint n;\n };\n", "hunk 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.patch")
			// The first patch is good: nothing of it may be left.
			text := "From mboxrd@z Thu Jan  1 00:00:00 1970\n" + mailOf("[PATCH 1/2] fine", "", newFile("drivers/fine", "100644")) +
				"\nFrom mboxrd@z Thu Jan  1 00:00:00 1970\n" + mailOf("[PATCH 2/2] evil", "", c.diff)
			write(t, path, text)
			s := mustLoad(t, path)
			files, _, err := s.Apply(dirBase{os.DirFS(link)})
			var r *Refused
			if !errors.As(err, &r) || files != nil {
				t.Fatalf("%d files, %v", len(files), err)
			}
			if r.Index != 2 || r.Line == 0 || !strings.Contains(err.Error(), c.why) || !strings.HasPrefix(err.Error(), `patch 2/2 "evil": `) {
				t.Errorf("patch %d, line %d: %v, want %q in it", r.Index, r.Line, err, c.why)
			}
		})
	}
	if fault.ExitCode(usage("x", &Refused{})) != fault.ExitUsage {
		t.Error("not a usage error")
	}
}

// A long hunk for a long file of equal lines takes bounded time.
func TestBoundedWork(t *testing.T) {
	const n = 100_000
	path := filepath.Join(t.TempDir(), "x.patch")
	write(t, path, mailOf("[PATCH] slow", "", fmt.Sprintf(
		"diff --git a/x/y b/x/y\nnew file mode 100644\n--- /dev/null\n+++ b/x/y\n@@ -0,0 +1,%d @@\n%s"+
			"diff --git a/x/y b/x/y\n--- a/x/y\n+++ b/x/y\n@@ -%d,%d +%d,%d @@\n%s-z\n+y\n \n",
		n, strings.Repeat("+\n", n), 2, n/2+2, 2, n/2+2, strings.Repeat(" \n", n/2))))
	_, _, err := mustLoad(t, path).Apply(tree())
	var r *Refused
	if !errors.As(err, &r) || !strings.Contains(err.Error(), "takes too long to apply") {
		t.Error(err)
	}
}
